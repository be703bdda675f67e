"""What `config.sample` asks for of a checkpoint, as files."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffenc_jax import hosts
from diffenc_jax import workdir as workdirs
from diffenc_jax.config import config_hash
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.model import Model, Params
from diffenc_jax.sampling import film, pictures, reconstructions
from diffenc_jax.sampling.config import SampleConfig
from diffenc_jax.sampling.draw import Drawer, OnPart
from diffenc_jax.sampling.samplers import make_sampler
from diffenc_jax.sampling.store import Store
from diffenc_jax.train import sharding

FOLDER = "samples"


class Sampling:
    """The images and pictures that `config.sample` asks for, of one or more checkpoints."""

    def __init__(self, model: Model, config: ConfigDict, dataset: Dataset, mesh: Mesh):
        """Raises InputError where they cannot be had."""
        self.settings = SampleConfig.of(config)
        self._sampler = make_sampler(model, config, dataset, mesh)
        self._model, self._dataset, self._mesh = model, dataset, mesh
        self._split = config.eval.split
        self._batch_size = sharding.round_up(mesh, min(self.settings.batch_size, self.settings.num))

    def work(self) -> int:
        """What all that `on_part` is told will add up to."""
        return self._batches(self.settings.num) + self.settings.path + len(self.settings.reconstruct)

    def write(self, params: Params, step: int, workdir: Path, on_part: OnPart) -> dict[str, Path]:
        """Draws with `params` of the run in `workdir` at `step`, and returns the files by what they are.

        Images that are there already are not drawn again, and if they are more than asked for, they stay.

        Args:
          on_part: told after each part of the work how much of `work` it was; what it raises ends the drawing, of
            which the batches so far are kept.
        """
        settings, first = self.settings, hosts.is_first()
        drawer = Drawer(self._model, params, self._sampler, settings, self._mesh)
        path = workdir / FOLDER / f"{step}-{self._sampler.name}{settings.file_name}.npz"
        files = {"samples": path.with_suffix(".png"), "images": path}
        with Store(path, self._describe(step, workdir)) as store:
            on_part(self._batches(settings.num) - self._batches(max(settings.num - store.count, 0)))
            while store.count < settings.num:
                images = drawer.images(store.count, self._batch_size, on_part)
                store.add(images[: settings.num - store.count])
        levels = self._model.spec.levels
        if first:
            pictures.write(store.images[: settings.num], levels, files["samples"])
        if settings.path:
            files["path"] = _beside(path, "-path.gif")
            frames = drawer.path(min(self._shown(film), settings.num), on_part)
            if first:
                film.write(frames, levels, files["path"])
        if settings.reconstruct:
            times = sorted(settings.reconstruct)
            files["reconstructions"] = _beside(path, f"-from-{'-'.join(f'{t:g}' for t in times)}.png")
            originals = self._originals()
            rows = [drawer.redrawn(originals, t, on_part) for t in times]
            if first:
                reconstructions.write(originals, rows, levels, files["reconstructions"])
        return files

    def _batches(self, count: int) -> int:
        """How many so many images take."""
        return math.ceil(count / self._batch_size)

    def _originals(self) -> np.ndarray:
        """The first images of the split that is evaluated on."""
        images = self._dataset.splits[self._split]
        return sharding.fetch(images, np.arange(min(self._shown(reconstructions), len(images))))

    def _shown(self, kind: Any) -> int:
        """How many images a kind of picture shows."""
        return kind.POINTS_SHOWN if self._model.spec.shape == pictures.POINT else kind.SHOWN

    def _describe(self, step: int, workdir: Path) -> dict[str, Any]:
        return {
            "step": step,
            "config_hash": config_hash(workdirs.read(workdir)),
            "levels": self._model.spec.levels,
            "seed": self.settings.seed,
            "output": self.settings.output,
            "sampler": self._sampler.describe(),
        }


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.stem + ending)

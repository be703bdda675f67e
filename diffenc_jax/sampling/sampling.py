"""The images and pictures that `config.sample` asks for."""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffenc_jax.core.errors import require
from diffenc_jax.core.sources import outside_digest
from diffenc_jax.data.images import Batch
from diffenc_jax.model import Params, outside_parts
from diffenc_jax.parallel import hosts, sharding
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.runs.hashes import tree_digest
from diffenc_jax.runs.workdir import stored_config
from diffenc_jax.sampling import pictures
from diffenc_jax.sampling.draw import Drawer, Drawn, OnPart, SamplerFunctions
from diffenc_jax.sampling.pictures import num_shown
from diffenc_jax.sampling.samplers import Likelihood, make_sampler
from diffenc_jax.sampling.store import ImageStore

FOLDER = "samples"
# Most columns of a picture that has one per class.
MOST_COLUMNS = 20


class Sampling:
    """Images and pictures of one or more checkpoints, as `config.sample` asks for."""

    def __init__(self, experiment: Experiment):
        """Raises InputError if `config.sample` does not suit the model or the data."""
        self._experiment, self._config = experiment, experiment.config.sample
        _check_label(experiment)
        self._sampler = make_sampler(experiment)
        self._functions = SamplerFunctions(experiment, self._sampler)

    def num_parts(self) -> int:
        """The sum of all shares that `write` passes to `on_part`."""
        return self._num_batches(self._config.num) + self._config.path + len(self._config.reconstruct)

    def images(self, params: Params, num: int, on_part: OnPart = lambda share: None) -> np.ndarray:
        """Images 0 .. num - 1, uint8 [num, H, W, C]: those that `write` writes.

        Args:
          on_part: called after each part of the work with its share of the whole.
        """
        return self.draw(params, num, on_part).images

    def draw(self, params: Params, num: int, on_part: OnPart = lambda share: None) -> Drawn:
        """`images`, and their likelihoods if `sample.likelihood` asks for them."""
        drawer, size = Drawer(self._functions, params), self._batch_size(num)
        starts = range(0, num, size)
        batches = [drawer.images(first, size, lambda share: on_part(share / len(starts))) for first in starts]
        return jax.tree.map(lambda *parts: np.concatenate(parts)[:num], *batches)

    def write(self, params: Params, step: int, workdir: Path, on_part: OnPart) -> dict[str, Path]:
        """Samples with `params` of the run in `workdir` at `step`, and returns the files by their kind.

        Images that an earlier call wrote are not drawn again, and stay if there are more than `sample.num`.

        Args:
          on_part: called after each part of the work with its share of `num_parts()`. If it raises an exception, the
            batches so far are kept.
        """
        config, drawer = self._config, Drawer(self._functions, params)
        spec, is_first = self._experiment.model.spec, hosts.is_first()
        path = workdir / FOLDER / f"{step}-{self._sampler.name}{config.file_suffix}.npz"
        files = {"samples": path.with_suffix(".png"), "images": path}
        values = Likelihood._fields if config.likelihood else ()
        with ImageStore(path, self._describe(params, step, workdir), spec.shape, values) as store:
            on_part(self._num_batches(config.num) - self._num_batches(max(config.num - store.count, 0)))
            while store.count < config.num:
                drawn = drawer.images(store.count, self._batch_size(config.num), on_part)
                missing = config.num - store.count
                likelihood = {} if drawn.likelihood is None else drawn.likelihood._asdict()
                store.add(drawn.images[:missing], **{name: value[:missing] for name, value in likelihood.items()})
        if is_first:
            columns = spec.num_classes if self._has_columns else None
            pictures.write_picture(store.images[: config.num], spec.pixel_levels, files["samples"], columns)
        if config.path:
            files["path"] = path.with_name(f"{path.stem}-path.gif")
            frames = drawer.path(min(num_shown(spec.shape, pictures.FILM_IMAGES), config.num), on_part)
            if is_first:
                pictures.write_film(frames, spec.pixel_levels, files["path"])
        if config.reconstruct:
            times = sorted(config.reconstruct)
            files["reconstructions"] = path.with_name(f"{path.stem}-from-{'-'.join(f'{t:g}' for t in times)}.png")
            originals = self._originals()
            rows = [drawer.reconstruct(originals, t, on_part) for t in times]
            if is_first:
                picture = files["reconstructions"]
                pictures.write_reconstructions(originals.pixels, rows, spec.pixel_levels, picture)
        return files

    def _batch_size(self, num: int) -> int:
        """Images per batch where `num` are drawn."""
        return sharding.round_up(self._experiment.mesh, min(self._config.batch_size, num))

    def _num_batches(self, count: int) -> int:
        return math.ceil(count / self._batch_size(self._config.num))

    @property
    def _has_columns(self) -> bool:
        """Whether a picture has a column per class, as samples count through the classes."""
        model = self._experiment.model
        return model.labels and self._config.label is None and model.spec.num_classes <= MOST_COLUMNS

    def _originals(self) -> Batch:
        """The first images of the split that the run evaluates on."""
        images = self._experiment.dataset.examples(self._experiment.config.eval.split)
        count = min(num_shown(self._experiment.model.spec.shape, pictures.VERSION_IMAGES), len(images.pixels))
        return sharding.fetch(images, np.arange(count))

    def _describe(self, params: Params, step: int, workdir: Path) -> dict[str, Any]:
        label = {"label": self._config.label} if self._experiment.model.labels else {}
        digest = outside_digest([self._sampler])
        return {
            "step": step,
            "config_hash": stored_config(workdir).hash,
            "params_sha256": tree_digest(params),
            "parts": outside_parts(self._experiment.config) | ({} if digest is None else {"sample.sampler": digest}),
            "levels": self._experiment.model.spec.pixel_levels,
            "seed": self._config.seed,
            "output": self._config.output,
            "sampler": self._sampler.describe(),
            **label,
        }


def _check_label(experiment: Experiment) -> None:
    """Raises InputError if `sample.label` is no class of the data set."""
    label, classes = experiment.config.sample.label, experiment.model.spec.num_classes
    require(
        label is None or label < classes,
        f"sample.label={label} is no class of {experiment.dataset.name}; take one of 0 .. {classes - 1}",
    )

"""The images and pictures that `config.sample` asks for. An image depends only on the seed and its number."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffenc_jax.config.sections import SOFTMAX
from diffenc_jax.core import versions
from diffenc_jax.core.errors import require
from diffenc_jax.core.streams import draw_each, stream, uniform
from diffenc_jax.diffusion.gaussian import alpha, sum_dims
from diffenc_jax.diffusion.process import Process
from diffenc_jax.model import Params, outside_parts
from diffenc_jax.parallel import hosts, sharding
from diffenc_jax.parallel.memory import within_memory
from diffenc_jax.runs.base import BaseRun
from diffenc_jax.runs.files import check_writable, read_arrays, read_if_present, write_arrays
from diffenc_jax.runs.hashes import tree_digest
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.sampling import pictures
from diffenc_jax.sampling.samplers import PIXELS, Request, Sampler, first_noise

FOLDER = "samples"
# Called with the share of the work that is complete since the last call.
OnPart = Callable[[float], None]


class Sampling:
    """Images of one or more checkpoints, and their picture. Its functions are compiled once per batch size."""

    def __init__(self, run: BaseRun):
        """Raises InputError if `config.sample` does not suit the model or the data."""
        config, model, mesh = run.config.sample, run.model, run.mesh
        classes = 0 if model.spec.labels_are_arrays else model.spec.label_size
        advice = f"take one of 0 .. {classes - 1}" if classes else "its labels are arrays; leave it out"
        is_class = config.label is None or config.label < classes
        require(is_class, f"sample.label={config.label} is no class of {run.config.data.source}; {advice}")
        self._run, self._config, self._sampler = run, config, Sampler.of(run)
        self._parts = outside_parts(run.config, "sampler")
        batched, replicated = sharding.batched(mesh), sharding.replicated(mesh)
        self._fold = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)), out_shardings=batched)
        self._noise = jax.jit(lambda keys: first_noise(keys, model.spec.shape), out_shardings=batched)

        def data(params, request, z_0):
            """The data of z_0, and one number [B] per example, which is not finite if z_0 is not."""
            return draw_data(request.bind(model, params), request.keys, z_0, config.output), sum_dims(z_0)

        self._data = jax.jit(data, out_shardings=replicated)

    def images(self, params: Params, num: int, on_part: OnPart = lambda share: None, labels: Any = None) -> np.ndarray:
        """Data 0 .. num - 1 in the units of the data set, [num, ...]: the same data that `write` writes.

        Raises InputError if the labels do not suit the model.

        Args:
          on_part: called after each part of the work with its share of the whole.
          labels: [num, ...], to use instead of `labels_of`.
        """
        if labels is not None:
            labels = self._run.model.checked_labels(labels, num)
        return np.concatenate(list(self._batches(params, 0, num, on_part, labels)))

    def picture(self, params: Params, on_part: OnPart) -> np.ndarray:
        """A picture of the first `log.samples` images, uint8 [h, w, 1 or 3]."""
        images = self.images(params, self._run.config.log.samples, on_part)
        return np.atleast_3d(pictures.picture(images, self._run.model.spec.levels))

    def write(self, params: Params, step: int, stored: StoredRun, on_part: OnPart) -> dict[str, Path]:
        """Draw images with `params` of `stored` at `step`; returns the files by their kind.

        Images of an earlier call are kept, also beyond `sample.num`, and only missing images are drawn. If some are
        missing and the earlier ones come from other software or another kind of device, all images are drawn again.

        Args:
          on_part: called after each part of the work with its share of the whole. If it raises an exception, the
            batches so far are kept.
        """
        config, spec = self._config, self._run.model.spec
        path = stored.workdir / FOLDER / f"{step}-{self._sampler.name}{config.file_suffix}.npz"
        environment = versions.of_any_number(versions.environment({}))
        described = {"settings": self._describe(params, step, stored.config.hash), "environment": environment}
        made = {name: json.dumps(values, sort_keys=True) for name, values in described.items()}
        parts = [_stored(path, made, config.num, spec.restored(np.empty((0, *spec.shape), spec.dtype)))]
        count = int(hosts.broadcast(str(len(parts[0])).encode()))
        on_part(min(count / config.num, 1.0))
        try:
            for drawn in self._batches(params, count, config.num, on_part) if count < config.num else ():
                parts.append(drawn)
        finally:
            images = np.concatenate(parts)
            if hosts.is_first() and len(parts) > 1:
                write_arrays(path, images=images, **made)
        if spec.pixel_levels is None:
            return {"samples": path}
        files = {"samples": path.with_suffix(".png"), "images": path}
        if hosts.is_first():
            pictures.write_picture(images[: config.num], spec.levels, files["samples"])
        return files

    def _batches(
        self, params: Params, first: int, num: int, on_part: OnPart, labels: np.ndarray | None = None
    ) -> Iterator[np.ndarray]:
        """Images number first .. num - 1, in batches. `on_part` gets the share of each part in all `num` images."""
        mesh, prepared = self._run.mesh, self._sampler.prepare(params)
        size, key = sharding.round_up(mesh, min(self._config.batch_size, num)), stream(self._config.seed, "sample")
        for start in range(first, num, size):
            count, numbers = min(size, num - start), start + np.arange(size)
            given = labels_of(self._run, numbers) if labels is None else labels[numbers % num]
            with within_memory("a batch of samples", f"lower sample.batch_size={self._config.batch_size}"):
                there, given = sharding.to_devices(mesh, (numbers.astype(np.uint32), given))
                request = Request(self._fold(key, there), given)
                for z_0, share in self._sampler.walk(params, prepared, request, self._noise(request.keys)):  # noqa: B007
                    on_part(share * count / num)
                drawn, finite = (np.asarray(array)[:count] for array in self._data(params, request, z_0))
            self._sampler.check_finite("sample {}", numbers[:count], finite, params)
            yield self._run.model.spec.restored(drawn)

    def _describe(self, params: Params, step: int, config_hash: str) -> dict[str, Any]:
        """Everything that the images depend on except for their numbers."""
        model = self._run.model
        return {
            "step": step,
            "config_hash": config_hash,
            "params_sha256": tree_digest(params),
            "parts": self._parts,
            "levels": model.spec.pixel_levels,
            "seed": self._config.seed,
            "output": self._config.output,
            "sampler": self._sampler.describe(),
            **({"label": self._config.label} if model.labels else {}),
            **({"labels_of": self._run.config.eval.split} if model.spec.labels_are_arrays else {}),
        }


def labels_of(run: BaseRun, numbers: np.ndarray) -> np.ndarray | None:
    """Labels [B, ...] of the samples with these numbers; None for a model without labels.

    Every label is `sample.label`. If that is None, the numbers cycle through the classes or, where labels are arrays,
    through the labels of the split `eval.split`.
    """
    label, model = run.config.sample.label, run.model
    if not model.labels:
        return None
    if model.spec.labels_are_arrays:
        labels = run.dataset.split(run.config.eval.split).examples.labels
        return labels[numbers % len(labels)]
    return (numbers % model.spec.label_size if label is None else np.full(len(numbers), label)).astype(np.int32)


def draw_data(process: Process, keys: jax.Array, z_0: jax.Array, output: str) -> jax.Array:
    """Data [B, ...] from z_0: the most probable data, or for SOFTMAX a draw from p(data | z_0)."""
    gamma_0 = process.endpoints[0]
    u = z_0 / alpha(gamma_0)
    if output == SOFTMAX:
        return process.decoder.draw(u, gamma_0, draw_each(uniform, keys, PIXELS, z_0.shape[1:]))
    return process.decoder.mode(u)


def _stored(path: Path, made: dict[str, str], num: int, none: np.ndarray) -> np.ndarray:
    """The images of a file, on the first host; `none` [0, ...] if the file is missing or has other settings.

    Images from another environment count only if there are at least `num` of them. Raises InputError if the folder
    cannot be written to.
    """
    if hosts.is_first():
        check_writable(path.parent)
        arrays = read_arrays(read_if_present(path, "delete it")) or {}
        images = arrays.get("images", none)
        same = [name for name, text in made.items() if str(arrays.get(name)) == text]
        fits = (images.dtype, images.shape[1:]) == (none.dtype, none.shape[1:]) and "settings" in same
        if fits and ("environment" in same or len(images) >= num):
            return images
    return none

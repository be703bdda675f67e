"""Compression of images by a trained run, and decompression of the files."""

import dataclasses
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from diffenc_jax import api
from diffenc_jax.api import TrainedRun
from diffenc_jax.config import Config, flatten
from diffenc_jax.config.sections import OPTIMAL_ESTIMATE
from diffenc_jax.core import parts, versions
from diffenc_jax.core.errors import InputError, RunError, require
from diffenc_jax.diffusion.ratios import ByEstimate
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.evaluator import eval_model, eval_precision
from diffenc_jax.evaluation.fit import steps_for
from diffenc_jax.lab.coding.choices import Compression
from diffenc_jax.lab.coding.coder import Lengths, make_coder
from diffenc_jax.lab.coding.container import NOT_WRITTEN, Container, checksums, pack, unpack
from diffenc_jax.lab.coding.networks import CodingNetworks, check_coding
from diffenc_jax.lab.coding.stack import NOT_DECODED, Stack
from diffenc_jax.parallel.memory import within_memory
from diffenc_jax.parallel.sharding import round_up
from diffenc_jax.runs.hashes import tree_digest
from diffenc_jax.runs.stored import StoredRun

# Keys of the configuration, besides those that identify a run, on which a file depends.
KEYS = ("loss.depth", "loss.extrapolation", "loss.variance_ratio", "loss.times", "eval.dtype")
# Software on which the last digits of what is computed may depend.
SOFTWARE = ("jaxlib", "constriction", "numpy")

# Called after each batch with its number of images.
OnBatch = Callable[[float], None]
UNWATCHED: OnBatch = lambda images: None  # noqa: E731


class Compressed(NamedTuple):
    """A compressed file, the lengths of its images, and the initial bits of the stacks, which carry no information."""

    content: bytes
    lengths: Lengths
    initial_bits: int


class Codec:
    """Compresses and decompresses images by a trained run, at the finite depth of its configuration."""

    def __init__(self, trained: TrainedRun, choices: Compression | None = None, steps: Steps | None = None):
        """Raises InputError if configuration and choices do not suit compression, the model or the devices.

        Args:
          trained: the run.
          choices: None for the defaults.
          steps: the steps of `loss`; by default they are made or fitted.
        """
        self._choices, self._trained = choices or Compression(), trained
        check_coding(trained, self._choices)
        with self._computing():
            run = trained.changed(model=eval_model(trained))
            self._steps = steps or steps_for(run, trained.params, trained.config.loss)
        self._networks = CodingNetworks(run, trained.params, self._steps, self._choices.batch_size)
        self._coder = make_coder(self._networks, self._choices)

    def compress(
        self, images: np.ndarray, on_batch: OnBatch = UNWATCHED, labels: np.ndarray | None = None
    ) -> Compressed:
        """A file of images, uint8 [N, H, W, C], decoded once as a check. The labels [N, ...] are not in the file.

        Raises InputError unless the images and labels have the form of the run's, and RunError if this machine would
        not decode the same images.
        """
        config, (images, labels, _) = self._trained.config, self._trained.model.batch(images, labels)
        stacks = [Stack() for _ in range(min(self._networks.batch_size, len(images)))]
        lengths = []
        with self._computing():
            for seeds in self._batches(len(images)):
                coder = self._coder(stacks[: len(seeds)], seeds, _rows(labels, seeds))
                lengths.append(coder.encode(_rows(images, seeds)))
                on_batch(len(seeds))
        values = flatten(config.to_dict())
        steps = {name: np.asarray(array, np.float32) for name, array in self._steps.to_arrays().items()}
        container = Container(
            step=self._trained.checkpoint,
            values=[*(values[key] for key in KEYS), *dataclasses.astuple(self._choices)],
            origin=list(origin_of(self._trained, self._choices).values()),
            steps=steps if config.loss.is_fitted else {},
            checksums=checksums(images),
            stacks=[stack.words() for stack in stacks],
        )
        self.decompress(container, on_batch, labels)
        initial_bits = 32 * sum(stack.initial_words for stack in stacks)
        return Compressed(pack(container), Lengths(*map(np.concatenate, zip(*lengths, strict=True))), initial_bits)

    def decompress(
        self, container: Container, on_batch: OnBatch = UNWATCHED, labels: np.ndarray | None = None
    ) -> np.ndarray:
        """The images of a file, uint8 [N, H, W, C], given the labels [N, ...] that it was compressed with.

        Raises InputError if labels are missing although the model is conditioned on labels, or given although it is
        not. Raises RunError if other images are decoded.
        """
        stacks, batches = [Stack(words) for words in container.stacks], []
        labels = self._trained.model.checked_labels(labels, len(container.checksums))
        with self._computing():
            for seeds in reversed(self._batches(len(container.checksums))):
                images = self._coder(stacks[: len(seeds)], seeds, _rows(labels, seeds)).decode()
                if not np.array_equal(checksums(images), _rows(container.checksums, seeds)):
                    raise RunError(NOT_DECODED)
                batches.append(images)
                on_batch(len(seeds))
        if not all(stack.is_initial for stack in stacks):
            raise RunError(NOT_DECODED)
        return np.concatenate(batches[::-1])

    def _batches(self, count: int) -> list[list[tuple[int, int]]]:
        """For each batch: the seeds of the images' noise, and the images' numbers."""
        seeds, size = [(self._choices.seed, number) for number in range(count)], self._networks.batch_size
        return [seeds[first : first + size] for first in range(0, count, size)]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        config = self._trained.config
        advice = f"lower the batch size, {self._choices.batch_size}"
        with eval_precision(config.eval), within_memory("compression", advice):
            yield


def _rows(array: Any, seeds: list[tuple[int, int]]) -> Any:
    """The rows [n, ...] of an array for the images whose noise has these seeds; None if there is no array."""
    return None if array is None else array[[number for _, number in seeds]]


def origin_of(trained: TrainedRun, choices: Compression) -> dict[str, Any]:
    """`Container.origin` of a file of a run on this machine, by name."""
    software = {name: versions.software()[name] for name in SOFTWARE} | {"device": versions.device()}
    batch = round_up(trained.mesh, choices.batch_size)
    return software | {"batch": batch, "parameters": tree_digest(trained.params)[:32]}


def compress(run: TrainedRun, images: np.ndarray, labels: np.ndarray | None = None, **choices: Any) -> bytes:
    """Images, uint8 [N, H, W, C], as a compressed file, at the finite depth of `run.config.loss`.

    A run that is conditioned on labels takes the labels of the images, [N, ...]. The file does not hold labels. The
    choices are the fields of `choices.Compression`: order, spacing, batch_size, seed.

    Raises InputError if the images, the labels, the configuration or the choices do not suit compression, and RunError
    if the file would not be decoded to the same images on this machine.
    """
    return Codec(run, Compression(**choices)).compress(images, labels=labels).content


def decompress(run: TrainedRun, content: bytes, labels: np.ndarray | None = None) -> np.ndarray:
    """The images of a file that `compress` wrote with this run and these labels, uint8 [N, H, W, C].

    Raises InputError if the labels do not suit the run, or if the file is damaged or belongs to another run or machine.
    Raises RunError if the decoded images have other checksums.
    """
    plugins = parts.packages_of(flatten(run.config.to_dict()))
    codec, container = open_file(run.stored, content, "this file", plugins)
    return codec.decompress(container, labels=labels)


def open_file(stored: StoredRun, content: bytes, name: str, plugins: Collection[str] = ()) -> tuple[Codec, Container]:
    """Open the file `name` of a run: the codec that decompresses it, and its parts.

    The `plugins` are packages whose parts the run and the file may name. Raises InputError if the file is damaged, or
    was written by another run or on another machine.
    """
    container = unpack(content, name)
    try:
        config, choices = _settings(container, stored.config.allowing(plugins), plugins)
    except InputError as error:
        raise InputError(NOT_WRITTEN.format(name, error)) from error
    trained = api.open(stored, config=config)
    missing = f"of which {stored.workdir} has no checkpoint; it has {trained.checkpoints}"
    require(container.step in trained.checkpoints, f"{name} was compressed at step {container.step}, {missing}")
    trained = trained.at(container.step)
    ours = origin_of(trained, choices)
    others = [f"{key} {a} -> {b}" for (key, b), a in zip(ours.items(), container.origin, strict=False) if a != b]
    advice = "decompress it by the run and on the machine that compressed it"
    require(not others, f"{name} was compressed by another run, machine or version ({', '.join(others)}); {advice}")
    stacks = min(ours["batch"], len(container.checksums))
    whole = len(container.origin) == len(ours) and len(container.stacks) == stacks
    whole = whole and _has_steps_of(trained, container.steps)
    require(whole, NOT_WRITTEN.format(name, "its origin, its stacks or its steps are not those of such a run"))
    steps = {key: jnp.asarray(array) for key, array in container.steps.items()}
    return Codec(trained, choices, Steps.from_arrays(steps) if steps else None), container


def _settings(container: Container, stored: Config, plugins: Collection[str]) -> tuple[Config, Compression]:
    """Configuration and choices of a file, which may name parts of `plugins`; raises InputError for others."""
    values, choices = container.values[: len(KEYS)], container.values[len(KEYS) :]
    require(len(choices) == len(dataclasses.fields(Compression)), "it has values of other keys")
    changes = parts.allowed(dict(zip(KEYS, values, strict=True)), plugins)
    return stored.replace(changes), Compression(*choices)


def _has_steps_of(trained: TrainedRun, arrays: dict[str, np.ndarray]) -> bool:
    """Whether the arrays belong to steps that were fitted to a run; without arrays, whether `loss` is not fitted."""
    model, loss = trained.model, trained.config.loss
    if not loss.is_fitted:
        return not arrays
    plain = model.steps(trained.params, loss)  # the fitted ones have their number and their ends
    kind = ByEstimate if loss.variance_ratio == OPTIMAL_ESTIMATE else type(plain.ratio)
    if arrays.keys() != {"gamma", *kind._fields}:
        return False
    bins = arrays["knots"].shape[-1] if "knots" in arrays else 0
    per_pixel = set(product({plain.depth}, *({1, size} for size in model.spec.shape)))
    shapes = {"gamma": {plain.gamma.shape}, "ratio": {(plain.depth,), *per_pixel}}
    shapes["knots"] = shapes["error"] = {(plain.depth, bins)}
    if not all(array.shape in shapes[name] and np.isfinite(array).all() for name, array in arrays.items()):
        return False
    gamma, ends = arrays["gamma"], [float(plain.gamma[number]) for number in (0, -1)]
    return bool((np.diff(gamma) > 0).all() and np.allclose(gamma[[0, -1]], ends, atol=1e-3))

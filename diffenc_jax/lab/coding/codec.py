"""Compression of images by a trained run, and the files' way back."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from diffenc_jax.api import TrainedRun
from diffenc_jax.core.errors import RunError, require
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.evaluator import eval_precision, in_eval_dtype
from diffenc_jax.evaluation.fit import steps_for
from diffenc_jax.lab.coding.coder import Lengths, OnPart
from diffenc_jax.lab.coding.container import Container, checksums, pack, unpack
from diffenc_jax.lab.coding.header import KEYS, PLATFORM, Header, blank_header, digest, platform
from diffenc_jax.lab.coding.networks import CodingNetworks, check_coding, make_coder
from diffenc_jax.lab.coding.stack import OutOfReach, Stack
from diffenc_jax.parallel.memory import within_memory
from diffenc_jax.parallel.sharding import round_up
from diffenc_jax.runs.files import check_writable, exists, opened, read_arrays, write_arrays
from diffenc_jax.runs.trained import Trained, open_trained
from diffenc_jax.runs.workdir import stored_config

FOLDER = "compression"
ELSEWHERE = "decompress it where it was compressed"
ADVICE = "compress the images again"
NOT_DECODED = "the file is not decoded to the images that were compressed; this machine computes other last digits"
UNWATCHED: OnPart = lambda share: None  # noqa: E731


class Compressed(NamedTuple):
    """A compressed file, and what it took.

    Attributes:
      content: bytes of the file.
      lengths: of the images.
      initial_bits: bits that the stacks took at the beginning, which carry nothing.
      seconds: time of compression, without the check.
      network_seconds: the part of it in the networks.
    """

    content: bytes
    lengths: Lengths
    initial_bits: int
    seconds: float
    network_seconds: float


class Codec:
    """Compresses and decompresses images by a trained run, at the finite depth of its configuration."""

    def __init__(self, trained: Trained, steps: Steps | None = None):
        """Raises InputError if the configuration does not suit compression, the model or the devices.

        Args:
          trained: with its training images if `loss` is fitted and no steps are given.
          steps: the steps of `loss`; by default they are made or fitted.
        """
        config, self._trained = trained.config, in_eval_dtype(trained)
        check_coding(trained)
        with self._computing():
            self._steps = steps_for(self._trained, trained.params, config.loss) if steps is None else steps
        self._networks = CodingNetworks(self._trained, trained.params, self._steps, config.compress.batch_size)
        self._coder = make_coder(config.compress, self._networks)

    def compress(self, images: np.ndarray, verify: bool = True, on_part: OnPart = UNWATCHED) -> Compressed:
        """Images, uint8 [N, H, W, C], as a file. Fitted steps are kept in the workdir, for decompression.

        Raises InputError unless the images are like those of the run, and RunError if they would not be decoded on this
        machine.

        Args:
          verify: whether to decode the file.
          on_part: called after each part of the work with its share; the sum is N, or 2 N with `verify`.
        """
        images = self._trained.model.spec.pixels(images)
        folder = self._trained.workdir / FOLDER
        if self._trained.config.loss.is_fitted:
            check_writable(folder)
        start, before = time.perf_counter(), self._networks.seconds
        stacks = [Stack() for _ in range(min(self._batch_size, len(images)))]
        lengths = []
        with self._computing():
            header = self.header(images.shape)
            for first, count, seeds in self._batches(len(images)):
                batch = images[first : first + count]
                lengths.append(self._coder.encode(stacks[:count], batch, seeds, _scaled(on_part, count)))
        seconds, network_seconds = time.perf_counter() - start, self._networks.seconds - before
        container = Container(header, checksums(images), [stack.words() for stack in stacks])
        if verify:
            self.decompress(container, on_part)
        if self._trained.config.loss.is_fitted:
            write_arrays(folder / _steps_name(header.steps), **self._steps.to_arrays())
        return Compressed(
            pack(container),
            Lengths(*map(np.concatenate, zip(*lengths, strict=True))),
            32 * sum(stack.initial_words for stack in stacks),
            seconds,
            network_seconds,
        )

    def decompress(self, container: Container, on_part: OnPart = UNWATCHED) -> np.ndarray:
        """The images of a file, uint8 [N, H, W, C]; raises RunError if this machine decodes other ones."""
        stacks, found = [Stack(words) for words in container.stacks], []
        try:
            with self._computing():
                for _, count, seeds in reversed(self._batches(container.header.shape[0])):
                    found.append(self._coder.decode(stacks[:count], seeds, _scaled(on_part, count)))
        except OutOfReach as error:
            raise RunError(NOT_DECODED) from error
        images = np.concatenate(found[::-1])
        if not (np.array_equal(checksums(images), container.checksums) and all(stack.is_initial for stack in stacks)):
            raise RunError(NOT_DECODED)
        return images

    @property
    def _batch_size(self) -> int:
        return self._networks.shape[0]

    def _batches(self, count: int) -> list[tuple[int, int, list[tuple[int, int]]]]:
        """For each batch of `count` images: the number of the first, how many there are, the seeds of their noise."""
        starts = range(0, count, self._batch_size)
        seed, sizes = self._trained.config.compress.seed, [min(self._batch_size, count - start) for start in starts]
        return [(a, n, [(seed, number) for number in range(a, a + n)]) for a, n in zip(starts, sizes, strict=True)]

    def header(self, shape: tuple[int, ...]) -> Header:
        """The header of a file of images [N, H, W, C]."""
        return dataclasses.replace(
            blank_header(self._trained.config, shape, self._batch_size),
            step=self._trained.step,
            checkpoint=digest(self._trained.params),
            **self.digests(),
        )

    def digests(self) -> dict[str, bytes]:
        """`Header.steps` and `Header.outputs`."""
        outputs = [*self._networks.probe(), self._coder.lattice.unit]
        return {"steps": digest(self._steps.to_arrays()), "outputs": digest(outputs)}

    @contextmanager
    def _computing(self) -> Iterator[None]:
        config = self._trained.config
        advice = f"lower compress.batch_size={config.compress.batch_size}"
        with eval_precision(config.eval), within_memory("compression", advice):
            yield


def compress(run: TrainedRun, images: np.ndarray, verify: bool = True) -> bytes:
    """Images, uint8 [N, H, W, C], as a compressed file, at the finite depth of `run.config.loss`.

    Raises InputError if the images or the configuration do not suit compression, and RunError if the file would not be
    decoded to the same images on this machine.

    Args:
      verify: whether to decode the file.
    """
    return Codec(run.experiment).compress(images, verify).content


def decompress(run: TrainedRun, content: bytes) -> np.ndarray:
    """The images of a file that `compress` wrote with this run, uint8 [N, H, W, C].

    Raises InputError if the file is damaged or belongs elsewhere, and RunError if other images come out.
    """
    codec, container = open_file(run.experiment.workdir, content, "this file")
    return codec.decompress(container)


def open_file(workdir: Path, content: bytes, name: str) -> tuple[Codec, Container]:
    """Open the file `name` of the run in `workdir`: the codec that decompresses it, and its parts.

    Raises InputError if the file is damaged, or was written by another run or on another machine.
    """
    container = unpack(content, name)
    header = container.header
    changed = [f"{key} {a} -> {b}" for key, a, b in zip(PLATFORM, header.platform, platform(), strict=True) if a != b]
    require(not changed, f"{name} was compressed elsewhere ({', '.join(changed)}); {ELSEWHERE}")
    trained = open_trained(workdir, stored_config(workdir).replace(dict(zip(KEYS, header.values, strict=True))))
    require(
        header.step in trained.steps,
        f"{name} was compressed at step {header.step}, of which {workdir} has no checkpoint; it has {trained.steps}",
    )
    trained = trained.at(header.step)
    shape = list(trained.model.spec.shape)
    require(header.shape[1:] == shape, f"{name} holds images {header.shape[1:]}, and those of {workdir} are {shape}")
    require(header.checkpoint == digest(trained.params), f"{name} was compressed by another run than {workdir}")
    batch_size = round_up(trained.mesh, trained.config.compress.batch_size)
    require(header.batch_size == batch_size, f"{name} was compressed on another number of devices; {ELSEWHERE}")
    codec = Codec(trained, _read_steps(workdir, header.steps, name) if trained.config.loss.is_fitted else None)
    same = codec.digests() == {"steps": header.steps, "outputs": header.outputs}
    require(
        same,
        f"{name} was written by a machine, or a version of diffenc_jax, that computes other last digits; {ELSEWHERE}",
    )
    return codec, container


def _read_steps(workdir: Path, known: bytes, name: str) -> Steps:
    path = workdir / FOLDER / _steps_name(known)
    require(exists(path), f"{path} is missing: it holds the fitted steps of {name}; copy it there, or compress again")
    with opened(path, ADVICE) as file:
        arrays = read_arrays(file)
    require(arrays is not None and digest(arrays) == known, f"{path} was changed after {name} was written; {ADVICE}")
    return Steps.from_arrays({key: jnp.asarray(array) for key, array in arrays.items()})


def _steps_name(known: bytes) -> str:
    return f"steps-{known.hex()[:12]}.npz"


def _scaled(on_part: OnPart, factor: float) -> OnPart:
    return lambda share: on_part(factor * share)

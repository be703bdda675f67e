"""Coverage-guided fuzzing of whatever reads what others wrote.

    python tests/fuzz/fuzz_readers.py npz --seconds=300

Needs atheris: pip install -e '.[fuzz]'. An input that ends in anything but a result or one line of InputError stops
the fuzzer and is kept in tests/fuzz/findings/<target>/, which test_findings.py replays. What is learned of a target's
inputs stays in build/fuzz/<target>/ for the next time.
"""

import argparse
import gzip
import inspect
import io
import pickle
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[2]
FINDINGS = ROOT / "tests" / "fuzz" / "findings"
LONGEST = 4096  # bytes of an input
STANDARD = ("gzip", "pickle", "zipfile")
INSTRUMENTED = (
    "diffenc_jax.data",
    "diffenc_jax.lab.interop",
    "diffenc_jax.config",
    "diffenc_jax.lab.coding",
    "ml_collections",
)

IMAGES = np.arange(2 * 3 * 2, dtype=np.uint8).reshape(2, 3, 2, 1) * 7
ROWS = np.arange(3 * 12, dtype=np.uint8).reshape(3, 12)
WEIGHTS = np.arange(6, dtype=np.float32).reshape(2, 3)


class Seed(NamedTuple):
    """An input that is accepted, and what it must be read as."""

    data: bytes
    value: Any


class Target(NamedTuple):
    """read: (input, an empty folder) -> what is read of it; seeds: by name; words: that inputs are made of."""

    read: Callable[[bytes, Path], Any]
    seeds: Callable[[], dict[str, Seed]]
    words: Callable[[], list[str]] = list


def _file(name: str) -> Callable[[bytes, Path], np.ndarray]:
    """Reads an input as the file `name`: all images, those held out last."""

    def read(data: bytes, folder: Path) -> np.ndarray:
        from diffenc_jax.data.user_files import open_path

        path = folder / name
        path.write_bytes(data)
        splits = [opened() for opened in open_path(path).splits.values()]
        return np.concatenate([images[: images.shape[0]] for images in splits])

    return read


def _member(data: bytes, folder: Path) -> np.ndarray:
    """Reads an input as the array file within an archive, whose checksums a fuzzer would not hit."""
    return _file("input.npz")(zip_bytes({"a.npy": data}), folder)


def _batch(data: bytes, folder: Path) -> np.ndarray:
    """Reads an input as a pickled batch, to train on and to test on."""
    from diffenc_jax.data.user_files import open_path

    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(data)
    train, test = (opened() for opened in open_path(folder).splits.values())
    assert train.shape == test.shape
    return train[: train.shape[0]]


def _msgpack(data: bytes, folder: Path) -> dict[str, Any]:
    from diffenc_jax.lab.interop import flax_msgpack

    (folder / "checkpoint").write_bytes(data)
    return flax_msgpack.read_checkpoint(folder / "checkpoint", ("step", "ema_params"))


def _container(data: bytes, folder: Path) -> np.ndarray:
    """Reads an input as a file of compressed images behind its digest, which a fuzzer would not hit."""
    from diffenc_jax.lab.coding.container import signed, unpack

    found = unpack(signed(data), "input")
    assert len(found.checksums) == found.header.shape[0]
    return np.concatenate([found.checksums, *found.stacks])


def _overrides(data: bytes, folder: Path) -> dict[str, Any]:
    """Reads an input as overrides such as train.steps=3, one per line, and builds the model that they give."""
    from diffenc_jax.config import flatten, load_config
    from diffenc_jax.model import ImageSpec, build

    config = load_config("digits", data.decode("utf-8", "surrogateescape").split("\n"))
    config.hash  # noqa: B018  it must be possible to compute
    build(config, ImageSpec((8, 8, 1), 17), "cpu")
    return flatten(config.to_dict())


def _keys() -> list[str]:
    """Keys and sections of a configuration, and values of different types."""
    from diffenc_jax.config import flatten, load_config

    keys = list(flatten(load_config("digits").to_dict()))
    sections = sorted({key.rpartition(".")[0] for key in keys if "." in key})
    values = ["-1", "0", "1e9", "nan", "inf", "None", "True", "()", "(1,'a')", "{'kind':'identity'}", "b'a'", "learned"]
    return [*(f"{key}=" for key in keys + sections), *values, "\n"]


HEADER_WORDS = [
    "'descr'",
    "'fortran_order'",
    "'shape'",
    "'|u1'",
    "'|O'",
    "'<f8'",
    "'|V0'",
    "[('a','|u1')]",
    "True",
    "L",
]

PICKLE_WORDS = [
    "numpy.core.multiarray",
    "_reconstruct",
    "numpy\nndarray\n",
    "numpy\ndtype\n",
    "_codecs\nencode\n",
    "data",
]
PICKLE_WORDS += ["numpy._core.numeric", "_frombuffer", "u1", "f8", "O8", "os", "system", "latin1"]


def npy_bytes(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version)
    return buffer.getvalue()


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def zip_bytes(members: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, packing)
    return buffer.getvalue()


# A batch as Python 2 wrote it: names and values are its plain strings, which are bytes.
PYTHON_2 = (
    b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03(K\x01K\x02K\x03eU\x04dataq\x04cnumpy.core.multiarray\n_reconstruct\nq\x05"
    b"cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07(K\x01K\x03K\x0c\x86cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87Rq\x09"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x24" + ROWS.tobytes() + b"tbu."
)


def _batches() -> dict[str, Seed]:
    images = ROWS.reshape(3, 3, 2, 2).transpose(0, 2, 3, 1)
    batch = {"data": ROWS, "labels": [1, 2, 3], "mean": np.zeros(12)}
    written = {f"protocol {n}": pickle.dumps(batch, protocol=n) for n in (2, 3, 4, 5)}
    written["fortran"] = pickle.dumps({"data": np.asfortranarray(ROWS)}, protocol=2)
    return {name: Seed(data, images) for name, data in {**written, "python 2": PYTHON_2}.items()}


def _archives() -> dict[str, Seed]:
    both = {"train.npy": npy_bytes(IMAGES), "test.npy": npy_bytes(IMAGES[:1])}
    return {
        "splits": Seed(zip_bytes(both), np.concatenate([IMAGES, IMAGES[:1]])),
        "x_ and labels": Seed(
            zip_bytes({f"x_{name}": data for name, data in both.items()} | {"y_train.npy": npy_bytes(np.arange(2))}),
            np.concatenate([IMAGES, IMAGES[:1]]),
        ),
        "deflated": Seed(zip_bytes({"a.npy": npy_bytes(IMAGES)}, zipfile.ZIP_DEFLATED), _HELD_OUT),
    }


def _checkpoints() -> dict[str, Seed]:
    import msgpack

    array = msgpack.ExtType(1, msgpack.packb([[2, 3], "float32", WEIGHTS.tobytes()]))
    chunk = msgpack.ExtType(1, msgpack.packb([[6], "float32", WEIGHTS.tobytes()]))
    chunked = {"__msgpack_chunked_array__": True, "shape": {"0": 2, "1": 3}, "chunks": {"0": chunk}}
    scalar = msgpack.ExtType(3, msgpack.packb([[], "int32", b"\7\0\0\0"]))
    value = {"step": 7, "ema_params": {"w": WEIGHTS}}
    return {
        "plain": Seed(msgpack.packb({"step": 7, "ema_params": {"w": array}, "other": [1, {}]}), value),
        "chunked": Seed(msgpack.packb({"step": 7, "ema_params": {"w": chunked}}), value),
        "scalar": Seed(msgpack.packb({"step": scalar, "ema_params": {}}), {"step": np.int32(7), "ema_params": {}}),
    }


def _compressed() -> dict[str, Seed]:
    from diffenc_jax.config import load_config
    from diffenc_jax.lab.coding.container import MAGIC, Container, pack
    from diffenc_jax.lab.coding.header import DIGEST_BYTES, blank_header

    header = blank_header(load_config("digits", ["loss.depth=10"]), (3, 8, 8, 1), 2)
    numbers = np.array([1, 2**32 - 1, 0, 7, 0, 9, 5], np.uint32)
    content = pack(Container(header, numbers[:3], [numbers[3:6], numbers[6:]]))
    return {"two stacks": Seed(content[len(MAGIC) + DIGEST_BYTES :], numbers)}


def _settings() -> dict[str, Seed]:
    changes = {
        "train.steps=3\ntrain.learning_rate=1e-3": {"train.steps": 3, "train.learning_rate": 1e-3},
        "loss.variance_ratio=0.5\nloss.depth=10": {"loss.variance_ratio": 0.5, "loss.depth": 10},
        "loss.variance_ratio=optimal\nloss.depth=10": {"loss.variance_ratio": "optimal", "loss.depth": 10},
        "model.score.fourier_bins=(2.0,1.0)": {"model.score.fourier_bins": [2.0, 1.0]},
        "mesh={'fsdp':2}": {"mesh.fsdp": 2},
        "model.scan=true\ndata.dir=a b": {"model.scan": True, "data.dir": "a b"},
    }
    return {text.replace("\n", " "): Seed(text.encode(), value) for text, value in changes.items()}


_HELD_OUT = IMAGES[np.random.RandomState(0).permutation(2)[::-1]]  # one of two to train on, then one to test on

TARGETS = {
    "npy": Target(
        _file("input.npy"),
        lambda: {
            "plain": Seed(npy_bytes(IMAGES), _HELD_OUT),
            "grey": Seed(npy_bytes(IMAGES[..., 0]), _HELD_OUT),
            "version 2": Seed(npy_bytes(IMAGES, (2, 0)), _HELD_OUT),
            "fortran": Seed(npy_bytes(np.asfortranarray(IMAGES)), _HELD_OUT),
        },
        lambda: HEADER_WORDS,
    ),
    "npz": Target(_file("input.npz"), _archives),
    "npz_member": Target(_member, lambda: {"plain": Seed(npy_bytes(IMAGES), _HELD_OUT)}, lambda: HEADER_WORDS),
    "idx": Target(
        _file("input"),
        lambda: {
            "plain": Seed(idx_bytes(IMAGES[..., 0]), _HELD_OUT),
            "rank 4": Seed(idx_bytes(IMAGES), _HELD_OUT),
            "gzip": Seed(gzip.compress(idx_bytes(IMAGES[..., 0]), mtime=0), _HELD_OUT),
        },
    ),
    "pickle": Target(_batch, _batches, lambda: PICKLE_WORDS),
    "msgpack": Target(_msgpack, _checkpoints),
    "container": Target(_container, _compressed),
    "overrides": Target(_overrides, _settings, _keys),
}


def outcome(target: str, data: bytes) -> Any:
    """What `target` reads of `data`, or the InputError that refuses it, of which it asserts that it is one line."""
    from diffenc_jax.core.errors import InputError

    with tempfile.TemporaryDirectory() as folder:
        try:
            found = TARGETS[target].read(data, Path(folder))
        except InputError as error:
            found = error
        assert not isinstance(found, InputError) or len(str(found).splitlines()) == 1, repr(str(found))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    chosen = parser.parse_args()
    import atheris

    for name in STANDARD:
        sys.modules.pop(name)  # to be imported again, instrumented
    for function in filter(inspect.isfunction, vars(inspect.getmodule(np.lib.format.read_magic)).values()):
        atheris.instrument_func(function)
    with atheris.instrument_imports(include=[*STANDARD, *INSTRUMENTED]):
        for seed in TARGETS[chosen.target].seeds().values():
            outcome(chosen.target, seed.data)
    corpus, findings = ROOT / "build" / "fuzz" / chosen.target, FINDINGS / chosen.target
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[chosen.target].seeds().values()):
        (corpus / f"seed-{number}").write_bytes(seed.data)
    limits = [f"-max_total_time={chosen.seconds}", "-timeout=20", "-rss_limit_mb=3000", f"-max_len={LONGEST}"]
    dictionary = corpus.with_suffix(".words")
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in TARGETS[chosen.target].words())
    dictionary.write_text("".join(f'"{word}"\n' for word in escaped))
    limits += [f"-dict={dictionary}"] if dictionary.stat().st_size else []
    options = [f"-artifact_prefix={findings}/", "-print_final_stats=1", str(corpus)]

    def once(data: bytes) -> None:
        outcome(chosen.target, data)

    atheris.Setup([sys.argv[0], *limits, *options], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

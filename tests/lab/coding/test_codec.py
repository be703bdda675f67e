"""Compression by runs on disk, which comes back bit for bit, and its file, refused if changed or forged."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import diffenc_jax as dj
from diffenc_jax.__main__ import main
from diffenc_jax.core.errors import InputError, RunError
from diffenc_jax.lab.coding import codec
from diffenc_jax.lab.coding.container import MAGIC, Container, pack, unpack
from tests import refusals
from tests.processes import QUICKLY_COMPILED, python
from tests.stored_runs import write_run

CHANGES, BATCH = {"loss.depth": 4}, {"batch_size": 5}
FLAGS = ["--config.loss.depth=4", "--batch-size=5"]
FITTED = {"loss.times": "optimal", "loss.variance_ratio": "optimal_estimate"}
# Runs besides those of the arms: changes of the configuration.
OTHERS = {
    "diffenc-image": {"arm": "diffenc", "model__target": "image"},
    "vdm-augmented": {"arm": "vdm", "train__augment": "flip", "model__augmentation": True},
    "vdm-polynomial": {"arm": "vdm", "model__schedule__kind": "polynomial"},
}


@pytest.fixture(scope="module")
def home(home):
    """Runs of the arms, and of 'vdm' one with another seed and one with labels."""
    write_run(home / "other", home / "images.npz", seed=1)
    write_run(home / "labelled", home / "images.npz", model__labels=True)
    return home


@pytest.fixture(scope="module")
def content(home):
    """A file of the run 'vdm'."""
    run = dj.open(home / "vdm", CHANGES)
    return codec.compress(run, run.test, **BATCH)


@pytest.mark.parametrize("name", ["vdm", "diffenc", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)])
def test_images_come_back(home, name):
    """Thirteen images in batches of five, the last of three; the fitted steps of 'vdm' are in the file."""
    if name in OTHERS:
        write_run(home / name, home / "images.npz", **OTHERS[name])
    run = dj.open(home / name, CHANGES | (FITTED if name == "vdm" else {}))
    content = codec.compress(run, run.test, **BATCH)
    np.testing.assert_array_equal(codec.decompress(dj.open(home / name), content), run.test)


def test_a_decoder_needs_the_labels(home):
    """A model with labels codes images given theirs; with others, other images are decoded, and that is noticed."""
    run = dj.open(home / "labelled", CHANGES)
    content = codec.compress(run, run.test, run.test_labels, **BATCH)
    np.testing.assert_array_equal(codec.decompress(run, content, run.test_labels), run.test)
    with pytest.raises(RunError, match="not decoded to the images that were compressed"):
        codec.decompress(run, content, (run.test_labels + 1) % 3)
    with pytest.raises(InputError, match="the model is conditioned on labels; give labels"):
        codec.decompress(run, content)
    record = run.evaluate(passes=1, estimator="code_length")
    assert record["bpd"]["total"] > 0  # it decodes what it has coded
    assert (record["estimator"]["order"], record["estimator"]["spacing"]) == ("bit_swap", 0.25)


KINDS = [(256, (4, 4, 3), 3), pytest.param(2, (1, 1, 1), 1, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("levels", "shape", "count"), KINDS)
def test_images_of_all_kinds_come_back(tmp_path, levels, shape, count):
    random = np.random.RandomState(0)
    images = {name: random.randint(0, levels, (n, *shape)).astype(np.uint8) for name, n in (("train", 20), ("test", 3))}
    np.savez(tmp_path / "images.npz", **images)
    write_run(tmp_path / "run", tmp_path / "images.npz", shape=shape, data__pixel_levels=levels)
    run, given = dj.open(tmp_path / "run", CHANGES), random.randint(0, levels, (count, *shape)).astype(np.uint8)
    np.testing.assert_array_equal(codec.decompress(run, codec.compress(run, given, **BATCH)), given)


def test_the_commands_compress_a_split_or_a_file_and_decompress_it(home, tmp_path, capsys):
    file, out, workdir = tmp_path / "test.diffenc", tmp_path / "out.npy", str(home / "vdm")
    assert main(["compress", workdir, "test", "-o", str(file), *FLAGS]) == 0
    said, size = capsys.readouterr().out, file.stat().st_size
    for part in (f"13 images, {size:,} bytes: net ", f"; gross {8 * size / 13 / 16:.4f}, ", f"{size:,} after"):
        assert part in said
    assert said.endswith(f"file: {file}\n")
    assert main(["decompress", workdir, str(file), "-o", str(out)]) == 0
    images = np.load(home / "images.npz")["test"]
    np.testing.assert_array_equal(np.load(out), images)
    np.save(tmp_path / "given.npy", images[::-1])
    assert main(["compress", workdir, str(tmp_path / "given.npy"), "-o", str(file), *FLAGS]) == 0
    np.testing.assert_array_equal(codec.decompress(dj.open(workdir), file.read_bytes()), images[::-1])


@pytest.mark.slow
def test_another_process_decompresses(home, tmp_path):
    run, file, out = dj.open(home / "diffenc", CHANGES), tmp_path / "file", tmp_path / "out.npy"
    file.write_bytes(codec.compress(run, run.test, **BATCH))
    python("-m", "diffenc_jax", "decompress", home / "diffenc", file, "-o", out, XLA_FLAGS=QUICKLY_COMPILED)
    np.testing.assert_array_equal(np.load(out), run.test)


def test_files_that_belong_elsewhere_are_refused(home, content):
    container, runs = unpack(content, "file"), {name: dj.open(home / name) for name in ("vdm", "other")}
    for run, changes, message in (
        ("other", {}, r"was compressed by another run, machine or version \(parameters .* -> .*\); decompress it by"),
        ("vdm", {"origin": ["0.1", *container.origin[1:]]}, r"or version \(jaxlib 0.1 -> "),
        ("vdm", {"step": 7}, r"was compressed at step 7, of which .* has no checkpoint; it has \[1\]"),
        ("vdm", {"origin": container.origin[:-1]}, "file that `compress` wrote: its origin, its stacks or its steps"),
        ("vdm", {"values": container.values[:-1]}, "file that `compress` wrote: it has values of other keys"),
        ("vdm", {"values": [*container.values[:-1], -1]}, r"^this file [^\n]* wrote: seed must lie in [^\n]*"),
        ("vdm", {"values": [-1, *container.values[1:]]}, r"^this file [^\n]* wrote: loss.depth [^\n]*"),
    ):
        with pytest.raises(InputError, match=message):
            codec.decompress(runs[run], pack(dataclasses.replace(container, **changes)))


def test_steps_that_no_fit_gives_are_refused(home, content):
    run, container = dj.open(home / "vdm", CHANGES), unpack(content, "file")
    plain = run.model.steps(run.params, run.config.loss).to_arrays()
    gamma, ratio = (np.array(plain[name]) for name in ("gamma", "ratio"))
    curves = {"knots": np.zeros((4, 2), np.float32), "error": np.ones((4, 3), np.float32)}
    for kind, steps in (
        (1.0, {}),
        (1.0, {"gamma": gamma}),
        (1.0, {"gamma": gamma, **curves}),
        (1.0, {"gamma": gamma * np.float32("nan"), "ratio": ratio}),
        (1.0, {"gamma": gamma[::-1], "ratio": ratio}),
        (1.0, {"gamma": 2 * gamma, "ratio": ratio}),
        (1.0, {"gamma": np.append(gamma, gamma[-1:] + 1), "ratio": ratio}),
        (1.0, {"gamma": gamma, "ratio": ratio[:3]}),
        (1.0, {"gamma": gamma, "ratio": np.ones((4, 7, 7, 1), np.float32)}),
        ("optimal_estimate", {"gamma": gamma, **curves}),
    ):
        values = [4, "linear", kind, "optimal", *container.values[4:]]
        with pytest.raises(InputError, match=r"its steps are not those of such a run"):
            codec.decompress(run, pack(dataclasses.replace(container, values=values, steps=steps)))


def test_words_that_hold_no_images_end_in_one_line(home, content):
    """A file whose digest is right, but whose stacks are not."""
    run, container, random = dj.open(home / "vdm"), unpack(content, "file"), np.random.RandomState(0)
    for _ in range(2):
        stacks = [random.randint(1, 2**32, random.randint(1, 60), np.uint32) for _ in container.stacks]
        changed = dataclasses.replace(container, stacks=stacks)
        with pytest.raises(RunError, match=r"^[^\n]*(not decoded to the images|is not finite)[^\n]*$"):
            codec.decompress(run, pack(changed))


REFUSED = [
    ("vdm", "test", [], "a code needs a finite depth, such as --config.loss.depth=50"),
    ("vdm", "nothing", FLAGS, "has no split 'nothing'; it has "),
    ("vdm", "wide.npy", FLAGS, "images must be [N, 4, 4, 1]; these are [2, 4, 5, 1]"),
    ("vdm", "test", [*FLAGS, "--spacing=1e-9"], "makes lattices of more than 2^31 points"),
    ("vdm", "test", [*FLAGS, "--batch-size=0"], "--batch-size must lie in 1 .. 4096, not 0"),
    ("vdm", "test", [*FLAGS, "--config.eval.passes=2"], "--config.eval.passes is not read by this command"),
    ("diffenc", "test", [*FLAGS, "--order=bit_swap"], "needs an encoder that leaves the image as"),
    ("labelled", "test", FLAGS, "is a run with labels, which no file here holds; in Python"),
]


@pytest.mark.parametrize(("run", "images", "flags", "message"), REFUSED)
def test_images_and_options_that_cannot_be_coded_are_refused(home, tmp_path, run, images, flags, message, capsys):
    np.save(tmp_path / "wide.npy", np.zeros((2, 4, 5, 1), np.uint8))
    source = tmp_path / images if images.endswith(".npy") else images
    arguments = ["compress", home / run, source, "-o", tmp_path / "file", *flags]
    assert message in refusals.refused(main, arguments, capsys)
    assert not (tmp_path / "file").exists()


CONTAINER = Container(
    step=3,
    values=[4, "uniform"],
    origin=["0.1", 3],
    steps={"gamma": np.linspace(-5, 5, 5, dtype=np.float32)},
    checksums=np.arange(5, dtype=np.uint32),
    stacks=[np.array(words, np.uint32) for words in ([7, 2**32 - 1, 0, 9], [1], [5, 5])],
)
CONTENT = pack(CONTAINER)
BODY = CONTENT[len(MAGIC) + 16 :]


def test_what_is_packed_comes_back():
    np.testing.assert_equal(vars(unpack(CONTENT, "file")), vars(CONTAINER))


@settings(max_examples=1000)
@given(at=st.integers(0, len(CONTENT)), cut=st.integers(0, len(CONTENT)), new=st.binary(max_size=9))
def test_files_that_were_changed_are_refused(at, cut, new):
    """Bytes changed, cut off, inserted."""
    changed = CONTENT[:at] + new + CONTENT[at + cut :]
    assume(changed != CONTENT)
    with pytest.raises(InputError, match=r"^file is [^\n]*$"):
        unpack(changed, "file")


def header(**changes):
    """The body of the file with another line of JSON."""
    line, _, data = BODY.partition(b"\n")
    return json.dumps(json.loads(line) | changes).encode() + b"\n" + data


def stacks(*lengths):
    """The body of the file with these lengths of its three stacks, which hold seven words."""
    return BODY[:-40] + np.uint32(lengths).tobytes() + BODY[-28:]


FORGERIES = {
    "nothing": b"",
    "no entries": b"{}\n",
    "a list": b"[3]\n",
    "a long line": b'"' + b"x" * 10**6 + b'"\n',
    "cut off in the words": BODY[:-4],
    "cut off in a word": BODY[:-1],
    "a further word": BODY + bytes(4),
    "a step that is true": header(step=True),
    "values by name": header(values={}),
    "no images": header(images=0),
    "huge": header(images=2**62),
    "huge steps": header(steps={"gamma": [2**62, 2**62]}),
    "negative steps": header(steps={"gamma": [-5, -1]}),
    "steps of a hundred axes": header(steps={"gamma": [5] + [1] * 99}),
    "steps without axes": header(steps={"gamma": []}),
    "an empty stack": stacks(5, 0, 2),
    "lengths that overflow": stacks(2**32 - 3, 4, 6),
    "a stack that ends in zero": stacks(3, 2, 2),
}


@pytest.mark.parametrize("body", FORGERIES.values(), ids=FORGERIES)
def test_a_digest_makes_no_file(body):
    with pytest.raises(InputError, match=r"^file is not a file that `compress` wrote: [^\n]{,200}$"):
        unpack(MAGIC + hashlib.sha256(body).digest()[:16] + body, "file")

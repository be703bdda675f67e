"""Compression by runs on disk: every arm, shape and number of pixel levels comes back bit for bit."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import diffenc_jax as dj
from diffenc_jax.__main__ import main
from diffenc_jax.core.errors import InputError, RunError
from diffenc_jax.lab.coding import codec
from diffenc_jax.lab.coding.container import pack, unpack
from tests import refusals, tiny
from tests.lab.studies.runs import write_images, write_run

CHANGES = {"loss.depth": 4, "compress.batch_size": 5}
FLAGS = ["--config.loss.depth=4", "--config.compress.batch_size=5"]
FITTED = {"loss.times": "optimal", "loss.variance_ratio": "optimal_estimate"}
# Runs by name: changes of the configuration.
RUNS = {
    "vdm": {"arm": "vdm"},
    "nontrainable": {"arm": "nontrainable"},
    "diffenc": {"arm": "diffenc"},
    "diffenc-image": {"arm": "diffenc", "model__target": "image"},
    "vdm-augmented": {"arm": "vdm", "train__augment": "flip", "model__augmentation": True},
    "vdm-polynomial": {"arm": "vdm", "model__schedule__kind": "polynomial"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    source = write_images(folder / "images.npz")
    for name, changes in RUNS.items():
        write_run(folder / name, source, **changes)
    write_run(folder / "other", source, arm="vdm", seed=1)
    return folder


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("fitted", [False, True], ids=["uniform", "fitted"])
def test_images_come_back(home, name, fitted):
    """Thirteen images in batches of five, the last of three."""
    run = dj.open(home / name, CHANGES | (FITTED if fitted else {}), needs_training_images=True)
    content = codec.compress(run, run.test)
    np.testing.assert_array_equal(codec.decompress(dj.open(home / name), content), run.test)


@pytest.mark.parametrize(
    ("levels", "shape", "count"), [(2, (4, 4, 1), 3), (256, (4, 4, 3), 3), (17, (1, 1, 1), 7), (17, (3, 2, 1), 1)]
)
def test_images_of_all_kinds_come_back(tmp_path, levels, shape, count):
    random = np.random.RandomState(0)
    images = {name: random.randint(0, levels, (n, *shape)).astype(np.uint8) for name, n in (("train", 20), ("test", 3))}
    np.savez(tmp_path / "images.npz", **images)
    write_run(tmp_path / "run", tmp_path / "images.npz", shape=shape, data__pixel_levels=levels)
    run, given = dj.open(tmp_path / "run", CHANGES), random.randint(0, levels, (count, *shape)).astype(np.uint8)
    np.testing.assert_array_equal(codec.decompress(run, codec.compress(run, given)), given)


def test_the_commands(home, tmp_path, capsys):
    file, workdir = tmp_path / "test.diffenc", str(home / "vdm")
    assert main(["compress", workdir, "test", "-o", str(file), *FLAGS, "--config.loss.times=optimal"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()[-3:]
    size = file.stat().st_size
    assert first.startswith(f"13 images, {size:,} bytes: net ")
    assert f"; gross {8 * size / 13 / 16:.4f}, of which initial bits" in first
    assert "images/s" in second
    assert third == f"file: {file}"
    images = dj.open(workdir).test
    for name in ("out.npy", "out.npz", "pictures"):
        assert main(["decompress", workdir, str(file), "-o", str(tmp_path / name)]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), images)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["images"], images)
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [picture.name for picture in pictures] == [f"{number:02d}.png" for number in range(13)]
    np.testing.assert_array_equal(np.stack([np.asarray(Image.open(picture)) for picture in pictures]), images[..., 0])


@pytest.mark.parametrize("name", ["images.npy", "images.npz", "pictures"])
def test_images_are_read_in_their_order(home, tmp_path, name):
    images = tiny.images(6, seed=4)
    path = tmp_path / name
    if name == "images.npy":
        np.save(path, images)
    elif name == "images.npz":
        np.savez(path, any=images)
    else:
        path.mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image[..., 0]).save(path / f"{number}.png")
    file, out = tmp_path / "file", tmp_path / "out.npy"
    assert main(["compress", str(home / "vdm"), str(path), "-o", str(file), "--no-verify", *FLAGS]) == 0
    assert main(["decompress", str(home / "vdm"), str(file), "-o", str(out)]) == 0
    np.testing.assert_array_equal(np.load(out), images)


@pytest.mark.slow
def test_another_process_decompresses(home, tmp_path):
    file, out = tmp_path / "file", tmp_path / "out.npy"
    command = [sys.executable, "-m", "diffenc_jax"]
    for words in (
        ["compress", home / "diffenc", "test", *FLAGS, "-o", file],
        ["decompress", home / "diffenc", file, "-o", out],
    ):
        subprocess.run([*command, *map(str, words)], check=True, env=os.environ)
    np.testing.assert_array_equal(np.load(out), dj.open(home / "diffenc").test)


def compressed(home, changes=CHANGES, count=13):
    run = dj.open(home / "vdm", changes, needs_training_images=True)
    return codec.compress(run, run.test[:count])


def test_files_of_another_run_are_refused(home, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_bytes(compressed(home))
    arguments = [home / "other", file, "-o", tmp_path / "out.npy"]
    assert "was compressed by another run than" in refusals.refused(main, ["decompress", *arguments], capsys)
    assert not (tmp_path / "out.npy").exists()


def test_files_of_another_platform_or_step_are_refused(home):
    run, container = dj.open(home / "vdm"), unpack(compressed(home, count=3), "file")
    for change, message in (
        (
            {"platform": ["0.1", *container.header.platform[1:]]},
            r"was compressed elsewhere \(jaxlib 0.1 -> .*\); decomp",
        ),
        ({"step": 7}, r"was compressed at step 7, of which .* has no checkpoint; it has \[1\]"),
        ({"batch_size": 2**30}, r"was compressed on another number of devices"),
        ({"outputs": bytes(16)}, "a machine, or a version of diffenc_jax, that computes other last digits"),
        ({"steps": bytes(16)}, "a machine, or a version of diffenc_jax, that computes other last digits"),
        ({"shape": [3, 2, 8, 1]}, r"holds images \[2, 8, 1\], and those of .* are \[4, 4, 1\]"),
    ):
        header = dataclasses.replace(container.header, **change)
        with pytest.raises(InputError, match=message):
            codec.decompress(run, pack(container._replace(header=header)))


def test_steps_that_are_missing_or_changed_are_refused(home):
    content, folder = compressed(home, changes=CHANGES | {"loss.variance_ratio": "optimal"}), home / "vdm/compression"
    (path,) = [path for path in folder.iterdir() if unpack(content, "").header.steps.hex().startswith(path.stem[6:])]
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"gamma", b"gamme"))
    with pytest.raises(InputError, match=r"was changed after this file was written; compress the images again"):
        codec.decompress(dj.open(home / "vdm"), content)
    path.unlink()
    with pytest.raises(InputError, match=r"is missing: it holds the fitted steps of this file; copy it there"):
        codec.decompress(dj.open(home / "vdm"), content)


def test_words_that_hold_no_images_end_in_one_line(home):
    """A file whose digests are right, but whose stacks are not."""
    run, container, random = dj.open(home / "vdm"), unpack(compressed(home), "file"), np.random.RandomState(0)
    for _ in range(20):
        stacks = [random.randint(1, 2**32, max(1, random.randint(60)), np.uint32) for _ in container.stacks]
        with pytest.raises(RunError, match=r"^[^\n]*(not decoded to the images|is not finite)[^\n]*$"):
            codec.decompress(run, pack(container._replace(stacks=stacks)))


@pytest.mark.parametrize(
    ("images", "flags", "message"),
    [
        ("test", [], "a code needs a finite depth, such as --config.loss.depth=50"),
        ("nothing", FLAGS, "has no split 'nothing'; it has "),
        ("wide.npy", FLAGS, "images must be [N, 4, 4, 1]; these are [2, 4, 5, 1]"),
        ("bright.npy", FLAGS, "pixels must lie in 0 .. 16; those of these images lie in 200 .. 200"),
        ("empty.npy", FLAGS, "must hold images [N, H, W, C] or [N, H, W]; this is [0, 4, 4, 1]"),
        ("real.npy", FLAGS, "must hold uint8"),
        ("test", [*FLAGS, "--config.compress.spacing=0"], "compress.spacing must lie between 0 and 1"),
        ("test", [*FLAGS, "--config.compress.spacing=1e-9"], "makes lattices of more than 2^31 points"),
        ("test", [*FLAGS, "--config.eval.passes=2"], "--config.eval.passes is not read by this command"),
        ("test", [*FLAGS, "--config.compress.order=first"], "compress.order must be"),
    ],
)
def test_bad_input_is_refused(home, tmp_path, images, flags, message, capsys):
    np.save(tmp_path / "wide.npy", np.zeros((2, 4, 5, 1), np.uint8))
    np.save(tmp_path / "bright.npy", np.full((2, 4, 4, 1), 200, np.uint8))
    np.save(tmp_path / "empty.npy", np.zeros((0, 4, 4, 1), np.uint8))
    np.save(tmp_path / "real.npy", np.zeros((2, 4, 4, 1)))
    source = tmp_path / images if images.endswith(".npy") else images
    arguments = ["compress", home / "vdm", source, "-o", tmp_path / "file", *flags]
    assert message in refusals.refused(main, arguments, capsys)
    assert not (tmp_path / "file").exists()


def test_an_encoder_that_drifts_refuses_bit_swap(home, tmp_path, capsys):
    arguments = [
        "compress",
        home / "diffenc",
        "test",
        "-o",
        tmp_path / "file",
        *FLAGS,
        "--config.compress.order=bit_swap",
    ]
    assert "needs an encoder that leaves the image as it is; take ancestral" in refusals.refused(
        main, arguments, capsys
    )


def test_a_place_that_is_taken_is_refused(home, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_bytes(compressed(home))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    arguments = ["decompress", home / "vdm", file, "-o", tmp_path / "full"]
    assert "is not empty; name a new folder, or a file such as images.npy" in refusals.refused(main, arguments, capsys)

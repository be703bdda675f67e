"""The command on held-out digits, copies of training digits and noise, which it distinguishes; and its refusals."""

import hashlib
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from diffenc_jax.__main__ import main
from diffenc_jax.core.document import Table, Text
from diffenc_jax.lab.figures.style import arm_style
from diffenc_jax.lab.report.collect import collect
from diffenc_jax.lab.report.embedded import Picture
from diffenc_jax.lab.report.study_sections import samples_section
from diffenc_jax.lab.studies.sample_quality import fid, measure
from diffenc_jax.lab.studies.sample_quality.table import quality_table
from diffenc_jax.runs.workdir import write_config
from tests import refusals, tiny

TRAIN, TEST = 1100, 350


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A run's folder with samples: 'held-out', which are digits of neither split; 'copies'; 'noise'."""
    patch, folder = pytest.MonkeyPatch(), tmp_path_factory.mktemp("run")
    digits = load_digits()
    given, others = np.split(np.random.RandomState(1).permutation(len(digits.images)), [TRAIN + TEST])
    fewer = SimpleNamespace(images=digits.images[given], target=digits.target[given])
    patch.setattr("sklearn.datasets.load_digits", lambda: fewer)
    patch.setattr("diffenc_jax.data.sources.DIGITS_TRAIN", TRAIN)
    write_config(folder, tiny.config("vdm"))
    as_images = lambda x: x.astype(np.uint8)[..., None]  # noqa: E731
    train = fewer.images[np.random.RandomState(0).permutation(TRAIN + TEST)[:TRAIN]]
    kinds = {
        "held-out": as_images(digits.images[others]),
        "copies": as_images(train[:300]),
        "noise": tiny.images(300, (8, 8, 1)),
    }
    (folder / "samples").mkdir()
    for name, images in kinds.items():
        np.savez(folder / "samples" / f"{name}.npz", images=images)
    yield folder
    patch.undo()


def run(home, name, *arguments):
    assert main(["sample-quality", str(home / "samples" / f"{name}.npz"), *arguments]) == 0
    return json.loads((home / "samples" / f"{name}-quality.json").read_text())


def test_the_page_shows_the_numbers_and_the_film(home):
    held_out = (home / "samples" / "held-out.npz").read_bytes()
    (home / "samples" / "7-depth3-seed0.npz").write_bytes(held_out)
    frames = [Image.new("L", (8, 8), grey) for grey in (0, 255)]
    frames[0].save(home / "samples" / "7-depth3-seed0-path.gif", save_all=True, append_images=frames[1:])
    record = run(home, "7-depth3-seed0")
    blocks = samples_section(collect([home])).blocks
    (table,) = (block for block in blocks if isinstance(block, Table))
    assert table.rows == quality_table(record).rows
    assert table.caption == "Quality of samples of vdm, seed 0, step 7 (depth3, seed0, quality)"
    kinds = [block.source.partition(";")[0] for block in blocks if isinstance(block, Picture)]
    assert sorted(kinds) == ["data:image/gif", "data:image/png"]
    (home / "samples" / "7-depth3-seed0-quality.json").write_text("{}")
    texts = [block.text for block in samples_section(collect([home])).blocks if isinstance(block, Text)]
    assert any("is not a record of `diffenc sample-quality`; run it again" in text for text in texts)


def test_held_out_digits_are_as_good_as_real_ones(home, capsys):
    record = run(home, "held-out")
    neighbours, pixels = record["neighbours"], record["pixels"]["differences"]
    assert record["compared"] == {"samples": 347, "train": 347, "unseen": TEST}
    assert abs(neighbours["copying"]["statistic"]) < 3
    assert neighbours["near"]["samples"] == pytest.approx(0.05, abs=0.04)
    for name in ("means", "deviations", "histograms"):
        assert pixels["samples"][name] == pytest.approx(pixels["train"][name], rel=0.35)
    for space in (record["principal_components"], record["classes"]["logits"]):
        assert space["p_farther"] > 0.02
        for name in ("density", "coverage"):
            assert space["overlap"][name] == pytest.approx(space["overlap_train"][name], abs=0.1)
    assert record["classes"]["p_shares"] > 0.01
    assert abs(record["classes"]["confident"]["statistic"]) < 3
    for name in ("vertical", "horizontal"):
        ours, theirs = (record["pixels"]["correlations"][of][name] for of in ("samples", "unseen"))
        assert abs(ours["value"] - theirs["value"]) < 3 * np.hypot(ours["error"], theirs["error"])
    printed = capsys.readouterr().out
    assert f"{neighbours['copying']['statistic']:.1f} (p " in printed
    assert "347 samples of digits (1,100 training images, 350 test images)" in printed
    assert "FID: off, it needs torch-fidelity" in printed
    picture = home / "samples" / "held-out-quality.png"
    assert printed.endswith(f"record: {picture.with_suffix('.json')}\nfigure: {picture}, .pdf\n")
    assert picture.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    with Image.open(picture) as drawn:
        colours = set(map(tuple, np.asarray(drawn.convert("RGB")).reshape(-1, 3).tolist()))
    assert {tuple(bytes.fromhex(arm_style("vdm")["color"][1:])), (0, 0, 0)} < colours


def test_copies_of_training_digits_are_detected(home, capsys):
    record = run(home, "copies")
    neighbours = record["neighbours"]
    assert neighbours["copying"]["statistic"] < -20
    assert neighbours["copies"] == {"samples": 1, "unseen": 0}
    assert neighbours["near"]["samples"] == 1
    # In every other respect they are as good as training images.
    assert record["principal_components"]["p_farther"] > 0.02
    assert re.search(r"copies +100\.0 % +0\.0 %", capsys.readouterr().out)


def test_noise_is_far_from_everything(home):
    record = run(home, "noise")
    assert record["neighbours"]["copying"]["statistic"] > 20
    assert record["pixels"]["correlations"]["samples"]["vertical"]["value"] == pytest.approx(0, abs=0.03)
    differences = record["pixels"]["differences"]
    assert differences["samples"]["means"] > 5 * differences["train"]["means"]
    for space in (record["principal_components"], record["classes"]["logits"]):
        assert space["p_farther"] == 0.01
        assert space["frechet"] > 20 * space["frechet_train"]
        assert space["overlap"]["coverage"] < 0.1
        assert min(space["overlap_train"].values()) > 0.8
    assert record["principal_components"]["overlap"]["density"] < 0.05
    assert record["classes"]["confident"]["statistic"] < -15
    assert record["classes"]["p_shares"] < 1e-6


def test_points_have_neither_labels_nor_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("diffenc_jax.data.sources.SWIRL_SIZES", {"train": 3000, "test": 400})
    monkeypatch.setattr(measure, "MOST", 300)
    config = tiny.config("vdm", data__source="synthetic", data__pixel_levels=256)
    write_config(tmp_path, config)
    np.savez(tmp_path / "points.npz", images=np.random.RandomState(0).randint(0, 256, (500, 1, 1, 2)).astype(np.uint8))
    assert main(["sample-quality", str(tmp_path / "points.npz"), f"--workdir={tmp_path}"]) == 0
    record = json.loads((tmp_path / "points-quality.json").read_text())
    assert record["compared"] == {"samples": 300, "train": 300, "unseen": 300}
    assert record["principal_components"]["dims"] == 2
    assert list(record["pixels"]["correlations"]["samples"]) == ["channels"]
    assert "classes: off, synthetic has no labels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros(60, int), "a classifier of pixels cannot distinguish 1 classes"),
        (np.full(60, 0.5), "must hold whole numbers; y_train is float64"),
    ],
)
def test_labels_that_tell_nothing_are_left_out(tmp_path, capsys, labels, reason):
    train, test = np.split(tiny.images(60), [40])
    np.savez(tmp_path / "data.npz", train=train, test=test, y_train=labels[:40], y_test=labels[40:])
    write_config(tmp_path, tiny.config("vdm", data__source=str(tmp_path / "data.npz")))
    np.savez(tmp_path / "drawn.npz", images=tiny.images(20, seed=1))
    assert main(["sample-quality", str(tmp_path / "drawn.npz"), f"--workdir={tmp_path}"]) == 0
    assert reason in json.loads((tmp_path / "drawn-quality.json").read_text())["classes"]["off"]
    assert "classes: off, " in capsys.readouterr().out


@pytest.fixture
def torch_fidelity(monkeypatch, tmp_path):
    """A stand-in for the library and its network: 'FID' is the difference of the mean pixels. Keeps its calls."""
    calls = []

    def calculate_metrics(**arguments):
        means = [np.mean([data[i] for i in range(len(data))]) for data in (arguments["input1"], arguments["input2"])]
        calls.append(arguments)
        return {"frechet_inception_distance": abs(means[0] - means[1])}

    data = SimpleNamespace(Dataset=object)
    torch = SimpleNamespace(
        utils=SimpleNamespace(data=data), from_numpy=lambda x: x, cuda=SimpleNamespace(is_available=lambda: False)
    )
    library = SimpleNamespace(KEY_METRIC_FID="frechet_inception_distance", calculate_metrics=calculate_metrics)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch_fidelity", library)
    monkeypatch.setattr(fid, "find_spec", lambda name: name)
    monkeypatch.setattr(measure, "version", lambda name: f"{name}'s")
    weights = tmp_path / fid.FILE
    weights.write_bytes(b"weights")
    return calls, weights


def test_fid_is_that_of_the_library(home, torch_fidelity, monkeypatch, capsys):
    calls, weights = torch_fidelity
    monkeypatch.setattr(fid, "SHA256", hashlib.sha256(b"weights").hexdigest())
    record = run(home, "noise", f"--fid-weights={weights}")
    samples, test = calls
    assert samples["feature_extractor_weights_path"] == str(weights)
    assert samples["fid"] is True
    assert (len(samples["input1"]), len(test["input1"]), len(test["input2"])) == (300, TEST, TRAIN)
    shown, noise = samples["input1"][7], tiny.images(300, (8, 8, 1))[7, ..., 0]
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, np.round(noise * (255 / 16)).astype(np.uint8)[None].repeat(3, axis=0))
    assert record["fid"]["samples"] > 5 * record["fid"]["unseen"] > 0
    assert record["fid"]["counts"] == {"samples": 300, "unseen": TEST, "train": TRAIN}
    assert "FID, 300 samples" in capsys.readouterr().out


def test_colours_are_shown_as_they_are(torch_fidelity):
    calls, weights = torch_fidelity
    images = tiny.images(4, (3, 5, 3))
    fid.fid(images, images, 256, weights)
    np.testing.assert_array_equal(calls[0]["input1"][2], images[2].transpose(2, 0, 1))


def refused(arguments, capsys):
    return refusals.refused(main, ["sample-quality", *arguments], capsys)


def test_weights_of_another_network_are_refused(home, torch_fidelity, capsys):
    _, weights = torch_fidelity
    error = refused([home / "samples" / "noise.npz", f"--fid-weights={weights}"], capsys)
    found = hashlib.sha256(b"weights").hexdigest()[:12]
    assert f"is not the network that defines FID (sha256 {found}); take {fid.FILE}" in error


def test_without_the_library_the_error_says_how_to_get_it(home, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fid, "find_spec", lambda name: None)
    error = refused([home / "samples" / "noise.npz", f"--fid-weights={tmp_path / 'none'}"], capsys)
    assert "FID needs torch-fidelity, which is not installed; run pip install 'diffenc_jax[fid]'" in error


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"samples": tiny.images(20, (8, 8, 1))}, "holds no array 'images'"),
        ({"images": tiny.images(20, (4, 4, 1))}, r"holds images of \[4, 4, 1\], but those of digits are \[8, 8, 1\]"),
        ({"images": tiny.images(20, (8, 8, 1)) + 1}, "holds the value 17, but those of digits are 0 .. 16"),
        ({"images": tiny.images(9, (8, 8, 1))}, "holds 9 samples, too few"),
        ({"images": tiny.images(20, (8, 8, 1)).astype(float)}, "must hold uint8, values 0 .. 255; images is float64"),
        ({"images": np.array([{}], object)}, "must hold uint8"),
    ],
)
def test_other_files_are_refused(home, tmp_path, capsys, arrays, said):
    np.savez(tmp_path / "samples.npz", **arrays)
    assert re.search(said, refused([tmp_path / "samples.npz", f"--workdir={home}"], capsys))
    assert [path.name for path in tmp_path.iterdir()] == ["samples.npz"]


def test_files_that_are_no_archive_and_folders_that_are_no_run_are_refused(home, tmp_path, capsys):
    (tmp_path / "samples.npz").write_text("no archive")
    assert "cannot be read as a .npz archive" in refused([tmp_path / "samples.npz", f"--workdir={home}"], capsys)
    assert "none.npz is not a file; give a .npz" in refused([tmp_path / "none.npz", f"--workdir={home}"], capsys)
    assert "samples.npz is not in samples/ of a workdir; give its run's --workdir" in refused(
        [tmp_path / "samples.npz"], capsys
    )

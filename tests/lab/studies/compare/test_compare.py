"""The command on made-up records: its numbers by hand, its refusals and its notes."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.data.fingerprints import known_as
from diffenc_jax.lab.studies.compare.measure import compare, different_images
from diffenc_jax.lab.studies.compare.table import conclusions
from diffenc_jax.runs.records import read_evaluation, write_record
from tests import refusals
from tests.runs.test_records import replace_in

DIMS, IMAGES = 12, 30
NATS = DIMS * math.log(2)  # of one bit per dimension
ESTIMATOR = {"kind": "continuous", "depth": None, "variance_ratio": 1.0, "passes": 4, "replicates": 2, "seed": 0}
DATASET = {
    "name": "mine",
    "version": "1",
    "split": "test",
    "num_examples": IMAGES,
    "dims": DIMS,
    "sha256": "a" * 64,
    "sha256_any_order": "b" * 64,
    "known_as": None,
}
ERRORS = dict.fromkeys(("noise", "images", "total"))
HARD = np.random.RandomState(0).normal(size=IMAGES)  # how hard the images are, to any model


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a record of `bits` [passes, images], a tenth of which is 'latent'; returns its path, a short one."""
    monkeypatch.chdir(tmp_path)

    def write(name, bits, estimator=(), dataset=(), **changes):
        path = Path(f"{name}.json")
        passes = {"passes": len(bits), "replicates": 2 if len(bits) > 1 else None}
        record = {
            "step": 100,
            "seed": 3,
            "arm": name,
            "config_hash": "0" * 12,
            "dataset": DATASET | {"num_examples": bits.shape[1]} | dict(dataset),
            "estimator": ESTIMATOR | passes | dict(estimator),
            "bpd": {"total": float(bits.mean()), "latent": float(bits.mean() / 10), "diffusion": 0.9 * bits.mean()},
            "standard_error": {**ERRORS, "terms": {"latent": ERRORS, "diffusion": ERRORS}},
            "params": 1234,
            "params_sha256": "0" * 64,
            "seconds": 1.5,
            "software": {"jax": "0.10.2", "numpy": "2.4.6"},
            "parts": {},
            "device": "1 x cpu",
        }
        arrays = {"latent": 0.1 * NATS * bits, "diffusion": 0.9 * NATS * bits, "other": np.zeros(2)}
        write_record(path, record | changes, arrays)
        return path

    return write


def evaluated(mean, seed, passes=4):
    """[passes, IMAGES]: how hard an image is, and noise of standard deviation 0.1 from `seed`."""
    return mean + HARD + 0.1 * np.random.RandomState(seed).normal(size=(passes, IMAGES))


def run(capsys, *arguments):
    """(exit code, standard output, standard error)."""
    code = main(["compare", *(str(argument) for argument in arguments)])
    return code, *capsys.readouterr()


def refused(capsys, *arguments):
    """The line that says why."""
    return refusals.refused(main, ["compare", *arguments], capsys).removeprefix("error: ").rstrip()


def compared(*paths):
    """The rows of a comparison of the records at `paths`."""
    return compare([read_evaluation(path) for path in paths])


def body(out):
    """The cells of each row of the printed table, whose columns are two spaces apart in all lines."""
    lines = out.splitlines()
    (rule,) = (number for number, line in enumerate(lines) if line.startswith("─"))
    end = next(number for number, line in enumerate(lines) if line.startswith("images: "))
    table = [lines[rule - 1], *lines[rule + 1 : end]]
    columns = zip(*(line.ljust(200) for line in table), strict=True)
    used = "".join("x" if any(character != " " for character in column) else " " for column in columns)
    spans = [match.span() for match in re.finditer(r"x+( x+)*", used)]
    return [[line[slice(*span)].strip() for span in spans] for line in table[1:]]


def test_the_table_by_hand(write, capsys):
    """Two images, four passes; replicates are passes 0, 2 and 1, 3."""
    a = np.array([[1.0, 2.0], [1.0, 2.0], [1.2, 2.4], [1.4, 2.4]])
    b = a + np.array([[0.1, 0.9], [0.1, 0.9], [0.1, 0.9], [0.3, 0.9]])
    code, out, _ = run(capsys, write("a", a), write("b", b))
    assert code == 0
    best, other = body(out)
    # Replicates of a: 1.1 and 1.2, 2.2 and 2.2. Images' means: 1.15 and 2.2.
    noise, total = math.sqrt(0.005 / 2 / 4), math.sqrt(1.05**2 / 2 / 2)
    assert best[:4] == ["a", "3", "100", "continuous, 4 passes"]
    assert best[4:7] == [f"1.6750 ± {noise:.4f} ± {math.sqrt(total**2 - noise**2):.4f}", "reference", ""]
    # Replicates of b − a: 0.1 and 0.2, 0.9 and 0.9. Images' means: 0.15 and 0.9.
    noise, total = math.sqrt(0.005 / 2 / 4), math.sqrt(0.75**2 / 2 / 2)
    assert other[5] == f"0.5250 ± {noise:.4f} ± {math.sqrt(total**2 - noise**2):.4f}"
    assert other[6] == f"{0.525 - 12.7062 * total:.4f} .. {0.525 + 12.7062 * total:.4f}"
    assert other[7] == "b.json"
    assert "images: mine 1, test (2 images, sha256 aaaaaaaaaaaa)" in out
    assert "noise: common to all (seed 0, 4 passes, 2 replicates)" in out
    assert "differ:" not in out
    assert "differs:" not in out


def test_a_single_record_has_no_columns_of_differences(write, capsys):
    _, out, _ = run(capsys, write("a", evaluated(2, 1)))
    (row,) = body(out)
    assert [*row[:4], *row[5:]] == ["a", "3", "100", "continuous, 4 passes", "a.json"]
    assert "difference" not in out


def test_rows_are_sorted_and_no_number_comes_last(write):
    paths = [write(name, evaluated(mean, 1)) for name, mean in (("c", 3), ("nan", math.nan), ("a", 1), ("b", 2))]
    rows = compared(*paths)
    assert [row.evaluation.record["arm"] for row in rows] == ["a", "b", "c", "nan"]
    assert [row.excess and row.excess.value for row in rows[:3]] == [pytest.approx(-2), pytest.approx(-1), None]
    assert math.isnan(rows[3].excess.value)


def test_the_reference_is_the_first_record_or_the_one_that_is_named(write, capsys):
    paths = [write(name, evaluated(mean, 1)) for name, mean in (("b", 2), ("a", 1), ("c", 3))]
    excess = {"b": ["-1.0000", "reference", "1.0000"], "c": ["-2.0000", "-1.0000", "reference"]}
    for arguments, name in (([], "b"), (["--reference=c.json"], "c"), (["--reference", Path("c.json").resolve()], "c")):
        _, out, _ = run(capsys, *paths, *arguments)
        assert [row[5].split(" ")[0] for row in body(out)] == excess[name]
        assert "intervals: simultaneous, all 2 hold together with probability 95 % (Bonferroni)" in out
    assert refused(capsys, *paths, "--reference=d.json") == (
        "--reference=d.json is not among the records; give one of them"
    )


@pytest.mark.parametrize("count", [3, IMAGES])
def test_of_equal_models_some_interval_excludes_0_in_at_most_5_percent_of_the_experiments(write, count):
    """Ten models that differ by noise, and in how hard they find each image; the first is the reference."""
    rng, missed, alone, experiments = np.random.default_rng(0), 0, 0, 400
    first = read_evaluation(write("a", evaluated(2, 1)))
    for _ in range(experiments):
        images = 0.5 * rng.normal(size=count) + 0.1 * rng.normal(size=(10, 1, count))
        bits = images + 0.1 * rng.normal(size=(10, 4, count))
        rows = compare([first._replace(bits=values) for values in bits])
        others = [row for row in rows if row.excess is not None]
        missed += any(not low < 0 < high for low, high in (row.excess.interval for row in others))
        alone += any(abs(row.excess.value) > 1.96 * row.excess.error.total for row in others)
    assert missed / experiments < 0.09
    assert alone / experiments > 0.2


def test_pairing_takes_out_how_hard_the_images_are(write):
    best, other = compared(write("a", evaluated(2.0, 1)), write("b", evaluated(2.1, 2), {"seed": 1}))
    unpaired = math.hypot(best.error.total, other.error.total)
    assert other.excess.error.total < 0.2 * unpaired
    low, high = other.excess.interval
    assert low < 0.1 < high < 0.2


def test_common_noise_cancels_and_other_noise_adds(write):
    """The same values under each other's shift of 0.1; what is told apart is what the records say."""
    a, b = evaluated(2.0, 1), evaluated(2.1, 1)
    common = compared(write("a", a), write("b", b))[1]
    assert common.excess.common_noise
    assert common.excess.error == pytest.approx((0, 0, 0), abs=1e-9)
    for change in ({"seed": 1}, {"replicates": 4}):
        best, other = compared(write("a", a), write("b", b, change))
        assert not other.excess.common_noise
        assert other.excess.error.noise == pytest.approx(math.hypot(best.error.noise, other.error.noise))
    best, other = compared(write("a", a), write("b", np.concatenate([b, b])))
    assert not other.excess.common_noise
    assert other.excess.value == pytest.approx(0.1)


def test_which_noise_is_not_common_is_said(write, capsys):
    paths = [write("a", evaluated(1, 1)), write("b", evaluated(2, 1)), write("c", evaluated(3, 1), {"seed": 1})]
    _, out, _ = run(capsys, *paths)
    assert f"noise: different from the reference's in {paths[2]}\n" in out


def test_what_one_pass_or_image_cannot_tell_is_a_dash(write, capsys):
    _, out, _ = run(capsys, write("a", evaluated(2, 1, passes=1)), write("b", evaluated(3, 1, passes=1)))
    assert [row[4] for row in body(out)] == [f"{evaluated(m, 1, 1).mean():.4f}" for m in (2, 3)]
    assert body(out)[1][5] == "1.0000"
    assert body(out)[1][6] == "1.0000 .. 1.0000"
    _, out, _ = run(capsys, write("a", np.array([[1.0], [1.2]])), write("b", np.array([[2.0], [2.4]])))
    assert body(out)[1][5:7] == ["1.1000 ± 0.1000", "–"]


def imagenet(version, count, digest):
    known = known_as(digest, count, (32, 32, 3), "test")
    assert f"ImageNet32, {version}" in known["as"]
    return {"num_examples": count, "sha256": digest, "sha256_any_order": digest, "known_as": known}


def test_old_and_new_imagenet_are_refused_by_name():
    old, new = DATASET | imagenet("old", 49_999, "c" * 64), DATASET | imagenet("new", 50_000, "d" * 64)
    reason = different_images(old, new)
    assert "different images, ImageNet32, old (" in reason
    assert "), validation (49,999 images, sha256 cccccccccccc, identified by their number)" in reason
    assert " and ImageNet32, new" in reason


OTHERS = {"sha256": "c" * 64, "sha256_any_order": "c" * 64}


@pytest.mark.parametrize(
    ("count", "changes", "reason"),
    [
        (IMAGES, {"sha256": "c" * 64}, "the same images in different orders"),
        (IMAGES, OTHERS, "different images, mine 1, test (30 images, sha256 aaa"),
        (IMAGES, OTHERS | {"split": "train"}, "and mine 1, train (30 images, sha256 c"),
        (IMAGES, {"split": "train"}, "they name their split 'test' and 'train'"),
        (20, OTHERS, "mine 1, test (30 images, sha256 aaaaaaaaaaaa) and mine 1, test (20 images"),
    ],
)
def test_other_images_are_refused(write, capsys, count, changes, reason):
    other = write("b", evaluated(1, 1)[:, :count], dataset=changes)
    paths = [write("a", evaluated(2, 1)), write("fine", evaluated(2, 1)), other]
    line = refused(capsys, *paths, "--across-estimators")
    assert line.startswith(f"{paths[0]} and {paths[2]} cannot be compared: ")
    assert reason in line


DISCRETE = {"kind": "discrete", "depth": 50, "times": "uniform"}


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ({}, DISCRETE, "kind=continuous and discrete;"),
        (DISCRETE, DISCRETE | {"depth": 100}, "depth=50 and 100;"),
        (DISCRETE, DISCRETE | {"variance_ratio": "optimal"}, "variance_ratio=1.0 and optimal;"),
        (DISCRETE, DISCRETE | {"times": "optimal"}, "times=uniform and optimal;"),
        ({"kind": "ode", "rtol": 1e-4}, {"kind": "ode", "rtol": 1e-5}, "rtol=0.0001 and 1e-05;"),
    ],
)
def test_unlike_estimators_are_refused_unless_asked_for(write, capsys, a, b, reason):
    paths = write("a", evaluated(1, 1), a), write("b", evaluated(2, 1), b)
    line = refused(capsys, *paths)
    assert line.startswith(f"{paths[0]} and {paths[1]} have different estimators: {reason}")
    code, out, _ = run(capsys, *paths, "--across-estimators")
    assert code == 0
    assert "estimators differ: their values are bounds of different tightness, or bounds of different models" in out
    assert body(out)[0][3] != body(out)[1][3]


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ({}, {"augmentation": "flip"}, ("none", "flip")),
        ({"augmentation": "flip"}, {"augmentation": "flip,rotate"}, ("flip", "flip,rotate")),
        ({"augmentation": "flip, conditioned"}, {"augmentation": "flip"}, ("flip, conditioned", "flip")),
    ],
)
def test_other_augmentation_is_refused_unless_asked_for(write, capsys, a, b, names):
    paths = write("a", evaluated(1, 1), **a), write("b", evaluated(2, 1), **b)
    line = refused(capsys, *paths, "--across-estimators")
    reason = f"differ in the augmentation of their training images, {names[0]} and {names[1]}; "
    assert line.startswith(f"{paths[0]} and {paths[1]} {reason}")
    assert "--across-augmentation" in line
    code, out, _ = run(capsys, *paths, "--across-augmentation")
    assert code == 0
    shown = "; ".join(sorted(f"{name} ({path})" for name, path in zip(names, paths, strict=True)))
    assert f"augmentation of the training images differs: {shown}" in out


def test_a_common_augmentation_is_named(write, capsys):
    paths = (write(name, evaluated(1, 1), augmentation="flip") for name in "ab")
    code, out, _ = run(capsys, *paths)
    assert code == 0
    assert "augmentation of the training images: flip" in out.splitlines()


@pytest.mark.parametrize("change", [{"time_sampling": "uniform"}, {"seed": 5}, {"fit": {"sha256": "e" * 64}}])
def test_what_only_changes_the_variance_is_no_other_estimator(write, capsys, change):
    code, out, _ = run(capsys, write("a", evaluated(1, 1)), write("b", evaluated(2, 1, passes=8), change))
    assert code == 0
    assert "estimators differ" not in out


def test_unlike_lengths_of_training_are_told(write, capsys):
    paths = write("a", evaluated(2, 1)), write("b", evaluated(3, 2), step=1500)
    _, out, _ = run(capsys, *paths)
    assert "steps differ: a difference may come from the length of training" in out
    (sentence,) = conclusions(compared(*paths))
    assert sentence.startswith("b.json at step 1,500 lies ")
    assert " above a.json at step 100 (" in sentence
    paths = paths[1], write("c", evaluated(2, 3), step=1500)
    assert "steps differ" not in run(capsys, *paths)[1]
    assert "step" not in conclusions(compared(*paths))[0]


def test_other_software_and_devices_are_told(write, capsys):
    a = write("a", evaluated(1, 1))
    b = write("b", evaluated(2, 1), software={"jax": "0.11.0", "numpy": "2.4.6"}, device="8 x TPU v5e")
    code, out, _ = run(capsys, b, a)
    assert code == 0
    assert f"jax differs: 0.10.2 ({a}), 0.11.0 ({b})" in out
    assert f"device differs: 1 x cpu ({a}), 8 x TPU v5e ({b})" in out
    assert "numpy differs" not in out


def test_json_holds_the_table_unrounded(write, capsys, tmp_path):
    paths = [write("b", evaluated(2.1, 2)), write("a", evaluated(2.0, 1))]
    assert run(capsys, *paths, f"--json={tmp_path / 'out.json'}")[0] == 0
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["dataset"] == DATASET
    for entry, row in zip(written["rows"], compared(*paths), strict=True):
        assert entry["file"] == str(row.evaluation.path)
        assert entry["bpd"] == row.bpd
        assert entry["error"] == row.error._asdict()
    other = compared(*paths)[0]
    assert written["rows"][1]["excess"] is None
    assert written["rows"][0]["excess"]["value"] == other.excess.value
    assert written["rows"][0]["excess"]["interval"] == list(other.excess.interval)
    assert written["rows"][0]["excess"]["error"] == other.excess.error._asdict()
    before = paths[0].read_text()
    assert "would replace a record" in refused(capsys, *paths, f"--json={paths[0]}")
    assert paths[0].read_text() == before
    assert "cannot be written" in refused(capsys, *paths, f"--json={tmp_path / 'b.json' / 'out.json'}")


def test_a_run_stands_for_its_last_record_with_most_passes(write, capsys, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "eval").mkdir(parents=True)
    write("a/eval/test-50-x", evaluated(2, 1, passes=8), step=50)
    write("a/eval/test-100-x", evaluated(2, 2, passes=2))
    write("a/eval/test-100-y", evaluated(2, 3))
    write("b/eval/test-100-z", evaluated(3, 3))
    _, out, _ = run(capsys, "--reference=b", "a", "b")
    assert [row[-1] for row in body(out)] == ["a/eval/test-100-y.json", "b/eval/test-100-z.json"]
    assert body(out)[1][5] == "reference"
    write("b/eval/test-100-w", evaluated(3, 4))
    assert refused(capsys, "a", "b") == (
        "b has several records of step 100 in 4 passes; give one of b/eval/test-100-w.json, b/eval/test-100-z.json"
    )


def test_records_that_are_none_are_named(write, capsys, tmp_path):
    assert "No such file" in refused(capsys, tmp_path / "none.json")
    assert f"{tmp_path} has no records; evaluate the run with diffenc eval" in refused(capsys, tmp_path)
    path = write("a", evaluated(2, 1))
    assert "is given twice" in refused(capsys, path, tmp_path / "a.json")
    replace_in(path, "estimator.replicates", 3)
    assert f"{path} says 3 replicates of 4 passes" in refused(capsys, path)

"""The command on made-up records: its numbers by hand, its refusals and its notes; and bits/dim by cost."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from diffenc_jax.__main__ import main
from diffenc_jax.config import load_config
from diffenc_jax.lab.comparisons import quality
from diffenc_jax.lab.comparisons.compare import compare, comparison_table
from diffenc_jax.runs.records import read_evaluation
from diffenc_jax.runs.stored import StoredRun
from tests import refusals, tiny

IMAGES = 30
HARD = np.random.RandomState(0).normal(size=IMAGES)  # how hard the images are, to any model


def evaluated(mean, seed, passes=4):
    """[passes, IMAGES]: how hard an image is, and noise of standard deviation 0.1 from `seed`."""
    return mean + HARD + 0.1 * np.random.RandomState(seed).normal(size=(passes, IMAGES))


def printed(capsys, *arguments):
    """Output of the command."""
    assert main(["compare", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments):
    """The line that says why."""
    return refusals.refused(main, ["compare", *arguments], capsys).removeprefix("error: ").rstrip()


def compared(*paths):
    """The rows of a comparison of the records at `paths`."""
    return compare([read_evaluation(path) for path in paths])


def table(*paths):
    """The cells of the table about the records at `paths`."""
    return [[str(cell) for cell in row] for row in comparison_table(compared(*paths), with_files=True).rows]


def test_the_table_has_differences_errors_and_intervals(write, capsys):
    """Two images, four passes; replicates are passes 0, 2 and 1, 3."""
    a = np.array([[1.0, 2.0], [1.0, 2.0], [1.2, 2.4], [1.4, 2.4]])
    b = a + np.array([[0.1, 0.9], [0.1, 0.9], [0.1, 0.9], [0.3, 0.9]])
    paths = write("a", a), write("b", b)
    best, other = table(*paths)
    # Replicates of a: 1.1 and 1.2, 2.2 and 2.2. Images' means: 1.15 and 2.2.
    noise, total = math.sqrt(0.005 / 2 / 4), math.sqrt(1.05**2 / 2 / 2)
    assert best[:4] == ["a", "3", "100", "bound, infinite depth, 4 passes"]
    assert best[4:7] == [f"1.6750 ± {noise:.4f} ± {math.sqrt(total**2 - noise**2):.4f}", "reference", ""]
    # Replicates of b − a: 0.1 and 0.2, 0.9 and 0.9. Images' means: 0.15 and 0.9.
    noise, total = math.sqrt(0.005 / 2 / 4), math.sqrt(0.75**2 / 2 / 2)
    assert other[5] == f"0.5250 ± {noise:.4f} ± {math.sqrt(total**2 - noise**2):.4f}"
    assert other[6] == f"{0.525 - 12.7062 * total:.4f} .. {0.525 + 12.7062 * total:.4f}"
    assert other[7] == "b.json"
    out = printed(capsys, *paths)
    assert all(cell in out for cell in (*best, *other))
    assert "images: digits 1, test (2 images, sha256 000000000000); parameters: averaged (EMA)" in out
    assert "noise: common to all (seed 0, 4 passes)" in out
    assert "differ:" not in out


def test_rows_are_sorted_and_the_reference_is_the_first(write):
    paths = [write(name, evaluated(mean, 1)) for name, mean in (("c", 3), ("nan", math.nan), ("a", 1), ("b", 2))]
    rows = compared(*paths)
    assert [row.evaluation.record["arm"] for row in rows] == ["a", "b", "c", "nan"]
    assert [row.excess and row.excess.value for row in rows[:3]] == [pytest.approx(-2), pytest.approx(-1), None]
    assert rows[3].excess.value is None


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_infinite_evaluations_differ_from_finite_ones_only(write):
    finite = evaluated(1, 1)
    infinite = np.where(np.arange(IMAGES) == 3, np.inf, finite)
    rows = table(write("a", infinite), write("b", infinite), write("c", finite), write("d", math.nan * finite))
    assert rows[0][5:7] == ["-inf", "–"]
    assert [row[4:7] for row in rows[1:]] == [["inf", "reference", ""], ["inf", "–", "–"], ["nan", "–", "–"]]


def test_several_intervals_hold_together(write):
    """Bonferroni: two intervals of 97.5 %, with one degree of freedom less than there are images."""
    rows = compared(*(write(name, evaluated(2, seed)) for seed, name in enumerate("abc")))
    excesses = [row.excess for row in rows if row.excess]
    ends = [scipy.stats.t(IMAGES - 1, one.value, one.error.total).interval(0.975) for one in excesses]
    assert [one.interval for one in excesses] == [pytest.approx(pair) for pair in ends]
    assert len(ends) == 2


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


def test_what_one_pass_or_image_cannot_tell_is_a_dash(write):
    rows = table(write("a", evaluated(2, 1, passes=1)), write("b", evaluated(3, 1, passes=1)))
    assert [row[4] for row in rows] == [f"{evaluated(m, 1, 1).mean():.4f}" for m in (2, 3)]
    assert rows[1][5:7] == ["1.0000", "1.0000 .. 1.0000"]
    rows = table(write("a", np.array([[1.0], [1.2]])), write("b", np.array([[2.0], [2.4]])))
    assert rows[1][5:7] == ["1.1000 ± 0.1000", "–"]


ERRORS = ("noise", "images", "total")
OTHERS = {"sha256": "c" * 64, "sha256_any_order": "c" * 64}
FINITE = {"depth": 50, "times": "uniform"}


INCOMPARABLE = [
    ({"dataset": {"sha256": "c" * 64}}, "cannot be compared: they hold the same images in different orders"),
    ({"dataset": OTHERS}, "different images, digits 1, test (30 images, sha256 000000000000) and digits 1, test"),
    ({"estimator": FINITE}, "have different estimators: depth=None and 50, times=None and uniform;"),
    ({"estimator": {"rtol": 1e-4}}, "have different estimators: rtol=None and 0.0001;"),
]


@pytest.mark.parametrize(("changes", "reason"), INCOMPARABLE)
def test_what_cannot_be_compared_is_refused(write, capsys, changes, reason):
    paths = [write("a", evaluated(2, 1)), write("fine", evaluated(2, 1)), write("b", evaluated(1, 1), **changes)]
    line = refused(capsys, *paths)
    assert line.startswith(f"{paths[0]} and {paths[2]} ")
    assert reason in line
    if "estimator" in changes:
        assert "estimators differ: their values are" in printed(capsys, *paths, "--across-estimators")


def test_what_differs_besides_is_told(write, capsys):
    """Keys that change only the variance make no other estimator."""
    other = {"seed": 1, "time_sampling": "uniform", "fit": {"sha256": "e" * 64}}
    paths = write("a", evaluated(2, 1)), write("b", evaluated(3, 2), other, step=1500, augmentation="flip")
    out = printed(capsys, *paths)
    assert "estimators differ" not in out
    assert "noise: different from the reference's in b.json\n" in out
    assert "steps differ: a difference may come from the length of training\n" in out
    assert "the augmentation of the training images differs: flip; none\n" in out


def test_a_long_average_and_a_model_worse_than_uniform_are_cautions(write, capsys):
    """Where the record lies in the folder of its run, at the step of the record. The digits have 17 levels."""
    config = load_config("digits:vdm", {"train.ema_decay": 0.99})
    StoredRun(Path("vdm")).write(config)
    for step in (200, 2000):
        write(f"vdm/eval/test-{step}-x", evaluated(2, 1), step=step, config_hash=config.hash)
    other = write("other", evaluated(2, 1), config_hash=config.hash)
    assert "Caution" not in printed(capsys, "vdm", other)
    out = printed(capsys, "vdm/eval/test-200-x.json", other)
    assert "training: vdm/eval/test-200-x.json (100 steps, trained for 200); lower train.ema_decay" in out
    assert "uniform" not in out
    write("vdm/eval/test-3000-x", evaluated(6, 1), step=3000, config_hash=config.hash)
    assert "over the values of a pixel: vdm/eval/test-3000-x.json (" in printed(capsys, "vdm", other)


def test_json_holds_the_table_unrounded(write, capsys, tmp_path):
    paths = [write("b", evaluated(2.1, 2)), write("a", evaluated(2.0, 1))]
    printed(capsys, *paths, f"--json={tmp_path / 'out.json'}")
    written = json.loads((tmp_path / "out.json").read_text())
    for entry, row in zip(written["rows"], compared(*paths), strict=True):
        assert (entry["file"], entry["bpd"]) == (str(row.evaluation.path), row.bpd)
        assert entry["error"] == row.error._asdict()
        assert (entry["excess"] or {}).get("value") == (row.excess and row.excess.value)
    before = paths[0].read_text()
    assert "would replace a record" in refused(capsys, *paths, f"--json={paths[0]}")
    assert paths[0].read_text() == before


def test_a_run_stands_for_its_last_record_with_most_passes(write, capsys):
    write("a/eval/test-50-x", evaluated(2, 1, passes=8), step=50)
    write("a/eval/test-100-x", evaluated(2, 2, passes=2))
    write("a/eval/test-100-y", evaluated(2, 3))
    write("b/eval/test-100-z", evaluated(3, 3))
    printed(capsys, "b", "a", "--json=out.json")
    found = {entry["file"]: entry["excess"] is None for entry in json.loads(Path("out.json").read_text())["rows"]}
    assert found == {"a/eval/test-100-y.json": False, "b/eval/test-100-z.json": True}
    write("b/eval/test-100-w", evaluated(3, 4))
    assert "give one of b/eval/test-100-w.json, b/eval/test-100-z.json" in refused(capsys, "a", "b")


def test_records_that_are_none_are_named(write, capsys, tmp_path):
    path = write("a", evaluated(2, 1))
    for arguments, message in (
        (["none.json"], "No such file"),
        ([tmp_path], f"{tmp_path} has no records; evaluate the run with diffenc eval"),
        ([path, tmp_path / "a.json"], "is given twice"),
    ):
        assert message in refused(capsys, *arguments)


def test_regrets_have_a_column_and_must_be_of_one_truth(write, capsys):
    regret = {"bpd": 0.25, "noise": 0.01, "images": None, "total": 0.02}
    known = {"dataset": {"true_bpd": 1.75}, "regret": regret}
    paths = [
        write("a", evaluated(2, 1), **known),
        write("b", evaluated(1, 1), **known | {"regret": regret | {"bpd": -1}}),
    ]
    assert [row[5] for row in table(*paths)] == ["-1.0000 ± 0.0100", "0.2500 ± 0.0100"]
    out = printed(capsys, *paths)
    assert "above the truth, which has 1.7500 on these images" in out
    assert "below the truth by more than their error, which no model can reach in the mean: b.json (by 1.0000)" in out
    other = write("c", evaluated(2, 1), dataset={"true_bpd": 1.5})
    assert "the same images with different true probabilities" in refused(capsys, paths[0], other)


def test_real_numbers_are_no_images(write, capsys):
    known = {"dataset": {"values": "real", "true_bpd": 1.75}, "regret": dict.fromkeys(("bpd", *ERRORS), 0.1)}
    out = printed(capsys, *(write(name, evaluated(2, 1), **known) for name in "ab"))
    assert "difference ± noise ± examples" in out
    assert "(30 examples, sha256" in out
    assert "image" not in out


def test_arms_are_trained_in_turn_and_compared_with_the_first(tmp_path, monkeypatch, capsys):
    """An arm beside itself in half of the steps, on training images that are held out; a second call only reads."""
    images, config = tiny.images(40), tmp_path / "tiny.py"
    np.savez(tmp_path / "images.npz", train=images[:32], test=images[32:])
    config.write_text(tiny.file(data__source=str(tmp_path / "images.npz"), train__steps=4, train__batch_size=8))
    arms = ["vdm", "vdm train.steps=2"]
    command = ["time-to-quality", f"--config={config}", f"--out={tmp_path}", "--held-out=8", "--seeds=0"]
    command += [f"--arm={arm}" for arm in arms]
    assert main(command) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "seed0.json").read_text())
    assert [found[arm]["steps"] for arm in arms] == [4, 2]
    assert found[arms[0]]["FLOPs"] == 2 * found[arms[1]]["FLOPs"]
    held_out = np.load(tmp_path / "held-out-8.npz")
    np.testing.assert_array_equal(held_out["test"], images[24:32])
    np.testing.assert_array_equal(held_out["train"], images[:24])
    row = next(line for line in printed.splitlines() if "`vdm train.steps=2`" in line)
    bits, mean, steps, _, _, flops = (cell.strip() for cell in row.strip("| ").split("|")[1:])
    assert bits == mean == f"{found[arms[1]]['bpd']:.4f}"
    assert (steps, flops) == ("2", "0.500")
    monkeypatch.setattr(quality, "trained", lambda configs: pytest.fail("it trains again"))
    assert main(command) == 0
    assert capsys.readouterr().out == printed
    assert main([*command, "--arm=diffenc"]) == 2
    assert "seed0.json is of other arms; choose another --out" in capsys.readouterr().err

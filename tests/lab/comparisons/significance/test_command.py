"""The command: arguments, the plan, and studies of made-up runs."""

import json
import shlex
import subprocess
import sys

import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.lab.comparisons.significance import grid
from tests.lab.comparisons.significance import made_up
from tests.refusals import refused

GIVEN = ["--config=configs/digits.py", "--arms=vdm,diffenc", "--seeds=0-1"]


REFUSED = [
    ([], "--seeds is missing; give --config, --arms, --seeds and --root, or report and --root"),
    (["--seeds=3-1"], "'3-1' must be seeds such as 0-4, or 0,2,7"),
    (["--seeds=0-2,2"], "'0-2,2' names a seed twice"),
    (["--arms=vdm,,x"], "'vdm,,x' must name each one once, separated by commas"),
    (["--arms=vdm diffenc"], "'vdm diffenc' must name each one once"),
    (["report"], "report does not read --config, --arms"),
    (["--seeds=0", "--final=loss.depth"], "loss.depth"),
    (["--seeds=0", "--arms=vdm,a\x1b[2J"], r"'a\x1b[2J' has control characters"),
    (["--seeds=0", "--config.data.dir=a\nb"], r"'data.dir=a\nb' has control characters"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, capsys, tmp_path):
    root = tmp_path / "root"
    assert message in refused(main, ["significance", f"--root={root}", *GIVEN[:2], *arguments], capsys)
    assert not root.exists()


@pytest.mark.slow
def test_a_plan_is_lines_that_a_shell_runs(made_up_runs, tmp_path, capsys):
    root = tmp_path / "a root"
    assert main(["significance", f"--root={root}", *GIVEN[:2], "--seeds=0", "--passes=4", "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["significance", "report", f"--root={root}"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "vdm, seed 0: not begun"
    for line in reversed(lines):  # any order will do
        bound = line.replace("python ", shlex.quote(sys.executable) + " ")
        subprocess.run(bound, shell=True, check=True, capture_output=True)
    assert main(["significance", "report", f"--root={root}"]) == 0
    content = json.loads((root / "significance.json").read_text())
    assert content["missing"] == []
    assert set(content["costs"]) == {"vdm", "diffenc"}


@pytest.mark.slow
def test_what_is_there_is_not_made_again(made_up_runs, tmp_path, capsys):
    """More seeds later, and the same runs in another evaluation, are more of the same study."""
    arguments = [f"--root={tmp_path}", GIVEN[0], "--arms=vdm-T10,diffenc-T10", "--passes=4", "--parallel=2"]
    two, fitted = [*arguments, "--seeds=0-1"], [*arguments, "--seeds=0-1", "--final=loss.variance_ratio=optimal_pixel"]
    for arm, seed in (("vdm-T10", 0), ("vdm-T10", 1), ("diffenc-T10", 0)):
        for final in ((), ("loss.variance_ratio=optimal_pixel",)):
            made_up.write(tmp_path, arm, seed, final=final)
    for given, made, ratio in (
        (two, "1 of 4", None),
        (fitted, "1 of 4", "optimal_pixel"),
        (two, "0 of 4", None),
        ([*arguments, "--seeds=7"], "2 of 2", None),
    ):
        assert main(["significance", *given]) == 0
        assert f"{made} runs to be made" in capsys.readouterr().out
        assert ("variance ratio optimal_pixel" in (tmp_path / "significance.md").read_text()) == (ratio is not None)
        noted = json.loads((tmp_path / "grid.json").read_text())
        assert noted["final"] == ([f"loss.variance_ratio={ratio}"] if ratio else [])
    arms = json.loads((tmp_path / "significance.json").read_text())["arms"]
    assert {arm: values["n"] for arm, values in arms.items()} == {"vdm-T10": 3, "diffenc-T10": 3}


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_rest_reported(made_up_runs, tmp_path, capsys, monkeypatch):
    made_up.write_all(tmp_path, ("vdm",), (0, 1))
    (tmp_path / "diffenc-seed1").write_text("in the way")
    monkeypatch.setattr(grid.Grid, "check_runs", lambda self, root: None)
    assert main(["significance", f"--root={tmp_path}", *GIVEN, "--passes=4"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: diffenc, seed 1: exit code 1: ")
    assert error.count("\n") == 1
    assert "- diffenc, seed 1: not begun" in (tmp_path / "significance.md").read_text()

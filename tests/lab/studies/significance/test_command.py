"""The command: arguments, the plan, and studies of made-up and of real runs, stopped and resumed."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.lab.commands import significance
from diffenc_jax.lab.studies.significance import grid
from tests.lab.studies.significance import made_up
from tests.refusals import refused

ROOT = Path(__file__).parents[4]
GIVEN = ["--config=configs/digits.py", "--arms=vdm,diffenc", "--seeds=0-1"]


@pytest.fixture
def made_up_runs(monkeypatch):
    """Processes that make runs up take the place of those that train."""
    monkeypatch.chdir(ROOT)
    for name in ("MAIN", "COSTS"):
        monkeypatch.setattr(grid, name, ("-m", "tests.lab.studies.significance.made_up"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --root"),
        (["--root=r"], "--config is missing; give --config, --arms, --seeds and --root, or report and --root"),
        (["--root=r", *GIVEN[:2]], "--seeds is missing"),
        (["--root=r", *GIVEN[:2], "--seeds=3-1"], "'3-1' must be seeds such as 0-4, or 0,2,7"),
        (["--root=r", *GIVEN[:2], "--seeds=0-2,2"], "'0-2,2' names a seed twice"),
        (["--root=r", *GIVEN, "--arms=vdm,,x"], "'vdm,,x' must name each arm once, separated by commas"),
        (["--root=r", GIVEN[0], "--arms=vdm", "diffenc", "--seeds=0"], "'diffenc' is not report; commas separate arms"),
        (["--root=r", *GIVEN, "--arms=vdm diffenc"], "'vdm diffenc': arms are separated by commas, not by spaces"),
        (["report", "--root=r", "--train-only"], "report does not read --train-only"),
        (["--root=r", *GIVEN, "--final=loss.depth"], "'loss.depth' is not KEY=VALUE, such as loss.variance_ratio="),
        (["--root=a\nb", *GIVEN], r"argument --root: 'a\nb' has control characters; leave them out"),
        (["--root=r", *GIVEN[::2], "--arms=vdm,a\x1b[2J"], r"'a\x1b[2J' has control characters"),
        (["--root=r", *GIVEN, "--config.data.dir=a\nb"], r"'data.dir=a\nb' has control characters"),
        (["report", "--root=r", "--reference=\x1b"], r"'\x1b' has control characters"),
        (["report", "--root=r", "--arms=vdm"], "report does not read --arms: it takes the runs as they are"),
        (["report", "--root=r", "--config.seed=1"], "report does not read --config.key=value"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    assert message in refused(main, ["significance", *arguments], capsys)


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys):
    root = tmp_path / "root"
    error = refused(main, ["significance", f"--root={root}", *GIVEN, "--config.train.stepz=1"], capsys)
    assert error.startswith("error: unknown configuration key 'train.stepz'")
    assert not root.exists()
    assert "holds no runs" in refused(main, ["significance", "report", f"--root={root}"], capsys)


@pytest.mark.slow
def test_a_plan_is_lines_that_a_shell_runs(made_up_runs, tmp_path, capsys):
    root = tmp_path / "a root"
    assert main(["significance", f"--root={root}", *GIVEN, "--passes=4", "--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 + 2
    for line in reversed(lines):  # any order will do
        bound = line.replace("python ", shlex.quote(sys.executable) + " ")
        subprocess.run(bound, shell=True, check=True, capture_output=True)
    assert main(["significance", "report", f"--root={root}"]) == 0
    content = json.loads((root / "significance.json").read_text())
    assert content["missing"] == []
    assert set(content["costs"]) == {"vdm", "diffenc"}


def test_train_only_measures_no_costs_until_it_is_left_out(made_up_runs, tmp_path, capsys):
    arguments = [f"--root={tmp_path}", *GIVEN, "--passes=4", "--train-only"]
    made_up.write_all(tmp_path, ("vdm", "diffenc"), (0, 1))
    assert main(["significance", *arguments]) == 0
    assert not (tmp_path / "costs").exists()
    assert "--train-only" in (tmp_path / "significance.md").read_text().splitlines()[-1]
    assert main(["significance", *arguments[:-1], "--plan"]) == 0
    assert capsys.readouterr().out.count(f"--json={tmp_path}/costs/") == 2


def test_a_plan_says_what_is_to_come(made_up_runs, tmp_path, capsys):
    main(["significance", f"--root={tmp_path}", *GIVEN, "--plan"])
    capsys.readouterr()
    assert main(["significance", "report", f"--root={tmp_path}"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "vdm, seed 0: not begun"


@pytest.mark.slow
def test_what_is_there_is_not_made_again(made_up_runs, tmp_path, capsys):
    """More seeds later, and the same runs in another evaluation, are more of the same study."""
    arguments = [f"--root={tmp_path}", GIVEN[0], "--arms=vdm-T10,diffenc-T10", "--passes=4", "--parallel=2"]
    two, fitted = [*arguments, "--seeds=0-1"], [*arguments, "--seeds=0-1", "--final=loss.variance_ratio=optimal_pixel"]
    made_up.write(tmp_path, "vdm-T10", 1)
    for given, made, ratio in (
        (two, "3 of 4", None),
        (fitted, "4 of 4", "optimal_pixel"),
        (two, "0 of 4", None),
        ([*arguments, "--seeds=7"], "2 of 2", None),
    ):
        assert main(["significance", *given]) == 0
        assert f"{made} runs to be made" in capsys.readouterr().out
        assert ("variance ratio optimal_pixel" in (tmp_path / "significance.md").read_text()) == (ratio is not None)
        noted = json.loads((tmp_path / "experiment.json").read_text())
        assert noted["final"] == ([f"loss.variance_ratio={ratio}"] if ratio else [])
    arms = json.loads((tmp_path / "significance.json").read_text())["arms"]
    assert {arm: values["n"] for arm, values in arms.items()} == {"vdm-T10": 3, "diffenc-T10": 3}


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_rest_reported(made_up_runs, tmp_path, capsys, monkeypatch):
    (tmp_path / "diffenc-seed1").write_text("in the way")
    monkeypatch.setattr(grid.Grid, "check", lambda self, root: None)
    assert main(["significance", f"--root={tmp_path}", *GIVEN, "--passes=4"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: diffenc, seed 1: exit code 1: ")
    assert error.count("\n") == 1
    assert "- diffenc, seed 1: not begun" in (tmp_path / "significance.md").read_text()


TINY = """
from diffenc_jax.config.recipe import with_changes
from tests import tiny

def get_config(arm="vdm"):
    changes = {"train.steps": 40, "checkpoint.every_steps": 10, "eval.every_steps": 20}
    return with_changes(tiny.config_dict(arm), changes)
"""


def start(root, config):
    """The command over real runs, as a user starts it."""
    arguments = [f"--config={config}", "--arms=vdm,nontrainable", "--seeds=0-1", f"--root={root}", "--parallel=2"]
    command = [sys.executable, "-m", "diffenc_jax", "significance", *arguments]
    quickly_compiled = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    environment = os.environ | quickly_compiled | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.long
@pytest.mark.slow
def test_a_stopped_experiment_goes_on_and_gives_the_same_table(tmp_path):
    config = tmp_path / "small.py"
    config.write_text(TINY)
    whole = start(tmp_path / "whole", config)
    _, error = whole.communicate(timeout=600)
    assert (whole.returncode, error) == (0, "")

    stopped = start(tmp_path / "stopped", config)
    checkpoints = tmp_path / "stopped" / "nontrainable-seed0" / "checkpoints"
    while not (checkpoints / "10").exists():
        assert stopped.poll() is None
        time.sleep(0.05)
    stopped.send_signal(signal.SIGTERM)
    _, error = stopped.communicate(timeout=120)
    assert (stopped.returncode, error) == (
        128 + signal.SIGTERM,
        f"interrupted; {significance.ON_INTERRUPT}\n",
    )
    resumed = start(tmp_path / "stopped", config)
    assert resumed.communicate(timeout=600)[1] == ""
    assert resumed.returncode == 0

    first, second = ((tmp_path / name / "values.csv").read_text() for name in ("whole", "stopped"))
    assert first == second
    assert first.count("\n") == 1 + 4
    assert tables(tmp_path / "whole") == tables(tmp_path / "stopped")


def tables(root):
    """The summary without the costs, which depend on the machine."""
    return (root / "significance.md").read_text().split("## Costs of the arms")[0]

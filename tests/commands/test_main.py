"""The launcher `python -m diffenc_jax.main`: bad input ends in one line, exit code 2; and the demonstration runs."""

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from diffenc_jax.__main__ import main as diffenc
from diffenc_jax.main import main
from diffenc_jax.runs.lock import locked
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.train import loop
from tests import ROOT, tiny
from tests.processes import python
from tests.refusals import refused

DIGITS = f"--config={ROOT}/configs/digits.py"


REFUSED = [
    ([], "name one run: by its folder, or by --config=NAME[:ARM]"),
    ([DIGITS, "--mode=fly"], "argument --mode: invalid choice: 'fly'"),
    ([DIGITS, "--mode=eval", "--no-samples"], "--no-samples is for --mode=train; leave it out"),
    ([DIGITS, "--processes=0"], "'0' is not a whole number above zero"),
]


@pytest.mark.parametrize(("argv", "message"), REFUSED)
def test_arguments_of_the_launcher_that_are_wrong_are_refused(argv, message, capsys):
    assert message in refused(main, argv, capsys)


def write_small(folder):
    """A small configuration and its images in `folder`; returns the arguments that choose them."""
    (folder / "small.py").write_text(tiny.FILE)
    np.savez(folder / "images.npz", train=tiny.images(20), test=tiny.images(8))
    changes = ("data.source=images.npz", "train.steps=2", "eval.passes=1", "eval.time_sampling=uniform")
    return ["--config=small.py", *(f"--config.{change}" for change in changes)]


def test_a_workdir_in_use_is_told_from_bad_input(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with locked(tmp_path):
        assert main([*write_small(tmp_path), f"--workdir={tmp_path}"]) == 75
    error = f"error: another process trains in {tmp_path}; wait for it, or give another --workdir\n"
    assert capsys.readouterr().err == error


def test_trains_evaluates_and_samples(tmp_path, monkeypatch, capsys):
    """All modes find the default workdir of the same keys, with the images and the checkpoints that they report."""
    monkeypatch.chdir(tmp_path)
    flags = [*write_small(tmp_path), "--config.train.learning_rate=2e-3"]
    run = Path("runs/tiny-vdm-seed0-source-images.npz-learning_rate-0.002")
    run.mkdir(parents=True)
    for folder in ("eval", "samples"):  # on another disk
        (tmp_path / "scratch" / folder).mkdir(parents=True)
        (run / folder).symlink_to(tmp_path / "scratch" / folder)
    assert main(flags) == 0
    said = capsys.readouterr().out
    for part in ("step 2: test ", "  reconstruction ", "  latent ", "  diffusion "):
        assert part in said
    assert f"samples: {run}/samples/2-depth3-seed0.png\nimages: {run}/samples/2-depth3-seed0.npz\n" in said
    (path,) = (run / "eval").glob("*.json")
    total = json.loads(path.read_text())["bpd"]["total"]

    # By its folder the run is the same, and only what it is evaluated by can be changed.
    for program, given in ((main, [*flags, "--mode=eval"]), (diffenc, ["eval", str(run), "--config.eval.seed=0"])):
        assert program(given) == 0
        assert capsys.readouterr().out.startswith(f"evaluating test at step 2\nstep 2: test {total:.4f} ")
    few = "--config.sample.depth=1"
    for program, given in ((main, [*flags, "--mode=sample", few]), (diffenc, ["sample", str(run), few])):
        assert program(given) == 0
        assert capsys.readouterr().out.startswith("sampling step 2\nstep 2: 4 samples\n")
    error = refused(diffenc, ["eval", str(run), "--config.train.learning_rate=1e-3"], capsys)
    assert "--config.train.learning_rate is not read by this command; it reads eval, fit, loss," in error
    error = refused(main, [*flags, "--mode=eval", "--config.eval.checkpoints=1,2"], capsys)
    assert "no checkpoint of the steps [1]; it has [2]" in error
    for steps, none in ((3, "--no-samples"), (4, "--config.log.samples=0")):
        assert main([*flags, f"--config.train.steps={steps}", none]) == 0
        assert f"resuming from step {steps - 1}" in capsys.readouterr().out
    assert {path.name[0] for path in (run / "samples").iterdir()} == {"2"}
    assert [place.name for place in Path("runs").glob("tiny*")] == [run.name]


def test_another_run_is_kept_unless_it_is_to_be_moved(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags, run = [*write_small(tmp_path), "--workdir=[a]run"], StoredRun(tmp_path / "[a]run")
    run.write(tiny.config("vdm", seed=3))
    error = refused(main, flags, capsys)
    assert "run holds a run of another configuration: seed=0 (there 3); data.source=images.npz (there digits);" in error
    assert "; ...; give another --workdir, or --overwrite, which moves that run aside" in error
    error = refused(main, [*flags, "--overwrite", "--mode=eval"], capsys)
    assert "--overwrite is for --mode=train; leave it out" in error
    # What cannot be trained moves nothing.
    assert "divide" in refused(main, [*flags, "--overwrite", "--config.train.accumulate=3"], capsys)
    assert StoredRun(run.workdir).config == run.config
    monkeypatch.setattr(loop, "check_trainable", Mock(side_effect=ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        main([*flags, "--overwrite"])
    assert "[a]run is moved to [a]run.1\n" in capsys.readouterr().out
    assert StoredRun(tmp_path / "[a]run.1").config == run.config
    assert not StoredRun(run.workdir).exists
    with pytest.raises(ZeroDivisionError):  # there is nothing to move
        main([*flags, "--overwrite"])
    assert "moved" not in capsys.readouterr().out


def test_a_cluster_that_does_not_exist_is_one_line():
    """In a process of its own, which has not used JAX before."""
    error = python("-m", "diffenc_jax.main", DIGITS, "--distributed", code=2).stderr
    assert error.startswith("error: no cluster was found: ")
    assert error.count("\n") == 1


def run(workdir, *args):
    """Run the demonstration."""
    command = ["-m", "diffenc_jax.main", "--config=configs/digits.py", f"--workdir={workdir}"]
    python(*command, *args, timeout=1800)


@pytest.mark.long
@pytest.mark.slow
def test_reaches_two_bits_per_dimension(tmp_path):
    run(tmp_path / "run")
    record = StoredRun(tmp_path / "run").last_record()[1]
    assert record["step"] == 1500
    assert record["bpd"]["total"] < 2.0
    assert record["dataset"]["num_examples"] == 297
    run(tmp_path / "run", "--mode=eval", "--config.eval.dtype=bfloat16")
    (path,) = (tmp_path / "run" / "eval").glob("*bfloat16*.json")
    assert json.loads(path.read_text())["bpd"]["total"] == pytest.approx(record["bpd"]["total"], abs=0.002)

"""Bad input to the commands: one line that says what is wrong and what to do, and exit code 2."""

import numpy as np
import pytest

from diffenc_jax.__main__ import command_of, main
from diffenc_jax.commands.options import make_parser, writable_file
from diffenc_jax.config import load_config
from diffenc_jax.runs.stored import StoredRun
from tests.refusals import refused

TRAIN = "train --config=digits --workdir=run"
FAST = "train --config=digits:vdm-fast --workdir=run --config.train.steps=2 --config.train.warmup_steps=0"
IMAGES = np.random.RandomState(0).randint(0, 17, (60, 8, 8, 1)).astype(np.uint8)


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A folder of bad input, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.md").write_text("# hello\n")
    (tmp_path / "list.json").write_text("[1]")
    np.savez("odd.npz", IMAGES[:, :7])
    np.savez("sixty.npz", IMAGES)
    return tmp_path


REFUSED = [
    (f"{TRAIN} --config.data.source=odd.npz", "model.encoder.levels=2 pools 2 times and needs"),
    (f"{TRAIN} --config.model.score.kind=transformer", "kind=transformer needs the keys heads, patch, skip_conne"),
    ("train --config=digits --workdir=", "argument --workdir: it is empty; name a file or a folder"),
    ("train --config=digits --workdir=text.md/run", "text.md/run cannot be written to: Not a directory; give"),
    (f"{TRAIN} --process=1", "--coordinator=HOST:PORT, --processes=N and --process=0 .. N - 1 belong together"),
    (f"{TRAIN} --coordinator=host:1 --processes=2 --process=2", "--process=0 .. N - 1 belong together"),
    (f"{TRAIN} --coordinator=host --processes=2 --process=1", "--coordinator=HOST:PORT, --processes=N and"),
    # The warm-up of -fast is too long for two steps; what was typed comes first.
    (f"{FAST} --config.train.optimizer.b1=2", "train.optimizer.b1 must lie in [0, 1), not 2"),
    (f"{FAST} --config.train.accumulate=3", "train.accumulate=3"),
    (f"{FAST} --config.eval.options={{'a':1}}", "eval.estimator=bound has no keys a"),
    (f"{TRAIN} --config.train.steps={'x' * 10**5}", "train.steps must be a whole number, not 'xxx"),
    ("x" * 10**5, f"{'x' * 100} [...] "),
    (f"{TRAIN} --profile=15:10", "'15:10' is not FIRST:LAST, two steps counted from 1, such as 10:15"),
    (f"{TRAIN} --profile=1499:1501", "--profile=1499:1501 is outside the run, which ends at step 1500"),
    ("eval", "name one run: by its folder, or by --config=NAME[:ARM] and perhaps --workdir"),
    ("eval --config=digits --config.train.optimizer.b1=0.5", "runs/digits-diffenc-seed0-optimizer_b1-0.5 holds no"),
    ("costs --config=digits --json=", "--json is empty; name a file"),
    ("decompress folder none -o a.npy", "none cannot be read: No such file or directory; give a file"),
    ("depth-study folder --depths=99999999999", "each of --depths=99999999999 is too large; take less than 2^31"),
    ("encoder-study folder --gammas=1", "--gammas must be at least 2, not 1"),
    ("compare list.json", "list.json is not a complete record: its content is missing, or of another kind;"),
    ("compare list.json --json=folder", "--json=folder is a folder; name a file"),
    ("significance --root=folder --config=digits --arms=vdm --seeds=0-99999999999", "at most 10000 of"),
    ("significance report --root=text.md", "text.md holds no runs; train some with `diffenc significance"),
    ("reproduce mnist", "--root is missing; give --root=DIR or --root=gs://BUCKET/FOLDER"),
    ("reproduce nosuch", "unknown comparison 'nosuch'; known: cifar10-large, cifar10-nontrainable, cifar10-small,"),
    ("reproduce --root=r", "--root is for a comparison; name one, `diffenc reproduce` lists them"),
    ("reproduce --config.train.steps=3", "--config.key=value is for a comparison; name one"),
    ("report folder --out=text.md/page.html", "text.md cannot be written to: File exists; name another file"),
    ("parity folder", "folder cannot be read: Is a directory; give reference arrays of the published code"),
    ("parity text.md", "text.md is no .npz archive, or a damaged one; give reference arrays of the published"),
]


@pytest.mark.parametrize(("command", "message"), REFUSED)
def test_bad_input_is_one_line_that_says_what_to_do_and_leaves_nothing(files, command, message, capsys):
    before = sorted(files.rglob("*"))
    error = refused(main, command.split(), capsys)
    assert message in error
    assert len(error) < 1100
    assert sorted(files.rglob("*")) == before


@pytest.mark.parametrize("name", ["config.json", "eval/new.json", "linked/metrics.jsonl"])
def test_files_of_a_run_are_no_places_for_results(files, name, capsys):
    """No option that names a file replaces them, also by another name of the run's folder; it may write beside them."""
    run = files / "run"
    StoredRun(run).write(load_config("digits"))
    (run / "linked").symlink_to(run)
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    before = (run / "config.json").read_bytes()
    writes = ["costs --config=digits --json", "compress run sixty.npz --output", "report run --out"]
    for words in writes:
        error = refused(main, f"{words}={run / name}".split(), capsys)
        assert f"{run / name} is reserved for the run in {run}; name another file" in error
    assert writable_file("json", f"{run}/costs/vdm.json") == run / "costs" / "vdm.json"
    assert (run / "config.json").read_bytes() == before


@pytest.mark.parametrize("name", ["eval", "sample", "depth-study", "report"])
@pytest.mark.parametrize("place", ["folder", "text.md", "absent"])
def test_a_place_without_a_run_is_named_and_no_unknown_option_is_advised(name, place, capsys):
    command = command_of(name)
    options = {option for action in make_parser(command, name)._actions for option in action.option_strings}
    by_name = [["--config=digits", f"--workdir={place}"]] if "--workdir" in options else []
    for given in [[place], *by_name]:
        error = refused(main, [name, *given], capsys)
        assert place in error
        assert "give the " in error
        assert not {word for word in error.split() if word.startswith("--")} - options

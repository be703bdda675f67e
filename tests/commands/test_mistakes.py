"""Bad input to the commands and in docs/mistakes.md: one line that says what is wrong and what to do."""

import re
import shlex
from functools import partial
from glob import glob
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import jax
import numpy as np
import pytest
from PIL import Image

from diffenc_jax.__main__ import command_of, main
from diffenc_jax.commands.options import make_parser, writable_file
from diffenc_jax.config import load_config
from diffenc_jax.model import DataSpec
from diffenc_jax.parallel import memory
from diffenc_jax.runs.stored import StoredRun
from tests import ROOT
from tests.bucket import Faults
from tests.lab.comparisons.significance import made_up
from tests.lab.interop.published_file import published_parameters, write
from tests.processes import python
from tests.refusals import refused

TRAIN = "train --config=digits --workdir=run"
FAST = "train --config=digits:vdm-fast --workdir=run --config.train.steps=2 --config.train.warmup_steps=0"
SMALL_IMAGES = np.random.RandomState(0).randint(0, 17, (60, 8, 8, 1)).astype(np.uint8)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder of bad input, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.md").write_text("# hello\n")
    (tmp_path / "list.json").write_text("[1]")
    np.savez("odd.npz", SMALL_IMAGES[:, :7])
    np.savez("sixty.npz", SMALL_IMAGES)
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


@pytest.mark.usefixtures("files")
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


PAGE = (ROOT / "docs" / "mistakes.md").read_text()
IMAGES = np.random.RandomState(0).randint(0, 256, (60, 8, 8, 3)).astype(np.uint8)
SKIPPED = "[...]"  # a part of a line that is left out of the page


class Mistake(NamedTuple):
    """An entry of the page: its heading, the command that is typed, and the line that is printed."""

    heading: str
    command: str
    line: str


def mistakes():
    for section in PAGE.split("\n## ")[1:]:
        (command,) = re.findall(r"^    \$ (.*)$", section, re.MULTILINE)
        (line,) = re.findall(r"^    (error: .*)$", section, re.MULTILINE)
        yield Mistake(section.partition("\n")[0], command, line)


def write_pictures():
    Path("photos").mkdir()
    for i in range(10):
        Image.fromarray(IMAGES[i, : 4 + i % 2]).save(f"photos/{i}.png")


def write_run():
    StoredRun(Path("runs/first")).write(load_config("digits"))


def write_records():
    """Two runs, evaluated on 40 and on 30 images."""
    made_up.write(Path("runs"), "vdm", 0)
    made_up.write(Path("runs"), "diffenc", 0, made_up.values("diffenc", 0)[:, :30])


def write_checkpoint():
    write(Path("checkpoint_800000"), published_parameters(load_config("digits"), DataSpec((8, 8, 1), 17)))


def no_network(request):
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setattr("socket.getaddrinfo", Mock(side_effect=OSError("no network")))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def no_memory(request):
    """The step needs what XLA's compiler says of it, after a minute, on a machine of 23.54 GiB."""
    monkeypatch = request.getfixturevalue("monkeypatch")
    text = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 578.49GiB."
    monkeypatch.setattr(jax.stages.Lowered, "compile", Mock(side_effect=jax.errors.JaxRuntimeError(text)))
    monkeypatch.setattr(memory, "device_memory", lambda: int(23.54 * 2**30))


def no_rights(request):
    request.getfixturevalue("bucket").faults = Faults(share=1.0, kinds=(403,))


# What a command finds, by the entry's heading: files, or conditions of the machine.
FILES = {
    "Pictures of different sizes": write_pictures,
    "Too few images": partial(np.savez, "one.npz", IMAGES[:1]),
    "Images as floating-point numbers": partial(np.savez, "scaled.npz", IMAGES / 255),
    "Images of 8 bits in a configuration for fewer levels": partial(np.savez, "mine.npz", IMAGES),
    "The workdir of another configuration": write_run,
    "Resuming under another seed": write_run,
    "Comparing evaluations on different images": write_records,
    "A published checkpoint of another model": write_checkpoint,
}
CONDITIONS = {
    "No data set, and no network": no_network,
    "Out of memory": no_memory,
    "A bucket without permission": no_rights,
}
# Entries whose command runs in a process of its own, with more in its environment than the page shows.
PROCESSES = {
    "No accelerator": {},
    "A batch that does not divide over the devices": {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"},
}


def arguments_of(command):
    """Words after `diffenc`, with file names in place of patterns, as a shell gives them."""
    program, *words = shlex.split(command)
    assert program == "diffenc"
    return [name for word in words for name in (sorted(glob(word)) or [word])]


def test_the_page_has_twenty_entries_and_each_preparation_is_of_one():
    headings = [mistake.heading for mistake in mistakes()]
    assert len(headings) == len(set(headings)) == 20
    assert {*FILES, *CONDITIONS, *PROCESSES} <= set(headings)


SLOW = ("Out of memory",)  # a network is initialised
HERE = [
    pytest.param(mistake, marks=[pytest.mark.slow] * (mistake.heading in SLOW), id=mistake.heading)
    for mistake in mistakes()
    if mistake.heading not in PROCESSES
]


@pytest.mark.parametrize("mistake", HERE)
def test_a_mistake_and_its_message(mistake, tmp_path, monkeypatch, request, capsys):
    monkeypatch.chdir(tmp_path)
    FILES.get(mistake.heading, lambda: None)()
    CONDITIONS.get(mistake.heading, lambda _: None)(request)
    assert main(arguments_of(mistake.command)) in (1, 2)
    check(mistake, capsys.readouterr().err)


@pytest.mark.slow
@pytest.mark.parametrize("heading", PROCESSES)
def test_a_mistake_that_the_environment_makes(heading, tmp_path):
    (mistake,) = (mistake for mistake in mistakes() if mistake.heading == heading)
    assigned, _, rest = mistake.command.rpartition("diffenc ")
    given = dict(word.split("=", 1) for word in shlex.split(assigned))
    words = arguments_of(f"diffenc {rest}")
    done = python("-m", "diffenc_jax", *words, cwd=tmp_path, code=2, **(given | PROCESSES[heading]))
    check(mistake, done.stderr)


def check(mistake, said):
    """Assert that the command has said this line and nothing else."""
    (line,) = said.splitlines()
    assert re.fullmatch(".*".join(map(re.escape, mistake.line.split(SKIPPED))), line), line

"""Commands on a full disk: one line that names a file, nothing half written, and what was there stays."""

import shutil

import pytest

from diffenc_jax.__main__ import main
from tests import tiny
from tests.stored_runs import write_images
from tests.train.running import train

RECORDS = ("run/eval/a.json", "run/eval/b.json")
COMMANDS = {
    "eval": ["eval", "--config=tiny.py", "--workdir=run", "--config.eval.seed=1"],
    "sample": ["sample", "--config=tiny.py", "--workdir=run", "--config.sample.seed=1"],
    "train": ["train", "--config=tiny.py", "--workdir=run", "--config.train.steps=12"],
    "loss-by-time": ["loss-by-time", "run", "--draws=2"],
    "depth-study": ["depth-study", "run", "--depths=2"],
    "rate-distortion": ["rate-distortion", "run", "--depth=2"],
    "report": ["report", "run", "--out=page.html"],
    "compare": ["compare", *RECORDS, "--json=table.json"],
    "significance": ["significance", "report", "--root=."],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a configuration and a run of it."""
    folder = tmp_path_factory.mktemp("trained")
    changes = {"data__source": str(write_images(folder / "images.npz")), "eval__passes": 2}
    (folder / "tiny.py").write_text(tiny.file(**changes))
    train(tiny.config("vdm", small=True, **changes), folder / "run")
    (record,) = (folder / "run" / "eval").glob("*.json")
    for path in RECORDS:
        shutil.copy(record, folder / path)
        shutil.copy(record.with_suffix(".npz"), (folder / path).with_suffix(".npz"))
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "ballast"}


FEW = ("train", "loss-by-time")  # one that trains, and a study; the others take long


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 20_000])
@pytest.mark.parametrize("name", [n if n in FEW else pytest.param(n, marks=pytest.mark.long) for n in COMMANDS])
def test_a_full_disk_is_one_line(trained, small_disk, monkeypatch, capfd, name, room):
    """A command that failed completes once there is space."""
    disk, toggle = small_disk
    folder = disk / "work"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("images.npz"))
    monkeypatch.chdir(folder)
    before = contents(folder)
    toggle()
    with (disk / "ballast").open("r+b") as file:
        file.truncate((disk / "ballast").stat().st_size - room)
    code = main(COMMANDS[name])
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("warning: ")]
    if code:
        assert code in (1, 2)
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        assert "No space left on device (free some space)" in lines[0]
    else:
        assert room
        assert lines == []
    assert not [path for path in folder.rglob("*") if "tmp" in path.name]
    after = contents(folder)
    grown = ("metrics.jsonl", "config.json", "commands.txt")
    assert [path for path in before if path.name not in grown and after.get(path) != before[path]] == []
    toggle()
    assert main(COMMANDS[name]) == 0

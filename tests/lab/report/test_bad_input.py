"""Bad workdirs and arguments: one line, or a note in the page; and hostile names."""

import json
import os
import shutil

import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.core.text import CONTROLS
from tests import refusals
from tests.lab.comparisons.significance import made_up as runs
from tests.lab.report import pages
from tests.stored_runs import change

HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(1)>'


@pytest.fixture
def run(tmp_path):
    return runs.write(tmp_path, "diffenc", 0)


def refused(capsys, *arguments):
    return refusals.refused(main, ["report", *arguments], capsys)


def test_arguments_that_are_refused(tmp_path, capsys, run):
    out = f"--out={tmp_path / 'page.html'}"
    other = runs.write(tmp_path / "others", "vdm", 0, bits=runs.values("vdm", 0)[:, :30])
    for arguments, message in (
        ((tmp_path, run, out), "is given twice"),
        ((run, "--reference=vdm", out), "--reference=vdm is not among diffenc"),
        ((run, other, out), "they have different images"),
        ((f"{run}\x1b", out), "has control characters; leave them out"),
    ):
        assert message in refused(capsys, *arguments)
    assert not (tmp_path / "page.html").exists()


def plant(path):
    """A pipe in place of a file."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def test_files_that_cannot_be_read_are_noted(tmp_path, capsys, run):
    """The page has all the rest. A pipe in place of the page or of the configuration is refused."""
    pages.write_studies(run)
    record = runs.record_file(run)
    values = record.with_suffix(".npz")
    values.write_bytes(values.read_bytes()[:100])
    change(shutil.copy(record, run / "eval" / "test-1500-x.json"), seconds="x")
    (run / "eval" / "test-1500-ode.json").write_text('{"step": 1500')
    (run / "loss-by-time" / "test-1500.json").write_text("[]")
    pipes = ["metrics.jsonl", "depth-study/test-1500.json", "commands.txt", "samples/1500-depth250-seed0.png"]
    pipes.append("eval/test-1500-other.json")
    for name in pipes:
        plant(run / name)
    out = tmp_path / "page.html"
    page = pages.write_page(out, run)
    noted = capsys.readouterr().err
    assert all(f"{run / name} cannot be read: " in page.text for name in pipes)
    for name in ("x.json", "ode.json", values.name, "loss-by-time/test-1500.json", *pipes):
        assert sum(name in line for line in noted.splitlines()) == 1, name
        assert name in page.text
    assert "No run is evaluated yet." in page.text
    assert f"diffenc eval {run}" in page.code
    plant(out)
    assert str(out) in refused(capsys, run, f"--out={out}")
    plant(run / "config.json")
    assert f"{run / 'config.json'} cannot be read: " in refused(capsys, run, f"--out={tmp_path / 'other.html'}")


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_infinite_values_are_shown(tmp_path):
    """A run that diverged in training has no statistics, and the others do."""
    root, bits = runs.write_all(tmp_path / "root", ("vdm", "diffenc"), (1, 2)), runs.values("vdm", 0)
    place = runs.write(root, "vdm", 0, np.where(bits == bits.max(), np.inf, bits))
    runs.write(root, "diffenc", 0)
    rows = [{"step": 50 * i, "bpd": value, "test_total": value} for i, value in enumerate((3, np.inf, -np.inf) * 10, 1)]
    (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["significance", "report", f"--root={root}"]) == 0
    page = pages.write_page(tmp_path / "page.html", root)
    ((name, bits, *_),) = page.tables["Other records, bits/dim ± noise ± images"][1:]
    assert (name, bits.split()[0]) == ("vdm, seed 0", "inf")
    assert [row[:2] for row in page.tables["Values"][1:]] == [["diffenc", "1.9382"], ["vdm", "–"]]


def test_hostile_names_are_text(tmp_path, run):
    place = tmp_path / HOSTILE.replace("/", "∕")
    shutil.move(run, place)
    change(runs.record_file(place), device=HOSTILE, software={HOSTILE: HOSTILE}, arm=place.name)
    change(place / "config.json", name=place.name, arm=place.name)
    pages.picture(place / "samples" / f"1500-{HOSTILE.replace('/', '∕')}.png")
    with (place / "commands.txt").open("a") as file:
        file.write("diffenc \x1b[2J\u202e\n")
    page = pages.write_page(tmp_path / "page.html", place)
    assert not page.all("script")
    assert all(image["src"].startswith("data:image/png") for image in page.all("img"))
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert page.headings[0] == (1, f"{place.name}: {place.name}; seed 0")
    assert [HOSTILE, HOSTILE] in page.tables["Made with"]
    assert "diffenc \\x1b[2J\\u202e" in page.code
    assert not CONTROLS.search((tmp_path / "page.html").read_text().replace("\n", ""))

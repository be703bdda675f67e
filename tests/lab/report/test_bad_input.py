"""Bad workdirs and arguments: one line, or a note in the page; and hostile names."""

import json
import os
import shutil

import pytest
from PIL import Image

from diffenc_jax.__main__ import main
from diffenc_jax.core.text import CONTROLS
from tests import refusals
from tests.lab.report import made_up
from tests.lab.studies.significance import made_up as runs

HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(1)>'


@pytest.fixture
def run(tmp_path):
    return runs.write(tmp_path, "diffenc", 0)


def refused(capsys, *arguments):
    return refusals.refused(main, ["report", *arguments], capsys)


def test_arguments_that_are_refused(tmp_path, capsys, run):
    (tmp_path / "empty").mkdir()
    out = f"--out={tmp_path / 'page.html'}"
    other = runs.write(tmp_path / "others", "vdm", 0, bits=runs.values("vdm", 0)[:, :30])
    for arguments, message in (
        ((tmp_path / "empty", out), "holds no run"),
        ((tmp_path / "none", out), "is not a folder"),
        ((run, run, out), "is given twice"),
        ((tmp_path, run, out), "is given twice"),
        ((run, "--reference=vdm", out), "--reference=vdm is not among diffenc"),
        ((run, other, out), "they have different images"),
        ((run, f"--out={tmp_path / 'none' / 'a.html'}"), f"there is no folder {tmp_path / 'none'}"),
        ((run, f"--out={tmp_path}"), "is a folder"),
    ):
        assert message in refused(capsys, *arguments)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"name": "a", "arm": "b"}', '{"name": "a", "arm": "b", "model": 3}']
)
def test_configurations_that_are_none(tmp_path, capsys, run, text):
    (run / "config.json").write_text(text)
    assert str(run) in refused(capsys, run, f"--out={tmp_path / 'page.html'}")


@pytest.mark.parametrize("section", ["model", "train", "eval", "data"])
def test_configurations_of_other_things(tmp_path, capsys, run, section):
    config = json.loads((run / "config.json").read_text())
    others = {key: {} if isinstance(value, dict) else [1] for key, value in config[section].items()}
    (run / "config.json").write_text(json.dumps(config | {section: others}))
    error = refused(capsys, run, f"--out={tmp_path / 'page.html'}")
    assert f"{run}/config.json is not a configuration of this program: " in error


def change_record(place, **changes):
    path = runs.record_file(place)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_files_that_cannot_be_read_are_noted(tmp_path, capsys, run):
    """The page has all the rest."""
    made_up.write_studies(run)
    record = runs.record_file(run)
    values = record.with_suffix(".npz")
    values.write_bytes(values.read_bytes()[:100])
    (run / "eval" / "test-1500-x.json").write_text(json.dumps(json.loads(record.read_text()) | {"seconds": "x"}))
    (run / "eval" / "test-1500-ode.json").write_text('{"step": 1500')
    (run / "eval" / "test-1500-other.json").write_bytes(b"\xff\xfe")
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + 'null\n{"step": 1, "bpd": "x"}\n{"step": 1550, "bp')
    (run / "samples" / "1500-depth250-seed0.png").write_bytes(b"\x89PNG\r\n\x1a\n none")
    (run / "loss-by-time" / "test-1500.json").write_text("[]")
    page = made_up.write_page(tmp_path / "page.html", run)
    noted = capsys.readouterr().err
    incomplete = "x.json is not a complete record: seconds is missing, or"
    for name in (f"{values.name} was changed", "ode.json is not JSON", "other.json", incomplete):
        assert name in noted
        assert name in page.text
    assert "seed0.png is not a readable picture" in page.text
    assert "loss-by-time/test-1500.json cannot be read as a result of loss-by-time; run the study again" in page.text
    total = json.loads(record.read_text())["bpd"]["total"]
    assert page.tables["Other records, bits/dim ± noise ± images"][1][1] == f"{total:.4f} ± 0.0100 ± 0.0200"
    assert "left out of comparisons" in page.text


def test_hostile_names_are_text(tmp_path, run):
    place = tmp_path / HOSTILE.replace("/", "∕")
    shutil.move(run, place)
    change_record(place, device=HOSTILE, software={HOSTILE: HOSTILE}, arm=HOSTILE)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"name": HOSTILE, "arm": HOSTILE}))
    made_up.picture(place / "samples" / f"1500-{HOSTILE.replace('/', '∕')}.png")
    page = made_up.write_page(tmp_path / "page.html", place)
    assert not page.all("script")
    assert all(image["src"].startswith("data:image/png") for image in page.all("img"))
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert page.headings[0] == (1, f"{HOSTILE}: {HOSTILE}, seed 0")
    assert page.tables["Made with"][2] == [HOSTILE, HOSTILE]


@pytest.mark.parametrize("name", ["../evil", "evil", "evil.py"])
def test_a_configurations_name_is_no_path_to_a_program(tmp_path, run, monkeypatch, name):
    """Only installed configurations are loaded; a workdir cannot name another file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "evil.py").write_text("raise SystemExit('was run')")
    (tmp_path / "evil.py").write_text("raise SystemExit('was run')")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"name": name}))
    page = made_up.write_page(tmp_path / "page.html", run)
    assert "is not installed here" in page.text


def plant(path, kind):
    """Something that is no file in place of a file, or a file of eight gigabytes."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.touch()
        os.truncate(path, 2**33)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path.name)


@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "folder", "huge"])
def test_what_is_no_file_is_noted(tmp_path, capsys, run, kind):
    """The page has all the rest."""
    made_up.write_studies(run)
    names = ["metrics.jsonl", "loss-by-time/test-1500.json", "depth-study/test-1500.json", "commands.txt"]
    names += ["samples/1500-depth250-seed0.png", "eval/test-1500-other.json"]
    for name in names:
        plant(run / name, kind)
    page = made_up.write_page(tmp_path / "page.html", run)
    assert "other.json cannot be read: " in capsys.readouterr().err
    for name in names:
        assert f"{run / name} cannot be read: " in page.text
    plant(run / "config.json", kind)
    assert f"{run / 'config.json'} cannot be read: " in refused(capsys, run, f"--out={tmp_path / 'page.html'}")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "huge", "loop"])
def test_a_page_that_is_no_page_is_refused(tmp_path, capsys, run, kind):
    out = tmp_path / "page.html"
    plant(out, kind)
    assert str(out) in refused(capsys, run, f"--out={out}")


def test_a_picture_of_too_many_pixels_is_not_loaded(tmp_path, run):
    made_up.write_studies(run)
    Image.new("L", (2**13, 2**13)).save(run / "samples" / "1500-depth250-seed0.png")
    page = made_up.write_page(tmp_path / "page.html", run)
    assert "is not a readable picture: it has 67,108,864 pixels, of which at most 33,554,432 are shown" in page.text


def test_control_characters_are_refused_or_escaped(tmp_path, capsys, run):
    """In names of files, in a record, in a configuration, in commands and in arguments."""
    out = f"--out={tmp_path / 'page.html'}"
    with (run / "commands.txt").open("a") as file:
        file.write("diffenc \x1b[2J\u202e\n")
    page = made_up.write_page(tmp_path / "page.html", run)
    assert any("diffenc \\x1b[2J\\u202e" in line for line in page.code)
    assert not CONTROLS.search((tmp_path / "page.html").read_text().replace("\n", ""))
    change_record(run, device="\x1b[2J")
    page = made_up.write_page(tmp_path / "page.html", run)
    assert "a text in it holds control characters" in page.text
    assert "a text in it holds control characters" in capsys.readouterr().err
    made_up.picture(run / "samples" / "1500-\x1b[2J.png")
    assert "1500-\\x1b[2J.png has a name with control characters" in refused(capsys, run, out)
    assert "has control characters; leave them out" in refused(capsys, f"{run}\x1b", out)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"arm": "a\nb"}))
    assert "a text in it holds control characters" in refused(capsys, run, out)

"""What follows from a study once, shown by a made-up one: command, files, function in Python, section of the report."""

import dataclasses
import importlib
import json
import re
import shutil
from dataclasses import dataclass

import numpy as np
import pytest

import diffenc_jax.__main__ as program
from diffenc_jax.commands.options import make_parser
from diffenc_jax.core import parts
from diffenc_jax.core.document import Table, Text
from diffenc_jax.core.errors import InputError, require
from diffenc_jax.core.keys import Keyed, count
from diffenc_jax.lab import studies
from diffenc_jax.lab.figures.charts import Board, Chart, Curve, Panel
from diffenc_jax.lab.report.collect import collect
from diffenc_jax.lab.report.html import Picture
from diffenc_jax.lab.report.sections import study_sections
from diffenc_jax.lab.studies.study import Array, Study
from diffenc_jax.lab.table import PARTS
from tests import refusals
from tests.stored_runs import change, write_images, write_run

pytestmark = pytest.mark.usefixtures("sketched")
NAME = "brightness"


@dataclass(frozen=True)
class Arguments(Keyed):
    factors: tuple[int, ...] = count((1, 2), "factors of the pixels")
    most: int | None = count(None, "most images", none="all")

    def check(self):
        require(9 not in self.factors, "--factors: 9 is too bright")


@dataclass
class Means:
    factors: list[int]
    means: list[float]
    first: Array

    def tables(self):
        return [Table(["first", "second"], [[f"{mean:.2f}" for mean in self.means]], "mean pixel")]

    def sentence(self):
        return f"mean pixel {self.means[0]:.2f}"


class Brightness(Study):
    """Measure the brightness of images."""

    name = NAME
    title = "Brightness"
    EXAMPLE = f"diffenc {NAME} runs/a"
    together = True
    arguments = Arguments
    result = Means

    def applies(self, config):
        return config.arm != "nontrainable"

    def changes(self, stored, given, arguments):
        return {"eval.batch_size": 4, **given}

    def check(self, run):
        require(run.config.arm != "nontrainable", "this arm has no brightness")

    def measure(self, run, arguments, watch):
        images = run.dataset.split(run.config.eval.split).data[: arguments.most]
        with watch("means", 1.0) as on_part:
            on_part(1.0)
        means = [float(factor * images.mean()) for factor in arguments.factors]
        return Means(list(arguments.factors), means, images[:2] / 8 - 1.0)

    def figures(self, shown):
        curves = [Curve(one.name, one.result.factors, one.result.means, arm=one.arm) for one in shown]
        first = shown[0].result.first
        return {
            "": Chart("means by factor", "factor", [Panel("mean", curves)]),
            "images": Board("the first images", ["a", "b"], [""], [first[:, None]]),
        }


@pytest.fixture(autouse=True, scope="module")
def made_up():
    """The study is the only one that there is, and of another package than the commands."""
    known = {NAME: parts.Entry(f"{__name__}:Brightness", summary="measure brightness")}
    own = parts.own
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "own", lambda kind: known if kind == "study" else own(kind))
        patch.setattr(parts, "entries", parts.own)
        yield


@pytest.fixture(scope="module")
def home(home, made_up):
    """Runs of the arms, of which 'vdm' is measured, and 'others' of other images and 'single' of one."""
    write_run(home / "others", write_images(home / "others.npz", seed=2))
    write_run(home / "single", write_images(home / "single.npz", count=1))
    assert command(home / "vdm") == 0
    return home


@pytest.fixture
def run(home, tmp_path):
    """A copy of 'vdm' with its result."""
    return shutil.copytree(home / "vdm", tmp_path / "vdm")


def command(*arguments):
    return program.main([NAME, *map(str, arguments)])


def mean(run, split="test"):
    return np.load(run.parent / "images.npz")[split].mean()


def test_options_follow_from_the_arguments():
    text = " ".join(make_parser(program.command_of(NAME), f"diffenc {NAME}").format_help().split())
    assert "Measure the brightness of images. Writes to RUN/brightness" in text
    for part in ("--factors FACTORS factors of the pixels (default: 1,2)", "--most MOST most images (default: all)"):
        assert part in text
    assert text.endswith(f"example: diffenc {NAME} runs/a")


def test_the_command_writes_the_result_that_python_returns(home, tmp_path, capsys):
    run = home / "vdm"
    arguments = [run, "--factors=1,3", "--config.eval.split=train", f"--json={tmp_path / 'copy.json'}"]
    assert command(*arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == f"vdm on images.npz (train), step 1: mean pixel {mean(run, 'train'):.2f}"
    names = ["train-1.json", "train-1.npz", "train-1.png", "train-1.pdf", "train-1-images.png", "train-1-images.pdf"]
    assert f"written to {run / NAME}: {', '.join(names)}" in printed
    assert {path.name for path in (run / NAME).iterdir()} >= set(names)
    stored = Brightness().read(run / NAME / "train-1.json")
    measured = studies.measure(NAME, run, {"eval.split": "train"}, factors=(1, 3))
    np.testing.assert_array_equal(stored.result.first, measured.result.first)
    stored.result.first = measured.result.first = None
    assert stored == dataclasses.replace(measured, arguments={"factors": [1, 3], "most": None})
    assert (stored.data, stored.changes) == ("images.npz (train), step 1", {"eval.split": "train"})
    (copied,) = json.loads((tmp_path / "copy.json").read_text())
    assert copied["result"] == {"factors": [1, 3], "means": stored.result.means}
    assert "diffenc brightness" in (run / "commands.txt").read_text()


def test_several_runs_have_a_common_figure(home, capsys):
    assert command(home / "vdm", home / "diffenc") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1].startswith(f"written to {home / 'vdm' / NAME}: test-1-compared.png, ")
    assert [line.split()[0] for line in printed if "step 1: mean pixel " in line] == ["vdm", "diffenc"]
    assert (home / "diffenc" / NAME / "test-1.json").exists()


def test_the_newest_result_is_of_the_split_and_the_last_step(run):
    folder = run / NAME
    for name in ("test-10", "test-9", "train-80", "notes"):
        shutil.copy(folder / "test-1.json", folder / f"{name}.json")
    newest = [Brightness().newest(run, split).stem for split in ("test", "train", "other")]
    assert newest == ["test-10", "train-80", "train-80"]


REFUSED = [
    (["vdm", "--factors=9"], "--factors: 9 is too bright"),
    (["vdm", "--most="], "--most must be a whole number, or None for all, not ''"),
    (["vdm", "--config.loss.depth=3"], "--config.loss.depth is not read by this command; it reads checkpoint."),
    (["vdm", "--config.eval.split=validation"], "has no split 'validation'; it has "),
    (["nontrainable"], "this arm has no brightness"),
    (["single"], "is one image, and standard errors over images need at least two"),
    (["vdm", "others"], "give runs of the same images, or one --config.eval.split for all"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_runs_and_options_that_a_study_cannot_take_are_refused(home, arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(home)
    assert message in refusals.refused(program.main, [NAME, *arguments], capsys)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(run, capsys):
    shutil.rmtree(run / NAME)
    (run / NAME).write_text("a file")
    assert f"{NAME} cannot be written to" in refusals.refused(program.main, [NAME, run], capsys)


RESULT = {"factors": [1, 2], "means": [1.0, 2.0]}
DAMAGES = {
    "no JSON": lambda path: path.write_text("{"),
    "another key": lambda path: change(path, result=RESULT | {"others": 1}),
    "a text for numbers": lambda path: change(path, result=RESULT | {"means": "ab"}),
    "no numbers": lambda path: change(path, result=RESULT | {"means": []}),
    "other lengths": lambda path: change(path, result=RESULT | {"factors": [1, 2, 3]}),
    "a longer row": lambda path: change(path, result={"factors": [1, 2, 3], "means": [1.0, 2.0, 3.0]}),
    "no arrays": lambda path: path.with_suffix(".npz").unlink(),
    "other arrays": lambda path: np.savez(path.with_suffix(".npz"), first=np.zeros(3)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_result_is_told_and_shown_as_such(run, damage):
    """By the report, in a line; by Python, unless only the figures show the damage."""
    path = run / NAME / "test-1.json"
    damage(path)
    if damage is not DAMAGES["other lengths"]:
        with pytest.raises(InputError, match=rf"{re.escape(str(path.with_suffix('')))}.*run the study again"):
            Brightness().read(path)
    collection = collect([run])
    (section,) = study_sections(collection)
    (note,) = collection.notes
    assert note.endswith("run the study again")
    assert not section.blocks


def test_the_section_of_the_report(home, tmp_path):
    """Results of all runs side by side, and the command for an arm that has none, unless the study is not for it."""
    second = write_run(home / "second", home / "images.npz", seed=1)
    assert command(second) == 0
    without = shutil.copytree(home / "diffenc", tmp_path / "diffenc", ignore=shutil.ignore_patterns(NAME))
    collection = collect([home / "vdm", second, without, home / "nontrainable"])
    (section,) = study_sections(collection)
    pictures, tables, texts = ([b for b in section.blocks if isinstance(b, kind)] for kind in (Picture, Table, Text))
    bright, names = f"{mean(home / 'vdm'):.2f}", ["vdm, seed 0", "vdm, seed 1"]
    assert section.title == "Brightness"
    captions = ["means by factor.", "the first images."]
    assert [picture.caption for picture in pictures] == [f"images.npz (test), step 1: {text}" for text in captions]
    (table,) = tables
    assert [row[:2] for row in table.rows] == [[name, bright] for name in names]
    assert [text.text for text in texts] == [f"{n} on images.npz (test), step 1: mean pixel {bright}." for n in names]
    assert collection.not_made == [f"diffenc brightness {without}"]


def test_studies_stand_in_the_table_under_their_names():
    for name, entry in PARTS["study"].items():
        place, _, kind = entry.target.partition(":")
        study = getattr(importlib.import_module(place), kind)
        assert study.name == name
        assert study.EXAMPLE.splitlines()[-1 - study.EXAMPLE.count("\\")].startswith(f"diffenc {name} ")

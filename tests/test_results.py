"""The pages of results show the numbers that were measured, and a command of a result runs once."""

import json
import re
import sys

import pytest

from diffenc_jax.core.document import NUMBERS, Table, stored_table
from diffenc_jax.core.errors import InputError, RunError
from diffenc_jax.core.numbers import Figure
from tests import ROOT
from tests.headings import anchors

sys.path.insert(0, str(ROOT / "benchmarks/results"))

import measure
import pages
import result

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("results-*.md"))]
MEASURED = result.measured()
FIGURE = re.compile(r"(?<![\d.])\d+\.\d{4,}")
CUBES = stored_table(Table(["number", "cube"], [[3, Figure("{:.1f}", 27.04)]], "Cubes"))


def test_pages_show_each_result_as_it_was_measured():
    for path in PAGES:
        assert path.read_text() == pages.drawn(path, MEASURED), f"{path.name}: run python benchmarks/results write"
    shown = {name for path in PAGES for name in pages.names(path.read_text())}
    assert sorted(shown) == sorted(MEASURED) == sorted(measure.EXPERIMENTS)


@pytest.mark.parametrize("path", PAGES[1:], ids=lambda path: path.stem)
def test_figures_of_four_decimals_in_the_text_of_a_page_are_those_of_its_results(path):
    shown = [table for name in pages.names(path.read_text()) for table in MEASURED[name].tables]
    cells = [cell for table in shown for row in table.rows for cell in row if isinstance(cell, Figure)]
    known = {f"{abs(value):.{digits}f}" for cell in cells for value in cell.values for digits in (4, 5, 6)}
    known.update(figure for table in shown for figure in FIGURE.findall(table.caption))
    text = re.sub(r"(?:\[\d{4}\.\d{5})?\]\([^)]*\)", "", pages.MARK.sub("", path.read_text()))
    assert set(FIGURE.findall(text)) <= known


def test_a_cell_that_reads_as_a_number_is_one():
    cells = [
        (name, cell) for name, one in MEASURED.items() for table in one.tables for row in table.rows for cell in row
    ]
    assert not [
        cell for cell in cells if type(cell[1]) is str and re.search(r"\d", cell[1]) and NUMBERS.fullmatch(cell[1])
    ]


def test_a_number_that_is_changed_by_hand_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(result, "DATA", tmp_path)
    made = result.Result("cubes", [result.Step("cube 3", tables=[CUBES])])
    made.write()
    path = tmp_path / "cubes.json"
    assert result.Result.read(path) == made
    assert '\n      [3,["{:.1f}",27.04]]\n' in path.read_text()
    path.write_text(path.read_text().replace("27.04", "26.04"))
    with pytest.raises(InputError, match=r"cubes.json has other numbers than those that were measured"):
        result.Result.read(path)


def test_tables_and_figures_are_chosen_by_marks(tmp_path):
    rows = [["vdm", 5, Figure("{:.2f} ± {:.2f}", 1.234, 0.056)], ["diffenc", 3, Figure("{:.2f} ± {:.2f}", 1.5, 0.04)]]
    machine = {"cores": 2, "processor": "P", "software": {"jax": "1"}}
    table = stored_table(Table(["arm", "step, s", "mean"], rows))
    step = result.Step("run", ["0123456789"], 61.0, "2026-11-27T10:00:00+00:00", machine, [table])
    page = tmp_path / "page.md"
    page.write_text(
        "A\n<!-- result r; 0; mean; =3 -->\nold\n<!-- end -->\n<!-- figures\n"
        "{r; 0; vdm; mean} in {r; 0; vdm; step, s}\n-->\n<!-- end -->\nB\n<!-- result r -->\n<!-- end -->\n"
    )
    results = {"r": result.Result("r", [step])}
    page.write_text(pages.drawn(page, results))
    assert "old" not in page.read_text()
    assert "| diffenc | 1.50 ± 0.04 |" in page.read_text()
    assert "vdm |" not in page.read_text()
    assert "-->\n\n1.23 ± 0.06 in 5\n\n<!-- end -->\nB" in page.read_text()
    assert page.read_text().count("`r`: 2 minutes on 2 cores of P, jax 1, 27 November 2026, commit 0123456; [all") == 2
    assert pages.drawn(page, results) == page.read_text()
    for mark, message in {
        "s": "unknown result 's'",
        "r; 1": "unknown table of r",
        "r; 0; median": "unknown column",
    }.items():
        page.write_text(f"<!-- result {mark} -->\n<!-- end -->")
        with pytest.raises(InputError, match=message):
            pages.drawn(page, results)


PRINT = f"""echo '{json.dumps(CUBES)}' >> $DIFFENC_TABLES; echo x >> calls"""


def test_a_finished_command_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(result, "DATA", tmp_path)
    monkeypatch.setitem(measure.EXPERIMENTS, "cubes", [PRINT, "cat two"])
    with pytest.raises(RunError, match=r"status 1 of cat two; its output is in .*cubes-2.out"):
        measure.make("cubes", "", tmp_path)
    assert not (tmp_path / "cubes.json").exists()
    (tmp_path / "two").touch()
    measure.make("cubes", "2", tmp_path)
    made = result.Result.read(tmp_path / "cubes.json")
    assert (tmp_path / "calls").read_text() == "x\n"
    assert [step.tables for step in made.steps] == [[CUBES], []]
    assert made.steps[1].commits == [measure.commit()]
    assert made.steps[1].seconds > 0
    with pytest.raises(InputError, match="unknown command '3'"):
        measure.make("cubes", "3", tmp_path)


def test_a_running_command_has_left_its_commit_and_a_changed_one_is_run_again(tmp_path, monkeypatch):
    """So that a process which is killed, and resumed at another commit, names both."""
    monkeypatch.setattr(result, "DATA", tmp_path)
    monkeypatch.setitem(measure.EXPERIMENTS, "cubes", ["cat logs/cubes-1.json > running"])
    measure.make("cubes", "", tmp_path)
    assert json.loads((tmp_path / "running").read_text())["commits"] == [measure.commit()]
    monkeypatch.setitem(measure.EXPERIMENTS, "cubes", [PRINT])
    measure.make("cubes", "", tmp_path)
    assert result.Result.read(tmp_path / "cubes.json").steps[0].tables == [CUBES]


def test_a_row_of_the_overview_has_at_most_two_figures_of_the_section_that_it_links_to():
    (template,) = (mark for kind, mark in pages.MARK.findall(PAGES[0].read_text()) if kind == "figures")
    rows = [line.strip("| ").split(" | ") for line in pages.filled(template, MEASURED).splitlines()]
    for compared, figures, link in rows[3:]:
        path, anchor = re.search(r"\((.*)#(.*)\)", link).groups()
        sections = re.split(r"^(?=## )", (ROOT / path).read_text(), flags=re.MULTILINE)
        (section,) = (text for text in sections if anchor in anchors(text))
        found = re.findall(r"(?<!± )\b\d+\.\d+(?:e-\d+)?(?: ± \d\.\d+)?", figures)
        assert len(found) in (1, 2), compared
        assert all(re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", section) for figure in found), compared

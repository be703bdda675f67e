"""The tables of docs/results-*.md are those of the measurements in docs/results, which benchmarks/results.py makes."""

import json
import re

import experiments
import overview
import pytest
import result_tables
import results

from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import InputError, RunError
from tests import ROOT
from tests.headings import anchors

MEASURED = results.measured()


def test_pages_show_what_was_measured_once_by_the_commands_as_they_stand():
    for path in results.PAGES:
        assert path.read_text() == results.written(path.read_text(), MEASURED, results.data_from(path)), path.name
    marks = [name for path in results.PAGES for name in results.marks(path.read_text())]
    assert sorted(marks) == sorted([*MEASURED, results.OVERVIEW])
    for name, steps in MEASURED.items():
        assert [step["command"] for step in steps] == [step.command for step in experiments.EXPERIMENTS[name]]
        lines = [line for step in steps for line in results.broken(step["command"]).splitlines()]
        assert all(line.count("'") % 2 == 0 for line in lines)  # no line ends within quotes


def experiment(*commands):
    def tables(work, output):
        yield Table(["number", "cube"], [line.split() for line in output.splitlines()], "Cubes")

    return [experiments.Step(f"python -c '{code}'", tables) for code in commands]


CUBE = 'import sys; print(3, 27); open("calls", "a").write("x")'


def test_a_finished_step_is_not_run_again(tmp_path):
    failing = experiment(CUBE, 'import pathlib; print(2, pathlib.Path("two").read_text())')
    with pytest.raises(RunError, match=r"status 1 of python -c .*; its output is in .*name-1.out"):
        results.make("name", failing, tmp_path)
    (tmp_path / "two").write_text("8")
    first, second = results.make("name", failing, tmp_path)
    assert (tmp_path / "calls").read_text() == "x"
    assert [table["rows"] for step in (first, second) for table in step["tables"]] == [[["3", "27"]], [["2", "8"]]]
    assert len(second["commits"]) == 1
    assert second["seconds"] > 0


def test_a_running_step_has_left_its_commit_and_a_changed_command_is_run_again(tmp_path):
    """So that a process which is killed, and resumed at another commit, names both."""
    reading = 'import json; print("commit", *json.load(open("logs/name-0.json"))["commits"])'
    (step,) = results.make("name", experiment(reading), tmp_path)
    assert step["tables"][0]["rows"] == [["commit", results.commit()]]
    (step,) = results.make("name", experiment(CUBE), tmp_path)
    assert step["tables"][0]["rows"] == [["3", "27"]]


def test_a_page_has_commands_tables_and_origin_folded(tmp_path, monkeypatch):
    """Also where the page had another table before, and text around it."""
    monkeypatch.setattr(results, "DATA", tmp_path)
    steps = results.make("name", experiment(CUBE, "print(5, 125)"), tmp_path)
    (tmp_path / "name.json").write_text(json.dumps(steps))
    found = results.measured()
    page = results.written("Before.\n\n<!-- name -->\n| old |\n<!-- end of name -->\n\nAfter.\n", found)
    before, _, after = page.partition('\n\n<details markdown="1">\n')
    assert before == "Before.\n\n<!-- name -->"
    assert f"\n\n    python -c '{CUBE}'\n\nCubes\n\n| number | cube |\n" in after
    assert "\n| 5      |  125 |\n\n`name`: commit " in page
    assert page.endswith("</details>\n\n<!-- end of name -->\n\nAfter.\n")
    assert results.written(page, found) == page
    text = "# Title\n\n| | a |\n|---|---|\n| x | |\n\nSome text.\n\nThe second\n\n| b |\n|---|\n| 1 |"
    assert result_tables.in_markdown(text) == [Table(["", "a"], [["x", ""]]), Table(["b"], [["1"]], "The second")]


def test_a_row_of_the_overview_has_at_most_two_figures_of_the_section_that_it_links_to():
    not_trained, *rows = overview.overview(MEASURED).rows
    assert not_trained[1] == "**not trained here**"
    for compared, result, link in rows:
        path, anchor = re.search(r"\((.*)#(.*)\)", link).groups()
        sections = re.split(r"^(?=## )", (ROOT / path).read_text(), flags=re.MULTILINE)
        (section,) = (text for text in sections if anchor in anchors(text))
        figures = re.findall(r"(?<!± )\b\d+\.\d+(?:e-\d+)?(?: ± \d\.\d+)?", result)
        assert len(figures) in (1, 2), compared
        assert all(re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", section) for figure in figures), compared
    with pytest.raises(InputError, match="unknown result 'digits'; known: fashion"):
        overview.overview({"fashion": MEASURED["fashion"]})

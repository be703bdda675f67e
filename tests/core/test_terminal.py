"""Tables and documents on terminals of several widths, in a file and in a pipe."""

import io
import re

import pytest
from rich.console import Console

from diffenc_jax.core.document import Code, Items, Section, Table, Text
from diffenc_jax.core.terminal import print_document, print_table

ARMS = ("vdm", "diffenc-transformer", "nontrainable-8")
NUMBERS = re.compile(r"[-+]?\d+\.\d+")


def printed(block, width):
    """The lines of a block."""
    console = Console(file=io.StringIO(), width=width)
    print_document(block, console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def comparison(count):
    """A table like that of `diffenc compare`."""
    heads = ["arm", "seed", "estimator", "bits/dim ± noise ± images", "difference ± noise ± images", "interval", "file"]
    rows = [
        [
            arm,
            number,
            "continuous, variance ratio optimal_pixel, 64 passes",
            f"1.{number}912 ± 0.0031 ± 0.0123",
            f"-0.{number}123 ± 0.0031 ± –",
            f"-0.{number}223 .. -0.{number}023",
            f"runs/digits-{arm}-seed0/eval/test-1500-continuous-0123456789ab.json",
        ]
        for number, arm in enumerate(ARMS[:count])
    ]
    return Table(heads, rows)


@pytest.mark.parametrize("width", [50, 80, 200])
def test_names_and_numbers_are_whole_at_any_width(width):
    table = comparison(2)
    text = "\n".join(printed(table, width))
    for row in table.rows:
        assert row[0] in text
        assert set(NUMBERS.findall(" ".join(map(str, row[:-1])))) <= set(NUMBERS.findall(text))


def test_texts_are_folded_and_heads_stand_above_their_numbers():
    table = Table(["arm", "smallest difference", "about"], [["[bold]", "0.25", "one two three four :x:"]], "Caption")
    assert printed(table, 35) == [
        "Caption",
        "            smallest",
        "arm       difference  about",
        "─" * 35,
        "[bold]          0.25  one two three",
        "                      four :x:",
    ]


def test_a_table_in_a_pipe_is_wide(capsys):
    print_table(comparison(2))
    assert "-0.1123 ± 0.0031 ± –  -0.1223 .. -0.1023  runs/digits-diffenc-" in capsys.readouterr().out


def test_a_document_within_a_narrow_terminal():
    inner = Section("Inner", [Table(["arm", "bpd"], [["vdm", 1.9]]), Code("diffenc compare a.json b.json")])
    page = Section("Outer", [Text("One ± 0.1 of a 5 % level."), Items(["first of two", "second"]), inner])
    assert printed(page, 10) == [
        "Outer",
        "",
        "One ± 0.1",
        "of a 5 %",
        "level.",
        "",
        "- first of",
        "two",
        "- second",
        "",
        "Inner",
        "",
        "arm  bpd",
        "────────",
        "vdm  1.9",
        "",
        "diffenc compare a.json b.json",
    ]


def test_control_characters_are_escaped():
    """Also a newline in a cell, which would make two rows of one."""
    hostile = "a\x1b[2J\u202e"
    blocks = [Text(hostile), Items([hostile]), Table(["", "b"], [[f"{hostile}\nb", hostile]], hostile), Code(hostile)]
    lines = printed(Section(hostile, blocks), 200)
    assert all(line.isprintable() for line in lines)
    assert sum("a\\x1b[2J\\u202e" in line for line in lines) == 6
    assert sum("\\nb" in line for line in lines) == 1

"""Tables and documents on terminals of several widths, in a file and in a pipe."""

import io
import re

import pytest
from rich.console import Console

from diffenc_jax.core.document import Code, Items, Section, Table, Text
from diffenc_jax.core.terminal import print_document, print_table

WIDTHS = (50, 80, 200)
ARMS = ("vdm", "diffenc-transformer", "nontrainable-8")
NUMBERS = re.compile(r"[-+]?\d+\.\d+")


def printed(block, width):
    """The lines of a block; none is wider than the terminal."""
    console = Console(file=io.StringIO(), width=width)
    print_document(block, console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return lines


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


def terms(count):
    """A table like that of `diffenc encoder-study`."""
    rows = [[arm, *(f"{sign}0.0{i}23 ± 0.00{i}1" for i in range(4))] for arm, sign in zip(ARMS[:count], "-+-")]  # noqa: B905
    return Table(["encoder", "reconstruction", "latent", "diffusion", "total"], rows, "bits/dim")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("table", [comparison(1), comparison(2), terms(2), terms(3), Table(["arm", "bpd"], [])])
def test_names_and_numbers_are_whole_at_any_width(table, width):
    text = "\n".join(printed(table, width))
    for row in table.rows:
        assert row[0] in text
        assert set(NUMBERS.findall(" ".join(map(str, row)))) <= set(NUMBERS.findall(text))


def test_a_wide_terminal_has_a_row_per_row():
    lines = printed(Table(["arm", "value", "file"], [["[bold]", "1.5", "x" * 90], ["b", "12.25", ":x:"]], "About"), 200)
    assert [line.rstrip() for line in lines] == [
        "About",
        "arm     value  file",
        "─" * 105,
        f"[bold]    1.5  {'x' * 90}",
        "b       12.25  :x:",
    ]


def test_texts_are_folded_first_and_heads_stand_above_their_numbers():
    table = Table(["arm", "smallest difference", "about"], [["vdm", "0.25", "one two three four"]])
    assert [line.rstrip() for line in printed(table, 27)] == [
        "       smallest",
        "arm  difference  about",
        "─" * 27,
        "vdm        0.25  one two",
        "                 three four",
    ]


def test_rows_become_columns_if_numbers_would_be_folded():
    assert [line.rstrip() for line in printed(terms(2), 54)] == [
        "bits/dim",
        "encoder         vdm               diffenc-transformer",
        "─" * 53,
        "reconstruction  -0.0023 ± 0.0001  +0.0023 ± 0.0001",
        "latent          -0.0123 ± 0.0011  +0.0123 ± 0.0011",
        "diffusion       -0.0223 ± 0.0021  +0.0223 ± 0.0021",
        "total           -0.0323 ± 0.0031  +0.0323 ± 0.0031",
    ]


def test_a_row_becomes_a_list_if_nothing_else_fits():
    assert printed(comparison(2), 50)[:8] == [
        "vdm",
        "  seed: 0",
        "  estimator: continuous, variance ratio",
        "    optimal_pixel, 64 passes",
        "  bits/dim ± noise ± images: 1.0912 ± 0.0031 ±",
        "    0.0123",
        "  difference ± noise ± images: -0.0123 ± 0.0031 ±",
        "    –",
    ]


def test_a_table_in_a_pipe_is_wide(capsys):
    print_table(comparison(2))
    assert "-0.1123 ± 0.0031 ± –  -0.1223 .. -0.1023  runs/digits-diffenc-" in capsys.readouterr().out


def test_a_document_within_a_narrow_terminal():
    inner = Section("Inner", [Table(["arm", "bpd"], [["vdm", 1.9]]), Code("diffenc compare a.json b.json")])
    page = Section("Outer", [Text("One ± 0.1 of a 5 % level."), Items(["first of two", "second"]), inner])
    console = Console(file=io.StringIO(), width=10)
    print_document(page, console)
    assert console.file.getvalue().splitlines() == [
        "Outer",
        "",
        "One ± 0.1",
        "of a 5 %",
        "level.",
        "",
        "- first of",
        "  two",
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

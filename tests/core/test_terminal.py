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


def many_numbers():
    """A table like that of `diffenc sample-quality`."""
    shares = " ".join(["10"] * 10)
    rows = [[f"quantity number {i}", f"0.{i}12 (p 0.{i})", f"0.{i}5", "test"] for i in range(9)]
    return Table(["", "samples", "real", "split"], [*rows, ["classes, %", f"{shares} (p 0.3)", shares, "test"]])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("table", [comparison(1), comparison(2), comparison(3), terms(2), terms(3), many_numbers()])
def test_names_and_numbers_are_whole_at_any_width(table, width):
    text = "\n".join(printed(table, width))
    for row in table.rows:
        assert row[0] in text
        assert set(NUMBERS.findall(" ".join(map(str, row)))) <= set(NUMBERS.findall(text))


@pytest.mark.parametrize("width", WIDTHS)
def test_names_of_files_are_folded_and_complete(width):
    table = comparison(1)
    text = "".join(line.strip().split("  ")[-1] for line in printed(table, width))
    assert table.rows[0][-1] in text


def test_a_wide_terminal_has_a_row_per_row(capsys):
    lines = printed(Table(["arm", "value", "file"], [["[bold]", "1.5", "x" * 90], ["b", "12.25", ":x:"]], "About"), 200)
    assert lines == [
        "About",
        "arm     value  file",
        f"──────  ─────  {'─' * 90}",
        f"[bold]    1.5  {'x' * 90}",
        "b       12.25  :x:",
    ]


def test_texts_are_folded_first():
    table = Table(["arm", "bits/dim", "about"], [["vdm", "1.8912 ± 0.0031", "one two three four"]])
    assert printed(table, 33) == [
        "arm         bits/dim  about",
        "───  ───────────────  ──────────",
        "vdm  1.8912 ± 0.0031  one two",
        "                      three four",
    ]


def test_heads_are_folded_above_their_numbers():
    table = Table(["arm", "smallest difference", "p"], [["vdm", "0.25", "0.5"]])
    assert printed(table, 21) == [
        "       smallest",
        "arm  difference    p",
        "───  ──────────  ───",
        "vdm        0.25  0.5",
    ]


def test_rows_become_columns_if_numbers_would_be_folded():
    assert printed(terms(2), 54) == [
        "bits/dim",
        "encoder         vdm               diffenc-transformer",
        "──────────────  ────────────────  ───────────────────",
        "reconstruction  -0.0023 ± 0.0001  +0.0023 ± 0.0001",
        "latent          -0.0123 ± 0.0011  +0.0123 ± 0.0011",
        "diffusion       -0.0223 ± 0.0021  +0.0223 ± 0.0021",
        "total           -0.0323 ± 0.0031  +0.0323 ± 0.0031",
    ]


def test_numbers_of_a_cell_are_folded_between_them():
    lines = printed(many_numbers(), 60)
    assert lines[2].split() == ["quantity", "number", "0", "0.012", "(p", "0.0)", "0.05", "test"]
    last = next(number for number, line in enumerate(lines) if line.startswith("classes, %"))
    assert " ".join(lines[last:]).split().count("10") == 20


def test_a_row_becomes_a_list_if_nothing_else_fits():
    assert printed(comparison(2), 50)[:10] == [
        "vdm",
        "  seed                0",
        "  estimator           continuous, variance",
        "                      ratio optimal_pixel, 64",
        "                      passes",
        "  bits/dim ± noise    1.0912 ± 0.0031 ± 0.0123",
        "  ± images",
        "  difference ± noise  -0.0123 ± 0.0031 ± –",
        "  ± images",
        "  interval            -0.0223 .. -0.0023",
    ]


def test_a_table_without_rows():
    assert printed(Table(["arm", "value"], []), 50) == ["arm  value", "───  ─────"]


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
        "───  ───",
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

"""Documents as Markdown that reads as plain text, on narrow terminals, in a file and in a pipe."""

import io

import pytest
from rich.console import Console

from diffenc_jax.core.document import Code, Items, Section, Table, Text, numeric_columns
from diffenc_jax.core.terminal import print_document

TABLE = Table(["arm", "bpd", "about"], [["vdm", "1.8912 ± 0.0031", "[bold] :x:"], ["diffenc", 12.25, ""]], "By arm")


def printed(block, width):
    """The lines of a block."""
    console = Console(file=io.StringIO(), width=width)
    print_document(block, console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


FOLDED = """# Outer

One ± 0.1
of a 5 %
level.

- first of
two
- three

## Inner

By arm

| arm     |             bpd | about      |
| ------- | --------------: | ---------- |
| vdm     | 1.8912 ± 0.0031 | [bold] :x: |
| diffenc |           12.25 |            |

    diffenc eval runs
    diffenc compare runs"""


def test_text_is_folded_and_tables_and_code_are_not():
    inner = Section("Inner", [TABLE, Code("diffenc eval runs\ndiffenc compare runs")])
    blocks = [Text("One ± 0.1 of a 5 % level."), Items(["first of two", "three"]), inner]
    assert "\n".join(printed(Section("Outer", blocks), 10)) == FOLDED


COLUMNS = [
    (["1.8912 ± 0.0031 ± –", "", "1.2 .. 1.3", "3e-05", "-inf", "nan"], True),
    (["64 or 32", "8,000,000", 17, "1.9 (0.25)", "100.0 %", "0.5 (p 0.3)", "0.987 (z -1.2)"], True),
    ([], True),
    (["1.9", "vdm"], False),
    (["1500-depth250"], False),
]


@pytest.mark.parametrize(("cells", "numeric"), COLUMNS)
def test_columns_of_numbers(cells, numeric):
    assert numeric_columns(Table(["name", "value"], [["1", cell] for cell in cells])) == [False, numeric]


def test_text_in_a_pipe_is_wide(capsys):
    print_document(Text("word " * 35))
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_control_characters_are_escaped():
    """Also a newline in a cell, which would make two rows of one."""
    hostile = "a\x1b[2J\u202e"
    blocks = [Text(hostile), Items([hostile]), Table(["", "b"], [[f"{hostile}\nb", hostile]], hostile), Code(hostile)]
    lines = printed(Section(hostile, blocks), 200)
    assert all(line.isprintable() for line in lines)
    assert sum("a\\x1b[2J\\u202e" in line for line in lines) == 6
    assert sum("\\nb" in line for line in lines) == 1

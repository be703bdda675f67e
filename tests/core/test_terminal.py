"""Documents on terminals of several widths, in a file and in a pipe."""

import io

from rich.console import Console

from diffenc_jax.core.document import Code, Items, Section, Table, Text
from diffenc_jax.core.terminal import print_document

TABLE = Table(["arm", "bits/dim ± noise ± images", "about"], [["vdm", "1.8912 ± 0.0031 ± 0.0123", "[bold] :x:"]])


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

| arm | bits/dim ± noise ± images | about      |
| --- | ------------------------: | ---------- |
| vdm |  1.8912 ± 0.0031 ± 0.0123 | [bold] :x: |

    diffenc eval runs"""


def test_text_is_folded_and_tables_and_code_are_not():
    blocks = [Text("One ± 0.1 of a 5 % level."), Items(["first of two"]), TABLE, Code("diffenc eval runs")]
    assert "\n".join(printed(Section("Outer", blocks), 10)) == FOLDED


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

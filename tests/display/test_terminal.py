"""Tables on a terminal, in a file and in a pipe."""

from diffenc_jax.display.document import Table
from diffenc_jax.display.terminal import make_console, print_table


def test_a_wide_table_is_whole_where_there_is_no_terminal(capsys):
    print_table(Table(["arm", "value", "file"], [["[bold]", "1.5", "x" * 90], ["b", "12.25", "y"]], "A caption"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "A caption"
    row = next(line for line in lines if "[bold]" in line)
    assert "x" * 90 in row
    assert row.index("1.5") + len("1.5") == next(line for line in lines if "12.25" in line).index("12.25") + 5


def test_a_narrow_console_folds_text_but_no_numbers(capsys):
    console = make_console()
    console.width = 40
    print_table(Table(["a", "value", "file"], [["b", "1.8912 ± 0.0031", "z" * 40]]), console)
    assert "1.8912 ± 0.0031" in capsys.readouterr().out

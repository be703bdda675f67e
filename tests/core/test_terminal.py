"""Numbers, texts and tables as Markdown that reads as plain text, on terminals, in files and in a pipe."""

import io
import json

import pytest
from rich.console import Console

from diffenc_jax.core import numbers, terminal
from diffenc_jax.core.document import Code, Items, Section, Table, Text, numeric_columns, read_table, stored_table
from diffenc_jax.core.errors import InputError, require_printable
from diffenc_jax.core.text import has_controls, printable, printable_lines

TABLE = Table(["arm", "bpd", "about"], [["vdm", "1.8912 ± 0.0031", "[bold] :x:"], ["diffenc", 12.25, ""]], "By arm")


def printed(block, width):
    """The lines of a block."""
    console = Console(file=io.StringIO(), width=width)
    terminal.print_document(block, console)
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
    terminal.print_document(Text("word " * 35))
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_control_characters_are_escaped():
    """Also a newline in a cell, which would make two rows of one."""
    hostile = "a\x1b[2J\u202e"
    blocks = [Text(hostile), Items([hostile]), Table(["", "b"], [[f"{hostile}\nb", hostile]], hostile), Code(hostile)]
    lines = printed(Section(hostile, blocks), 200)
    assert all(line.isprintable() for line in lines)
    assert sum("a\\x1b[2J\\u202e" in line for line in lines) == 6
    assert sum("\\nb" in line for line in lines) == 1


def record(noise=0.1, images=0.2, total=0.3):
    errors = {"noise": noise, "images": images, "total": total}
    terms = {"latent": dict(errors)}
    described = {"step": 7, "dataset": {"split": "test"}, "estimator": {"kind": "bound", "depth": None}}
    return described | {"bpd": {"total": 2.0, "latent": 0.5}, "standard_error": errors | {"terms": terms}}


TEXTS = [
    (record(), "2.0000 ± 0.1000 (noise) ± 0.2000 (images) bits/dim"),
    (record(noise=None, images=None), "2.0000 ± 0.3000 (images and noise) bits/dim"),
    (record(images=None, total=None), "2.0000 ± 0.1000 (noise) bits/dim"),
    (record(None, None, None), "2.0000 bits/dim"),
    (record(images=None, total=0.1), "2.0000 ± 0.1000 (noise) ± 0.1000 (images and noise) bits/dim"),
    (record(noise=2e-5), "2.0000 ± 2e-05 (noise) ± 0.2000 (images) bits/dim"),
]


@pytest.mark.parametrize(("given", "text"), TEXTS)
def test_a_records_errors_are_named(given, text):
    assert numbers.format_record(given) == f"{text}, bound, infinite depth"
    assert numbers.format_terms(given) == [("latent", text.replace("2.0", "0.5", 1).removesuffix(" bits/dim"))]


def test_a_number_says_what_it_is():
    text = numbers.format_record(record()).removesuffix("bound, infinite depth")
    for estimator, what in (
        ({"kind": "bound", "depth": None, "labels": True}, "bound, infinite depth, each image given its label"),
        ({"kind": "bound", "depth": 20}, "bound, 20 steps"),
        ({"kind": "importance_weighted", "num_draws": 8, "depth": None}, "importance weighted"),
        ({"kind": "ode"}, "ODE, another model than the bound's"),
    ):
        assert numbers.format_record(record() | {"estimator": estimator}) == text + what
    assert numbers.record_line(record()) == f"step 7: test {numbers.format_record(record())}, averaged parameters"


def test_unknown_values_have_one_sign():
    assert numbers.with_error(1.89124, 0.00312, None) == "1.8912 ± 0.0031"
    unknown = numbers.format_number(None), numbers.format_interval(None), numbers.with_error(None, None)
    assert set(unknown) == {numbers.UNKNOWN}
    assert numbers.format_interval((1.25, 1.5)) == "1.2500 .. 1.5000"


DURATIONS = [(0.4, "0 s"), (59.4, "59 s"), (59.6, "0:01:00"), (3723.0, "1:02:03"), (2 * 86_400 + 12_000, "2 d 3:20:00")]


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations_are_rounded_to_seconds(seconds, text):
    assert numbers.format_duration(seconds) == text


MEAN = numbers.with_error(1.83468, 0.0039083)
VALUES = Table(["arm", "mean", "seeds"], [["vdm", MEAN, 5], ["none", numbers.UNKNOWN, 0]])


def test_printed_tables_are_stored_with_unrounded_numbers(tmp_path, monkeypatch, capsys):
    """A table without a caption is named by its section."""
    path = tmp_path / "tables.jsonl"
    monkeypatch.setenv(terminal.TABLES, str(path))
    other = Table(["", "ms"], [["step", numbers.Figure("{:.2g}", 0.123456)]], "Time", "ms")
    terminal.print_document(Section("All", [Section("Values", [Text("Of 5 seeds."), VALUES]), other]))
    assert "| vdm  | 1.8347 ± 0.0039 |     5 |" in capsys.readouterr().out
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first["rows"][0] == ["vdm", ["{:.4f} ± {:.4f}", 1.83468, 0.0039083], 5]
    assert (first["caption"], second["caption"], second["unit"]) == ("Values. Of 5 seeds.", "Time", "ms")
    assert read_table(first) == VALUES._replace(caption="Values. Of 5 seeds.")
    assert stored_table(read_table(second)) == second


HOSTILE = ("\x00", "\t", "\n", "\r", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066", "\udcff")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_each_control_character_is_escaped(hostile):
    shown = printable(f"a{hostile}b")
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert shown[1:-1].encode().decode("unicode_escape") == hostile
    assert has_controls({"a": [1, {hostile: None}]})
    assert has_controls(["x", f"{hostile}y"])


@pytest.mark.parametrize("text", ["\n", "spä".encode().decode("ascii", "surrogateescape")])
def test_texts_with_control_characters_or_bytes_of_another_encoding_are_refused(text):
    with pytest.raises(InputError, match=r"^data.source='[a-z\\0-9]*' has control characters; leave them out"):
        require_printable(text, "data.source")


def test_other_characters_stay():
    text = "γ = 1.5 ± 0.1, 数字 \u3000 e\u0301 \\n 'x'"
    assert printable(text) == text
    assert not has_controls({text: [text, 3, None, {"a": 1.5}]})
    assert printable_lines("a\n\x1bb\n") == "a\n\\x1bb\n"

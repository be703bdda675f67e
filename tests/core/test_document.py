"""Tables as data: what is printed can be stored, and read back with its numbers."""

import json

from diffenc_jax.core import terminal
from diffenc_jax.core.document import Section, Table, Text, read_table, stored_table
from diffenc_jax.core.numbers import UNKNOWN, Figure, with_error

VALUES = Table(["arm", "mean", "seeds"], [["vdm", with_error(1.83468, 0.0039083), 5], ["none", UNKNOWN, 0]])


def test_printed_tables_are_stored_with_unrounded_numbers(tmp_path, monkeypatch, capsys):
    """A table without a caption is named by its section."""
    path = tmp_path / "tables.jsonl"
    monkeypatch.setenv(terminal.TABLES, str(path))
    other = Table(["", "ms"], [["step", Figure("{:.2g}", 0.123456)]], "Time", "ms")
    terminal.print_document(Section("All", [Section("Values", [Text("Of 5 seeds."), VALUES]), other]))
    assert "| vdm  | 1.8347 ± 0.0039 |     5 |" in capsys.readouterr().out
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first["rows"][0] == ["vdm", ["{:.4f} ± {:.4f}", 1.83468, 0.0039083], 5]
    assert (first["caption"], second["caption"], second["unit"]) == ("Values. Of 5 seeds.", "Time", "ms")
    assert read_table(first) == VALUES._replace(caption="Values. Of 5 seeds.")
    assert stored_table(read_table(second)) == second

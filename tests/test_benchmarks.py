"""The timing benchmarks print one record and compare it with an earlier one."""

import importlib
import json
from argparse import Namespace
from pathlib import Path

import records

from diffenc_jax.__main__ import execute
from tests import ROOT


def test_records_are_kept_and_compared(tmp_path, capsys):
    """The ratio is to the last line of the baseline, which may be of another benchmark."""
    file = str(tmp_path / "records.jsonl")
    first, second = ({**records.spread("step_seconds", [x - 1, x, x + 1]), "steps": 5} for x in (4.0, 3.0))
    assert first == {"step_seconds": 4.0, "step_seconds_quartiles": [3.5, 4.5], "steps": 5}
    records.finish(first, records.earlier(Namespace(json=file, baseline=None)), Namespace(json=file))
    records.append(file, second)
    records.finish(first, records.earlier(Namespace(json=None, baseline=file)), Namespace(json=None))
    out, error = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [first, first]
    assert error == "step_seconds: 4 / 3 = 1.333\n"
    assert [json.loads(line) for line in Path(file).read_text().splitlines()] == [first, second]


def test_every_script_imports_and_has_help(capsys):
    for name in sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")):
        benchmark = importlib.import_module(name)
        if hasattr(benchmark, "EXAMPLE"):
            assert execute(benchmark, f"python benchmarks/{name}.py", ["--help"]) == 0
            assert f"example:\n  python benchmarks/{name}.py " in capsys.readouterr().out

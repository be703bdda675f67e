"""Make the tables of docs/results-*.md and README.md, and some pictures, and write them into the pages.

  make     run the commands of results in --work, keep their tables in docs/results/NAME.json, and write the pages
  write    put the tables of docs/results into the pages, between <!-- NAME --> and <!-- end of NAME -->

Without names, all results are made, on CPUs, which takes hours. A command that has ended is not run again, and an
interrupted command resumes, so after Ctrl-C the same call goes on. Every result has the commits at which its commands
were run, and uncommitted changes are refused. `peers` needs DIR/DiffEnc, a checkout of
https://github.com/bemigini/DiffEnc; `parity` needs DIR/reference, arrays of that code with gradients, of which
tests/reference has a part; those of TPUs and GPUs need pip install '.[tpu]' and '.[cuda]', and `gpu-jax-0.12`
JAX 0.12 (Python 3.12 or later).
"""

import argparse
import json
import math
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import recipe_charts
import records
import truth_charts
from experiments import EXPERIMENTS, Step
from overview import overview

from diffenc_jax.core.document import Code, Table, Text, markdown
from diffenc_jax.core.errors import InputError, RunError, lookup, require
from diffenc_jax.lab.figures.charts import draw
from diffenc_jax.lab.figures.style import figure_bytes

EXAMPLE = "python benchmarks/results.py make digits --work=results"
ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs/results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("results-*.md"))]
OVERVIEW = "overview"  # the mark of a table of all results
LINE = 110  # columns of a command in a page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("make", "write"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="results (default: all)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of the runs and outputs, for make")


def run(arguments: argparse.Namespace) -> None:
    chosen = {name: lookup("result", name, EXPERIMENTS) for name in arguments.names or EXPERIMENTS}
    if arguments.action == "make":
        require(arguments.work is not None, "--work is missing; give --work=DIR")
        require(not commit().endswith("+"), "the checkout has uncommitted changes; commit them first")
        for name, steps in chosen.items():
            made = make(name, steps, arguments.work.absolute())
            DATA.mkdir(parents=True, exist_ok=True)
            (DATA / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n")
    found = measured()
    for path in PAGES:
        path.write_text(written(path.read_text(), found, data_from(path)))
    charts = {name: draw(chart, chart.caption) for name, chart in recipe_charts.charts(found).items()}
    for name, figure in {**charts, **truth_charts.figures(found)}.items():
        (ROOT / f"pictures/{name}.png").write_bytes(figure_bytes(figure, "png"))


def commit() -> str:
    """The commit of this checkout, with a '+' if files other than documents and pictures differ from it."""
    return records.commit(apart_from=("docs", "pictures", "README.md")) or "unknown"


def make(name: str, steps: Sequence[Step], work: Path) -> list[dict[str, Any]]:
    """The records of the steps of a result, after those that have not ended yet have run."""
    (work / "logs").mkdir(parents=True, exist_ok=True)
    examples = work / "examples"
    if not examples.exists():
        examples.unlink(missing_ok=True)  # of a checkout that is gone
        examples.symlink_to(ROOT / "examples")
    return [record_of(step, work, work / f"logs/{name}-{number}") for number, step in enumerate(steps)]


def record_of(step: Step, work: Path, log: Path) -> dict[str, Any]:
    """The record of a step: its command, what it was run by, its tables and sources.

    It is kept in `log`.json, and the command's output in `log`.out. A step whose command is that of the record and has
    ended is not run again.
    """
    path, output = log.with_suffix(".json"), log.with_suffix(".out")
    record = json.loads(path.read_text()) if path.exists() else {}
    if record.get("command") != step.command:
        record = {"command": step.command, "commits": [], "seconds": 0.0, "ended": None}
    if record["ended"] is None:
        execute(step, record, work, path, output)
        record["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        record["machine"] = records.machine()
        record["tables"] = [table._asdict() for table in step.read(work, output.read_text())]
        record["sources"] = {source: (work / source).read_text() for source in step.sources}
        path.write_text(json.dumps(record))
    return record


def execute(step: Step, record: dict[str, Any], work: Path, path: Path, output: Path) -> None:
    """Run the command of a step, and add this commit and its seconds to the record. Raises RunError if it fails."""
    record["commits"] = sorted({*record["commits"], commit()})
    path.write_text(json.dumps(record))  # a process that is killed has left its commit
    print(step.command, file=sys.stderr, flush=True)
    start = time.monotonic()
    try:
        with output.open("w") as file:
            done = subprocess.run(program(step.command), cwd=work, stdout=file)
        if done.returncode:
            raise RunError(f"status {done.returncode} of {step.command}; its output is in {output}")
    finally:
        record["seconds"] += time.monotonic() - start
        path.write_text(json.dumps(record))


def program(command: str) -> list[str]:
    """The words of a command, in which the programs are those of this checkout."""
    first, *words = shlex.split(command)
    words = [str(ROOT / word) if word.startswith("benchmarks/") else word for word in words]
    return [sys.executable, *(["-m", "diffenc_jax"] if first == "diffenc" else []), *words]


def data_from(page: Path) -> str:
    """The folder of the results from that of a page."""
    return os.path.relpath(DATA, page.parent)


def written(page: str, found: dict[str, list[dict[str, Any]]], data: str = "results") -> str:
    """A page with the results `found` between their marks. Raises InputError if a mark or a result is missing.

    Args:
      data: folder of the results from that of the page.
    """
    for name in marks(page):
        before, opening, rest = page.partition(f"<!-- {name} -->\n")
        _, closing, after = rest.partition(f"<!-- end of {name} -->")
        if not closing:
            raise InputError(f"<!-- end of {name} --> is missing")
        text = markdown(overview(found)) if name == OVERVIEW else shown(name, found, data)
        page = f"{before}{opening}\n{text}\n\n{closing}{after}"
    return page


def measured() -> dict[str, list[dict[str, Any]]]:
    """The steps of all results that are in the repository, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DATA.glob("*.json"))}


def marks(page: str) -> list[str]:
    """The names of the results of a page."""
    return [line[5:-4] for line in page.splitlines() if line.startswith("<!-- ") and not line.startswith("<!-- end ")]


def shown(name: str, found: dict[str, list[dict[str, Any]]], data: str) -> str:
    """Markdown of a result, folded: its commands, each followed by its tables, and what they were made by."""
    require(name in found, f"{DATA}/{name}.json is missing; run python benchmarks/results.py make {name} --work=DIR")
    blocks: list[Any] = []
    for step in found[name]:
        blocks += [Code(broken(step["command"])), *(Table(**table) for table in step["tables"])]
    opening = f'<details markdown="1">\n<summary>Tables and commands of <code>{name}</code></summary>'
    blocks = [Text(opening), *joined(blocks), Text(provenance(name, found[name], data)), Text("</details>")]
    return "\n\n".join(map(markdown, blocks))


def joined(blocks: list[Any]) -> list[Any]:
    """The blocks, with commands that follow each other in one."""
    found: list[Any] = []
    for block in blocks:
        if found and isinstance(block, Code) and isinstance(found[-1], Code):
            block = Code(f"{found.pop().text}\n{block.text}")
        found.append(block)
    return found


def provenance(name: str, steps: list[dict[str, Any]], data: str) -> str:
    """'`name`: commit 1234567; 27 November 2026, 2 cores of ..., jax 0.10.2, 12 minutes; data.'"""
    commits = sorted({commit[:7] for step in steps for commit in step["commits"]})
    machines = dict.fromkeys(
        f"{plural(step['machine']['cores'], 'core')} of {step['machine']['processor']}, "
        f"jax {step['machine']['software']['jax']}"
        for step in steps
    )
    ended = datetime.fromisoformat(max(step["ended"] for step in steps))
    at = f"`{name}`: commit{'s' * (len(commits) > 1)} {', '.join(commits)}; {ended.day} {ended:%B %Y}"
    return f"{at}, {' and '.join(machines)}, {minutes(steps)}; [data]({data}/{name}.json)."


def minutes(steps: Sequence[dict[str, Any]]) -> str:
    return plural(math.ceil(sum(step["seconds"] for step in steps) / 60), "minute")


def plural(number: int, unit: str) -> str:
    return f"{number} {unit}{'s' * (number != 1)}"


def broken(command: str) -> str:
    """A command in lines of at most `LINE` columns, where its words allow it. Words in quotes stay whole."""
    lines = [""]
    for word in re.findall(r"(?:'[^']*'|[^' ])+", command):
        if lines[-1] and len(f"{lines[-1]} {word} \\") > LINE:
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return " \\\n".join(lines)


if __name__ == "__main__":
    records.run_script()

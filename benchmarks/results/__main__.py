"""Measure results, and draw README.md, docs/results-*.md and some pictures from them.

`make` runs the commands of results in --work, keeps their tables in docs/results/NAME.json, and draws all pages.
`write` draws all pages from docs/results.

Without names, all results are made, on CPUs, which takes days. A command that has ended is not run again, and an
interrupted command resumes, so after Ctrl-C the same call goes on. NAME:2 is the second command of a result alone. A
result has the commits at which its commands ran, and uncommitted changes are refused. `peers` needs DIR/DiffEnc, a
checkout of https://github.com/bemigini/DiffEnc; `parity` needs DIR/reference, arrays of that code with gradients, of
which tests/reference has a part; those of TPUs and GPUs need pip install '.[tpu]' and '.[cuda]', and `gpu-jax-0.12`
JAX 0.12 (Python 3.12 or later).
"""

import argparse
import sys
from pathlib import Path

import charts
import pages
from measure import EXPERIMENTS, commit, make
from result import ROOT, measured

from diffenc_jax.__main__ import execute
from diffenc_jax.core.errors import require
from diffenc_jax.lab.figures.style import figure_bytes

EXAMPLE = "python benchmarks/results make digits --work=results"
ON_INTERRUPT = "the same command goes on with what has not ended"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("results-*.md"))]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("make", "write"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="results, or NAME:N, one command (default: all)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of the runs and outputs, for make")


def run(arguments: argparse.Namespace) -> None:
    if arguments.action == "make":
        require(arguments.work is not None, "--work is missing; give --work=DIR")
        require(not commit().endswith("+"), "the checkout has uncommitted changes; commit them first")
        for name in arguments.names or EXPERIMENTS:
            result, _, number = name.partition(":")
            make(result, number, arguments.work.absolute())
    results = measured()
    for path in PAGES:
        path.write_text(pages.drawn(path, results))
    for name, figure in charts.figures(results).items():
        (ROOT / f"pictures/{name}.png").write_bytes(figure_bytes(figure, "png"))


if __name__ == "__main__":
    sys.exit(execute(sys.modules["__main__"], "python benchmarks/results", sys.argv[1:]))

"""Train, evaluate or sample: the launcher of job scripts.

`--mode=train`, `eval` and `sample` do the same as `diffenc train`, `diffenc eval` and `diffenc sample`.
"""

import argparse
import sys
from collections.abc import Sequence

from diffenc_jax.__main__ import execute
from diffenc_jax.commands import evaluate, sample, train
from diffenc_jax.core import output
from diffenc_jax.core.errors import require

EXAMPLE = "python -m diffenc_jax.main --config=configs/digits.py:vdm --workdir=runs/vdm --config.train.steps=500"
ON_INTERRUPT = "the same command continues from what is saved"
MODES = {"train": train, "eval": evaluate, "sample": sample}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mode", choices=MODES, default="train", help="what to do")
    train.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int | None:
    for flag in ("overwrite", "profile", "no-samples"):
        given = bool(getattr(arguments, flag.replace("-", "_")))
        require(arguments.mode == "train" or not given, f"--{flag} is for --mode=train; leave it out")
    return MODES[arguments.mode].run(arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the launcher with the arguments `argv`, by default the process's own; returns the exit code."""
    if argv is None:
        output.go_on_without_output()
    words = sys.argv[1:] if argv is None else argv
    return execute(sys.modules[__name__], "python -m diffenc_jax.main", words, computes=argv is None)


if __name__ == "__main__":
    sys.exit(main())

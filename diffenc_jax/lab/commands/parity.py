"""Compare this code with the published code, on arrays that the published code computed.

A file holds the inputs and outputs of a published model: images, times, noise and parameters; losses, network outputs,
a sampling step and gradients. The largest relative error of each quantity is printed. The exit code is 1 if an error
exceeds its limit: 1e-4, and 5e-4 for gradients. tests/reference in the repository has such files.
"""

import argparse
from pathlib import Path

from etils import epy

with epy.lazy_imports():  # help does without
    from diffenc_jax.lab.interop import parity

EXAMPLE = "diffenc parity tests/reference/vdm.npz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz", help="reference arrays")


def run(arguments: argparse.Namespace) -> int:
    agreements = list(map(parity.report_file, arguments.files))
    return 0 if all(agreements) else 1

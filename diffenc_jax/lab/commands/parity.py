"""Compare this code with the published code, on arrays that the published code computed.

A file holds the inputs and outputs of a published model: images, times, noise and parameters; losses, network outputs,
a sampling step and gradients. Prints the relative error of each quantity, and the largest of all gradients. The exit
code is 1 if an error exceeds its limit: 1e-4, and 5e-4 for gradients. tests/reference in the repository has such files.
"""

import argparse
from pathlib import Path

from etils import epy

with epy.lazy_imports():  # help does without
    from diffenc_jax.core import terminal
    from diffenc_jax.lab.interop import parity

EXAMPLE = "diffenc parity tests/reference/vdm.npz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.npz", help="reference arrays")


def run(arguments: argparse.Namespace) -> int:
    errors = {str(path): parity.errors_of(path) for path in arguments.files}
    stems = [path.stem for path in arguments.files]
    names = stems if len(set(stems)) == len(errors) else errors
    terminal.print_document(parity.table_of(dict(zip(names, errors.values(), strict=True))))
    failed = [(path, one) for path, each in errors.items() for one in each if not one.passes]
    for path, one in failed:
        print(f"{path}: {one.name} has the error {one.relative:.1e}, beyond its limit")
    return 1 if failed else 0

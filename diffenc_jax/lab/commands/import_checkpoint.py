"""Turn a published checkpoint into a workdir.

CHECKPOINT is a file that the code of DiffEnc (bemigini/DiffEnc) or VDM (google-research/vdm) saved. Its averaged
parameters are converted. The configuration must describe the model of the checkpoint: parameters that do not fit are
named, and nothing is written. `diffenc eval` and `diffenc sample` take the same --config and --workdir. Training cannot
continue from it.
"""

import argparse
from pathlib import Path

from etils import epy

from diffenc_jax.commands.options import add_config, add_workdir, load_arguments_config, workdir_of

with epy.lazy_imports():  # help does without
    from diffenc_jax.lab.interop import convert

EXAMPLE = "diffenc import-checkpoint checkpoint_8000000 --config=cifar10:diffenc"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="file of the published code")
    add_config(parser)
    add_workdir(parser)


def run(arguments: argparse.Namespace) -> None:
    config = load_arguments_config(arguments)
    print(convert.import_checkpoint(arguments.checkpoint, config, workdir_of(arguments, config)))

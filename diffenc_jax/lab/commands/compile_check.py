"""Compile a training step for TPU slices, on a machine without a TPU, and print what it needs.

Compiles the step of a configuration with the real TPU compiler, for one or several hosts or slices, and prints the
memory per chip and whether it suffices, or the first setting with which it does, FLOPs, bytes and cycles per chip and
step, the time that the FLOPs take at the chip's published peak, and the time to compile. A chip of tpu7x is two devices
for JAX, and the numbers are those of one. Several slices share the batch, and mesh.fsdp shards within a slice. Needs
pip install 'diffenc_jax[tpu]', and no images unless data.source is a path. Takes minutes to an hour, with --quick a
fifth of it or less. Exits with 1 if a chip's memory does not suffice.
"""

import os
from argparse import ArgumentParser, Namespace

from diffenc_jax.commands.arguments import add_config, add_json, load_arguments_config, positive, writable_file

EXAMPLE = "diffenc compile-check --config=cifar10:diffenc --topology=v5e:2x2 --quick"


def add_arguments(parser: ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--topology", required=True, help="slice to compile for: v5e:2x2, v5p:2x2x1, v6e:4x4, tpu7x:2x2x1, ..."
    )
    parser.add_argument("--slices", type=positive, default=1, metavar="N", help="number of such slices")
    parser.add_argument("--batch", type=positive, metavar="N", help="images per step (default: train.batch_size)")
    parser.add_argument(
        "--quick", action="store_true", help="compile without the search for the fastest kernels, which is much faster"
    )
    add_json(parser, "the numbers")


def run(arguments: Namespace) -> int:
    os.environ["JAX_PLATFORMS"] = "cpu"  # nothing is run; a TPU of this machine is left to others
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # JAX cannot load programs for absent devices
    from diffenc_jax.lab.costs.compile_check import measure_step, step_lines
    from diffenc_jax.runs.files import write_json

    if arguments.batch is not None:
        arguments.overrides.append(f"train.batch_size={arguments.batch}")
    config = load_arguments_config(arguments)
    path = writable_file("json", arguments.json)
    measured = measure_step(config, arguments.topology, arguments.slices, arguments.quick)
    if path is not None:
        write_json(path, measured)
    print(*step_lines(measured), sep="\n")
    return int(not measured["fits"])

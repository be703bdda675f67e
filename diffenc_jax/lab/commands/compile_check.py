"""Compile a training step for TPU slices or GPUs, on a machine without them, and print its costs.

Compiles the step of a configuration with the real TPU or GPU compiler, for one or several hosts or slices. Prints the
memory per device and, if it does not suffice, the settings that lower it; FLOPs, kernels, bytes moved by kernels and,
for TPUs, cycles; the least time for each of these; and a table of the work by part of the step. All numbers are per
device: a card, a chip, or half a chip of tpu7x, which is two devices for JAX. Several slices share the batch, and
mesh.fsdp shards within a slice. Needs pip install 'diffenc_jax[tpu]' or 'diffenc_jax[cuda]', and no images unless
data.source is a path. Takes a minute or two for GPUs, and minutes to an hour for TPUs; with --quick a fifth of this
time or less. Exits with 1 if the memory does not suffice.
"""

import os
from argparse import ArgumentParser, Namespace

from etils import epy

from diffenc_jax.commands.options import add_config, add_json, load_arguments_config, positive, writable_file

with epy.lazy_imports():  # after `run` has set the environment
    from diffenc_jax.core import terminal
    from diffenc_jax.lab.costs import compile_check
    from diffenc_jax.runs import files

EXAMPLE = "diffenc compile-check --config=cifar10:diffenc --topology=v5e:2x2 --quick"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add_config(parser)
    topology = "TPU slice, v5e:2x2, v5p:2x2x1, v6e:4x4, ..., or GPUs, h100:8, on two hosts h100:2x8, a100:1, l4:1, ..."
    add("--topology", required=True, metavar="NAME", help=topology)
    add("--slices", type=positive, default=1, metavar="N", help="number of such TPU slices")
    add("--batch", type=positive, metavar="N", help="images per step (default: train.batch_size)")
    quick = "for TPUs, compile without the search for the fastest kernels, which is much faster"
    add("--quick", action="store_true", help=quick)
    add_json(parser, "the numbers")


def run(arguments: Namespace) -> int:
    os.environ["JAX_PLATFORMS"] = "cpu"  # nothing is run; an accelerator of this machine is left to others
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # the GPU compiler prints lines where a program is too large
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # JAX cannot load programs for absent devices
    if arguments.batch is not None:
        arguments.overrides.append(f"train.batch_size={arguments.batch}")
    config = load_arguments_config(arguments)
    path = writable_file("json", arguments.json)
    measured = compile_check.measure_step(config, arguments.topology, arguments.slices, arguments.quick)
    if path is not None:
        files.write_json(path, measured)
    print(*compile_check.step_lines(measured), sep="\n")
    if measured["fits"]:
        print()
        terminal.print_document(compile_check.work_table(measured))
    return int(not measured["fits"])

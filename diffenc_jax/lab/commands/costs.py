"""Measure the costs of a training step: parameters, FLOPs, memory and time.

Compiles the training step of a configuration, times --steps steps on all devices of this machine, and prints the costs.
Needs the training images, which are downloaded if necessary.
"""

from argparse import ArgumentParser, Namespace

from etils import epy

from diffenc_jax.commands.options import add_config, add_json, load_arguments_config, positive, writable_file

with epy.lazy_imports():  # help needs none of them
    from diffenc_jax.lab.costs import load, training_step
    from diffenc_jax.runs import files

EXAMPLE = "diffenc costs --config=digits:vdm --config.train.batch_size=64"


def add_arguments(parser: ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--steps", type=positive, default=20, metavar="N", help="number of timed steps")
    add_json(parser, "the costs")


def run(arguments: Namespace) -> None:
    config = load_arguments_config(arguments)
    path = writable_file("json", arguments.json)
    costs = training_step.measure_costs(config, arguments.steps)
    if path is not None:
        files.write_json(path, costs)
    parts = ", ".join(f"{name} {number:,}" for name, number in costs["params_by_part"].items())
    state, temporaries = costs["memory_of_state"] / 1e6, costs["memory_of_temporaries"] / 1e6
    lower, upper = costs["seconds_per_step_quartiles"]
    print(f"{config.name}, {config.arm}: batch {costs['batch_size']}, {costs['dtype']}, {costs['device']}")
    print(f"parameters: {costs['params']:,} ({parts})")
    print(f"FLOPs: {costs['flops_per_step']:.4g} per step, {costs['train_flops']:.4g} in {costs['steps']:,} steps")
    print(f"memory per device: state and batch {state:,.1f} MB, temporaries {temporaries:,.1f} MB")
    print(f"time: {costs['seconds_per_step']:.4g} s per step (quartiles {lower:.4g} and {upper:.4g})")
    print(f"compilation: {costs['compile_seconds']:.1f} s")
    if loaded := load.upper_bounds({config.arm: costs["cpu_share_of_others"]}):
        print(loaded)

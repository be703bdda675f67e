"""What a training step of a configuration costs: parameters, FLOPs, memory and time.

python -m diffenc_jax.costs --config=configs/digits.py[:arm] [--steps=20] [--json=FILE] [--config.key=value ...]

Compiles the training step, times `--steps` of them on training images, prints what they cost and writes it to FILE;
see `train.cost.measure`.
"""

import json
from typing import Any

from absl import app, flags, logging

from diffenc_jax import cli, memory
from diffenc_jax.config import require
from diffenc_jax.errors import InputError
from diffenc_jax.workdir import replace

STEPS = flags.DEFINE_integer("steps", 20, "How many steps are timed.", lower_bound=1)
JSON = flags.DEFINE_string("json", None, "File for what is measured.")
flags.declare_key_flag("config")  # --help shows it


def lines(cost: dict[str, Any]) -> list[str]:
    """`cost`, as `train.cost.measure` gives it, to be read."""
    parts = ", ".join(f"{name} {number:,}" for name, number in cost["params_by_part"].items())
    lower, upper = cost["seconds_per_step_quartiles"]
    state, temporaries = cost["memory_of_state"], cost["memory_of_temporaries"]
    return [
        f"{cost['config']}, {cost['arm']}: batch {cost['batch_size']}, {cost['dtype']}, {cost['device']}",
        f"parameters: {cost['params']:,} ({parts})",
        f"FLOPs: {cost['flops_per_step']:.4g} a step, {cost['train_flops']:.4g} in {cost['steps']:,} steps",
        f"memory: {_megabytes(cost['memory_per_step'])} a device "
        f"(state and batch {_megabytes(state)}, temporaries {_megabytes(temporaries)})",
        f"time: {cost['seconds_per_step']:.4g} s a step (median of {cost['timed_steps']}, quartiles {lower:.4g} and "
        f"{upper:.4g}), {cost['compile_seconds']:.1f} s to compile",
    ]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def main(_: list[str]) -> None:
    """Measures, writes and prints."""
    from diffenc_jax.train.cost import measure

    logging.set_verbosity(logging.ERROR)  # what matters we say ourselves
    try:
        require(cli.WORKDIR.value is None, "--workdir is not read: nothing is kept but --json=FILE")
        path = cli.writable_file("json", JSON.value)
        cost = measure(cli.CONFIG.value, STEPS.value)
    except InputError as error:
        cli.fail(str(error))
    if path:
        replace(path, json.dumps(cost, indent=1) + "\n")
    print(*lines(cost), sep="\n")


if __name__ == "__main__":
    memory.prepare()
    app.run(main, flags_parser=cli.parse)

"""Costs of a step: measured and printed."""

import json

import jax
import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.lab.costs.load import SMALLEST
from diffenc_jax.lab.costs.training_step import measure_costs
from diffenc_jax.train.flops import count
from diffenc_jax.train.program import TrainingProgram
from tests import tiny
from tests.stored_runs import write_images


@pytest.mark.slow
def test_costs_are_those_of_the_step(tmp_path):
    """Memory is the state and temporaries that grow with the batch."""
    path, temporaries = write_images(tmp_path / "images.npz"), []
    for size in (8, 32):
        config = tiny.config("vdm", small=True, data__source=str(path), train__batch_size=size)
        cost, counts = measure_costs(config, timed_steps=4), count(config, tiny.SPEC)
        leaves = jax.tree.leaves(jax.eval_shape(TrainingProgram(tiny.model(config), config).init, np.uint32(0)))
        arguments = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) + size * tiny.SPEC.dims
        assert arguments <= cost["memory_of_state"] < 1.02 * arguments
        assert cost["memory_per_step"] == cost["memory_of_state"] + cost["memory_of_temporaries"]
        temporaries.append(cost["memory_of_temporaries"])
        assert (cost["params"], cost["params_by_part"]) == (counts.total_params, counts.params)
        assert (cost["flops_per_step"], cost["train_flops"]) == (counts.flops_per_step, 8 * counts.flops_per_step)
        lower, upper = cost["seconds_per_step_quartiles"]
        assert 0 < lower <= cost["seconds_per_step"] <= upper < cost["compile_seconds"]
        assert (cost["config"], cost["arm"], cost["config_hash"]) == ("tiny", "vdm", config.hash)
    assert 1.5 < temporaries[1] / temporaries[0] < 4.5


@pytest.mark.slow
def test_the_command_prints_what_it_writes(tmp_path, capsys):
    path, config = tmp_path / "costs" / "vdm.json", tmp_path / "small.py"
    config.write_text(tiny.FILE)
    assert main(["costs", f"--config={config}:vdm", "--steps=3", f"--json={path}"]) == 0
    costs = json.loads(path.read_text())
    said = capsys.readouterr().out
    assert f"{costs['params']:,}" in said
    assert f"{costs['flops_per_step']:.4g} per step, {costs['train_flops']:.4g} in 8 steps" in said
    assert ("upper bounds" in said) == ((costs["cpu_share_of_others"] or 0) >= SMALLEST)

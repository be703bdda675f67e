"""Costs of a step: measured, printed and written."""

import json

import jax
import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.config import load_config
from diffenc_jax.lab.costs.load import SMALLEST
from diffenc_jax.train.flops import count
from diffenc_jax.train.program import TrainingProgram
from tests import tiny
from tests.stored_runs import write_images


@pytest.mark.slow
def test_the_command_prints_and_writes_the_costs_of_the_step(tmp_path, capsys):
    """Memory is the state and temporaries that grow with the batch."""
    (tmp_path / "small.py").write_text(tiny.file(data__source=str(write_images(tmp_path / "images.npz"))))
    temporaries = []
    for size in (8, 32):
        given = f"{tmp_path}/small.py:vdm", [f"train.batch_size={size}"]
        path, config = tmp_path / "costs" / f"{size}.json", load_config(*given)
        options = f"--config={given[0]}", f"--config.{given[1][0]}", "--steps=4", f"--json={path}"
        assert main(["costs", *options]) == 0
        cost, counts, said = json.loads(path.read_text()), count(config, tiny.SPEC), capsys.readouterr().out
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
        assert f"{cost['params']:,}" in said
        assert f"{cost['flops_per_step']:.4g} per step, {cost['train_flops']:.4g} in 8 steps" in said
        assert ("upper bounds" in said) == ((cost["cpu_share_of_others"] or 0) >= SMALLEST)
    assert 1.5 < temporaries[1] / temporaries[0] < 4.5

"""Costs of a step: by the real compilers, measured, and the load of other processes."""

import json
import os
import re
from unittest import mock

import jax
import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.config import load_config
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.costs import compile_check, hlo
from diffenc_jax.lab.costs.load import SMALLEST, cpu_seconds, share_of_others
from diffenc_jax.lab.costs.machines import TARGETS, Target
from diffenc_jax.parallel.memory import Memory
from diffenc_jax.train.flops import count
from diffenc_jax.train.program import TrainingProgram
from tests import tiny
from tests.lab.costs import compilers
from tests.stored_runs import write_images

WIDE = {"model.score.width": 256, "model.score.dropout": 0.0, "model.remat": "none", "train.batch_size": 64}
TINY = "--config=tiny.py:vdm"
QUICK = "--quick", TINY
SMALL_NETWORK = ("--config.model.score.layers=1", "--config.model.score.width=32")
TPU_FLAGS = {
    "four chips": [*QUICK, "--topology=v5e:2x2", *(f"--config.{key}={value}" for key, value in WIDE.items())],
    "two slices": [*QUICK, "--topology=v5e:2x2", "--slices=2", "--config.mesh.fsdp=4"],
    "half chips": [*QUICK, "--topology=tpu7x:2x2x1"],
    "too large": [*QUICK, "--topology=v5e:1x1", "--config.train.batch_size=8388608"],
}
GPU_FLAGS = {
    "transformer": [TINY, "--topology=h100:8", *(f"--config.{key}={value}" for key, value in WIDE.items())],
    "two hosts": ["--config=tiny.py:diffenc", "--topology=H100:2x4", "--config.mesh.fsdp=4"],
    "unet": ["--config=digits:vdm", "--topology=h100:1", *SMALL_NETWORK],
    "bfloat16": ["--config=digits:vdm", "--topology=h100:1", *SMALL_NETWORK, "--config.model.dtype=bfloat16"],
    "dct": ["--config=cifar10_variants:diffenc-dct", "--topology=h100:1", *SMALL_NETWORK, "--batch=8"],
    "uneven": ["--config=fashion_mnist_small", "--topology=h100:8", *SMALL_NETWORK, "--config.mesh.fsdp=8"],
    "too large": [TINY, "--topology=l4:1", "--config.train.batch_size=8388608"],
}


COMMANDS = """
import json, sys
from diffenc_jax.__main__ import main
for name, flags in json.loads(sys.argv[1]).items():
    print("exit code", main(["compile-check", f"--json={name}.json", *flags]), flush=True)
"""


def check(kind, flags, folder):
    """Contents of the written files by name, whose lines and tables are printed; all commands run in one process."""
    (folder / "tiny.py").write_text(tiny.FILE)
    output = compilers.python(kind, COMMANDS, json.dumps(flags), cwd=folder)
    contents = {name: json.loads((folder / f"{name}.json").read_text()) for name in flags}
    starts = [output.index("\n".join([*compile_check.step_lines(wrote), ""])) for wrote in contents.values()]
    assert starts == sorted(starts)
    assert re.findall(r"exit code (\d)", output) == [str(int(not wrote["fits"])) for wrote in contents.values()]
    for wrote in contents.values():
        quantities = {"kernels": "kernels", "bytes": "bytes_moved", "cycles": "cycles"} if wrote["fits"] else {}
        for quantity, whole in quantities.items():
            assert sum(counts[quantity] for counts in wrote["parts"].values()) == pytest.approx(wrote[whole])
    return contents


def counts_of(wrote, devices):
    """Counts of the wide model, which agree with the measurement of a device."""
    config = tiny.config("vdm", small=True).replace(WIDE)
    counts = count(config)
    # Parameters, their average and two moments, complete on every device, with a little padding.
    assert 16 * counts.total_params < wrote["memory_of_state"] < 1.05 * 16 * counts.total_params
    assert devices * wrote["flops"] == counts.flops_per_step
    assert wrote["bytes_moved"] > wrote["memory_of_state"]
    return counts


@pytest.mark.slow
def test_steps_on_tpus(tmp_path):
    """On chips, slices, and chips of two devices; a step that does not fit."""
    measured = check("tpu", TPU_FLAGS, tmp_path)
    wrote = measured["four chips"]
    counts = counts_of(wrote, 4)
    assert wrote["mesh"] == {"data": 4, "fsdp": 1}
    assert (wrote["topology"], wrote["chips"], wrote["hosts"], wrote["batch_size"]) == ("v5e:2x2", 4, 1, 64)
    assert wrote["fits"]
    assert wrote["memory"] == wrote["memory_of_state"] + wrote["memory_of_temporaries"]
    assert wrote["seconds_by_flops"] == wrote["flops"] / TARGETS["v5e"].flops
    assert wrote["seconds_by_links"] == wrote["bytes_sent"] / TARGETS["v5e"].links
    # The gradients of all parameters, which are summed in float32.
    assert 2 * 3 / 4 * 4 * counts.total_params <= wrote["bytes_sent"] < 1.1 * 2 * 3 / 4 * 4 * counts.total_params
    assert wrote["share_of_peak"] == pytest.approx(wrote["seconds_by_flops"] / (wrote["cycles"] / TARGETS["v5e"].clock))
    wrote = measured["two slices"]
    assert (wrote["slices"], wrote["chips"], wrote["mesh"]) == (2, 8, {"data": 2, "fsdp": 4})
    wrote = measured["half chips"]
    assert (wrote["chips"], wrote["device"], wrote["mesh"]) == (4, "half chip", {"data": 8, "fsdp": 1})
    wrote = measured["too large"]
    assert not wrote["fits"]
    assert wrote["memory"] > wrote["memory_of_device"]


@pytest.mark.slow
def test_steps_on_gpus(tmp_path):
    """Networks of each kind compile; the transformer's products are divided over the cards."""
    on_gpus = check("gpu", GPU_FLAGS, tmp_path)
    wrote = on_gpus["transformer"]
    counts = counts_of(wrote, 8)
    assert (wrote["mesh"], wrote["device"], wrote["cycles"]) == ({"data": 8, "fsdp": 1}, "card", 0)
    assert wrote["memory_of_device"] == TARGETS["h100"].available
    assert wrote["seconds_by_bytes"] == pytest.approx(wrote["bytes_moved"] / TARGETS["h100"].bandwidth)
    assert wrote["parts"]["collectives"]["bytes"] >= 2 * 4 * counts.total_params  # gradients in and out
    wrote = on_gpus["two hosts"]
    assert (wrote["hosts"], wrote["chips"], wrote["mesh"]) == (2, 8, {"data": 2, "fsdp": 4})
    assert {"encoder", "optimizer", "attention"} < {*wrote["parts"]}
    assert {name for name, wrote in on_gpus.items() if not wrote["fits"]} == {"too large"}
    full, half = on_gpus["unet"], on_gpus["bfloat16"]
    assert half["bytes_moved"] < 0.8 * full["bytes_moved"]


FAILURES = [
    jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.5G of 15.75G hbm."),
    jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no more is known"),
    [],  # it compiles, for more memory than there is
    jax.errors.JaxRuntimeError("INTERNAL: it is broken\nat line 1"),
]


def test_failures_to_compile(monkeypatch):
    """Too little memory says what is needed; any other failure is one line."""
    monkeypatch.setattr(jax.stages.Lowered, "compile", mock.Mock(side_effect=FAILURES))
    monkeypatch.setattr(Memory, "of", lambda _: Memory(6, 5))
    monkeypatch.setattr(compile_check, "describe", lambda *_: (Target([], flops=1, memory=10), jax.devices()))
    for needed in (int(20.5 * 2**30), None, 11):
        measured = compile_check.measure_step(tiny.config("vdm", small=True), "a machine", 1, False)
        assert (measured["fits"], measured["memory"]) == (False, needed)
    with pytest.raises(InputError, match=r"^the compiler failed: INTERNAL: it is broken$"):
        compile_check.measure_step(tiny.config("vdm", small=True), "a machine", 1, False)


def test_the_work_of_a_step_is_the_sum_of_its_kernels():
    """Two kernels of the same part, one of which runs three times in the backward pass and sends what it moves."""
    kernels = [
        hlo.Kernel("copy", "a/optimizer/b", 1, 100, 5),
        hlo.Kernel("add", "a/optimizer/transpose(b)", 3, 200, 10, 200),
    ]
    work = compile_check.describe_work(kernels, 30.0, Target([], flops=10, bandwidth=350, links=20, clock=7))
    assert [work[name] for name in ("flops", "kernels", "bytes_moved", "bytes_sent", "cycles")] == [30, 4, 700, 600, 35]
    times = [work[f"seconds_by_{name}"] for name in ("flops", "bytes", "links", "cycles")]
    assert (times, work["share_of_peak"]) == ([3, 2, 30, 5], 3 / 5)
    assert [work["parts"]["optimizer"][name] for name in ("bytes", "bytes_backward")] == [700, 600]
    assert work["parts"]["optimizer"]["kernels_backward"] == 3
    assert compile_check.work_table(work).rows == [["optimizer", "4", "7e-07", "3.5e-05", "100.0", "85.7"]]


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


SHARES = [
    ((120.0, 45.0), 0.25),
    ((120.0, 39.9), 0.0),  # ticks
    ((100.4, 40.3), None),  # too short for the ticks
    ((100.0, 40.0), None),
]


@pytest.mark.parametrize(("after", "share"), SHARES)
def test_the_share_is_that_of_all_cores(after, share):
    assert share_of_others((100.0, 40.0), after) == (share and pytest.approx(share))


@pytest.mark.skipif(cpu_seconds() == (0.0, 0.0), reason="this system does not count as Linux does")
def test_our_own_time_is_not_that_of_others():
    before, own = cpu_seconds(), sum(os.times()[:4])
    while cpu_seconds()[0] - before[0] < 1.0:
        pass
    after, own = cpu_seconds(), sum(os.times()[:4]) - own
    assert after[1] - before[1] <= after[0] - before[0] - own + 0.05

"""The command with the real TPU compiler: it prints what it writes, which agrees with other ways of counting."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.config import load_config
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.dataset import image_shape
from diffenc_jax.lab.costs import compile_check
from diffenc_jax.lab.costs.compile_check import step_lines
from diffenc_jax.lab.costs.compiled import DoesNotFit
from diffenc_jax.lab.costs.targets import TARGETS
from diffenc_jax.model import ImageSpec
from diffenc_jax.parallel.memory import Memory
from diffenc_jax.train.flops import count
from tests import refusals, tiny
from tests.lab.costs import tpu_compiler

ROOT = Path(__file__).parents[3]
SPEC = "configs/digits.py:vdm"
WIDE = {"model.score.width": 256, "model.score.dropout": 0.0, "model.remat": "none", "train.batch_size": 64}
TINY = "--config=tiny.py:vdm"
FLAGS = {
    "four chips": [TINY, "--topology=v5e:2x2", *(f"--config.{key}={value}" for key, value in WIDE.items())],
    "two slices": [TINY, "--topology=v5e:2x2", "--slices=2", "--config.mesh.fsdp=4"],
    "half chips": [TINY, "--topology=tpu7x:2x2x1"],
    "too large": [TINY, "--topology=v5e:1x1", "--config.train.batch_size=8388608"],
}
COMMANDS = """
import json, sys
from diffenc_jax.__main__ import main
for name, flags in json.loads(sys.argv[1]).items():
    print("exit code", main(["compile-check", "--quick", f"--json={name}.json", *flags]), flush=True)
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Contents of the written files, whose lines are printed, by one process that finds the compiler."""
    folder, environment = tmp_path_factory.mktemp("checks"), tpu_compiler.environment()
    (folder / "tiny.py").write_text(tiny.FILE)
    environment["PYTHONPATH"] += f":{ROOT}"
    command = [sys.executable, "-c", COMMANDS, json.dumps(FLAGS)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    contents = {name: json.loads((folder / f"{name}.json").read_text()) for name in FLAGS}
    said = ([*step_lines(wrote), f"exit code {int(not wrote['fits'])}"] for wrote in contents.values())
    assert done.stdout.splitlines() == [line for lines in said for line in lines]
    return contents


@pytest.mark.slow
def test_a_step_on_four_chips(measured):
    wrote, config = measured["four chips"], tiny.config("vdm", small=True).replace(WIDE)
    counts = count(config, ImageSpec(image_shape(config.data), config.data.pixel_levels))
    assert wrote["mesh"] == {"data": 4, "fsdp": 1}
    assert (wrote["topology"], wrote["chips"], wrote["hosts"], wrote["batch_size"]) == ("v5e:2x2", 4, 1, 64)
    # Parameters, their average and two moments, complete on every chip, with a little padding.
    assert 16 * counts.total_params < wrote["memory_of_state"] < 1.05 * 16 * counts.total_params
    assert wrote["fits"]
    assert wrote["memory"] == wrote["memory_of_state"] + wrote["memory_of_temporaries"]
    # A quarter of each product per chip; the count on CPU is another compiler's.
    assert 4 * wrote["flops"] == pytest.approx(counts.flops_per_step, rel=0.1)
    assert wrote["seconds_by_flops"] == wrote["flops"] / TARGETS["v5e"].flops
    assert wrote["bytes_accessed"] > wrote["memory_of_state"]
    assert wrote["cycles"] > 0


@pytest.mark.slow
def test_slices_and_chips_of_two_devices_and_a_step_that_does_not_fit(measured):
    wrote = measured["two slices"]
    assert (wrote["slices"], wrote["chips"], wrote["mesh"]) == (2, 8, {"data": 2, "fsdp": 4})
    wrote = measured["half chips"]
    assert (wrote["chips"], wrote["devices_per_chip"], wrote["mesh"]) == (4, 2, {"data": 8, "fsdp": 1})
    wrote = measured["too large"]
    assert not wrote["fits"]
    assert wrote["memory"] > wrote["memory_of_device"]


def test_the_first_change_that_fits_is_suggested(monkeypatch, capsys):
    """A step needs 20 GiB, 14 with `block`, and a part of that for a part of the batch; two parts are refused."""
    gib, needs, tried = 2**30, {None: 20, "block": 14}, []

    def compiler(config, *_):
        parts, remat = config.train.accumulate, config.model.remat
        tried.append((remat, parts))
        if parts == 2:
            raise InputError("the batch does not divide")
        total = needs[remat] * gib // parts
        return SimpleNamespace(memory=lambda: (Memory(total // 2, total - total // 2), 0.0))

    target = SimpleNamespace(memory=10 * gib, devices=1)
    slices = SimpleNamespace(devices=jax.devices(), target=target, chips=1, hosts=1)
    for name, value in {"Compiler": compiler, "describe_slices": lambda *_: slices, "version": lambda _: "1"}.items():
        monkeypatch.setattr(compile_check, name, value)
    monkeypatch.setenv("JAX_PLATFORMS", os.environ.get("JAX_PLATFORMS", ""))  # so that what the command sets is undone
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "")
    assert main(["compile-check", f"--config={SPEC}", "--topology=v5e:1x1"]) == 1
    title, line = capsys.readouterr().out.splitlines()
    assert title == "digits, vdm: batch 64, float32, 1 x v5e:1x1, chips: 1, hosts: 1"
    flags = "--config.model.remat=block --config.train.accumulate=4"
    assert line == f"memory: does not fit the 10.00 GiB of a chip, 20.00 GiB are needed; 3.50 GiB with {flags}"
    assert tried == [(None, 1), (None, 2), ("block", 1), ("block", 2), ("block", 4)]
    for needed, available in ((None, 1), (41 * gib, 10 * gib)):
        assert compile_check.find_remedy(load_config(SPEC), compiler, DoesNotFit(needed), available) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "the following arguments are required: --topology"),
        (["--topology=H100:8"], "unknown kind of TPU 'H100'; known: tpu7x, v4, v5e, v5p, v6e"),
        (["--topology=v5e:2x2", "--slices=0"], "is not a whole number above zero"),
        (["--topology=v5e:2x2", "--json=tests"], "--json=tests is a folder; name a file"),
    ],
)
def test_bad_input_is_refused(options, message, capsys, monkeypatch):
    for name in ("JAX_PLATFORMS", "JAX_ENABLE_COMPILATION_CACHE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that what the command sets is undone
    assert message in refusals.refused(main, ["compile-check", f"--config={SPEC}", *options], capsys)

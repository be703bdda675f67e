"""The command with the real TPU compiler: it prints what it writes, which agrees with other ways of counting."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.config import load_config
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.dataset import image_shape
from diffenc_jax.lab.studies.compile_check import measure
from diffenc_jax.lab.studies.compile_check.compiled import DoesNotFit
from diffenc_jax.lab.studies.compile_check.measure import find_remedy
from diffenc_jax.lab.studies.compile_check.table import step_lines
from diffenc_jax.lab.studies.compile_check.tpu import CHIPS
from diffenc_jax.model import ImageSpec
from diffenc_jax.parallel.memory import Memory
from diffenc_jax.train.flops import count
from tests import refusals
from tests.lab.studies.compile_check import tpu_compiler

ROOT = Path(__file__).parents[4]
SPEC = "configs/digits.py:vdm"
SMALL = ("model.score.width=128", "model.score.layers=3", "model.score.dropout=0.0", "train.batch_size=256")


def run(*args):
    """The command in a process that finds the compiler."""
    command = [sys.executable, "-m", "diffenc_jax", "compile-check", f"--config={SPEC}", *args]
    environment = tpu_compiler.environment()
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """For some options, (the written file, the printed lines)."""

    def found(topology, *flags):
        path = tmp_path_factory.mktemp("found") / "check.json"
        overrides = [f"--config.{override}" for override in SMALL]
        args = [f"--topology={topology}", "--quick", f"--json={path}", *overrides, *flags]
        done = run(*args)
        assert path.exists(), done.stderr
        wrote = json.loads(path.read_text())
        assert done.returncode == (not wrote["fits"])
        return wrote, done.stdout.splitlines()

    return found


@pytest.mark.slow
def test_a_step_on_four_chips(found):
    wrote, printed = found("v5e:2x2", "--config.model.remat=none")
    config = load_config(SPEC, SMALL)
    counts = count(config, ImageSpec(image_shape(config.data), config.data.pixel_levels))
    assert wrote["mesh"] == {"data": 4, "fsdp": 1}
    assert (wrote["topology"], wrote["chips"], wrote["hosts"], wrote["batch_size"]) == ("v5e:2x2", 4, 1, 256)
    # Parameters, their average and two moments, complete on every chip, with a little padding.
    assert 16 * counts.total_params < wrote["memory_of_state"] < 1.05 * 16 * counts.total_params
    assert wrote["fits"]
    assert wrote["memory"] == wrote["memory_of_state"] + wrote["memory_of_temporaries"]
    # A quarter of each product per chip; the count on CPU is another compiler's.
    assert 4 * wrote["flops"] == pytest.approx(counts.flops_per_step, rel=0.1)
    chip = CHIPS["v5e"]
    assert wrote["seconds_by_flops"] == wrote["flops"] / chip.flops
    assert wrote["seconds_by_bytes"] == wrote["bytes"] / chip.bandwidth
    assert printed == step_lines(wrote)
    title, memory, work, seconds, compiled = printed
    assert title == "digits, vdm: batch 256, float32, v5e:2x2 (4 chips)"
    assert memory.endswith("fits the 15.75 GiB of a chip")
    counts = f"{wrote['flops'] / 1e12:.4g} TFLOP, {wrote['bytes'] / 1e9:.4g} GB of its memory"
    assert work.startswith(f"work per chip and step: {counts} (")
    # Without a search nothing is kept beside the cores, and both counts are of the same arrays.
    assert wrote["bytes"] == pytest.approx(wrote["bytes_accessed"], rel=0.1)
    assert "bound by memory" in seconds
    assert compiled.startswith("compiled in ")


@pytest.mark.long
@pytest.mark.slow
def test_more_hosts_share_the_work_and_the_state(found):
    few, _ = found("v5e:2x2", "--config.model.score.layers=1")
    many, printed = found("v5e:4x4", "--config.model.score.layers=1", "--config.mesh.fsdp=4")
    assert printed[0] == "digits, vdm: batch 256, float32, v5e:4x4 (16 chips on 4 hosts)"
    assert many["flops"] == pytest.approx(few["flops"] / 4, rel=0.1)
    assert many["memory_of_state"] < 0.5 * few["memory_of_state"]  # small arrays are replicated


@pytest.mark.slow
def test_a_step_on_two_slices(found):
    wrote, printed = found("v5e:2x2", "--slices=2", "--config.model.score.layers=1", "--config.mesh.fsdp=4")
    assert printed[0] == "digits, vdm: batch 256, float32, 2 slices v5e:2x2 (8 chips on 2 hosts)"
    assert (wrote["slices"], wrote["chips"], wrote["mesh"]) == (2, 8, {"data": 2, "fsdp": 4})
    assert wrote["fits"]
    assert wrote["flops"] > 0


@pytest.mark.slow
def test_a_chip_of_two_devices(found):
    wrote, printed = found("tpu7x:2x2x1", "--config.model.score.layers=1")
    assert (wrote["chips"], wrote["devices_per_chip"], wrote["mesh"]) == (4, 2, {"data": 8, "fsdp": 1})
    assert printed[1].endswith("fits the 94.75 GiB of a half chip")
    assert printed[2].startswith("work per half chip and step: ")


@pytest.mark.slow
def test_a_step_that_does_not_fit(found):
    wrote, printed = found("v5e:1x1", "--batch=8388608")
    assert not wrote["fits"]
    assert wrote["memory"] > wrote["memory_of_device"]
    assert printed == step_lines(wrote)
    assert printed[1].startswith("memory: does not fit the 15.75 GiB of a chip, ")


BASE = {
    "config": "a",
    "arm": "b",
    "batch_size": 8,
    "dtype": "bfloat16",
    "topology": "v5e:2x2",
    "slices": 1,
    "chips": 4,
    "devices_per_chip": 1,
    "hosts": 1,
    "memory_of_device": 2**34,
}


@pytest.mark.parametrize(("memory", "needed"), [(2**35, ", 32.00 GiB are needed"), (None, "")])
def test_a_step_that_does_not_fit_says_what_helps(memory, needed):
    title, said = step_lines(BASE | {"fits": False, "memory": memory})
    assert title == "a, b: batch 8, bfloat16, v5e:2x2 (4 chips)"
    assert said.startswith(f"memory: does not fit the 16.00 GiB of a chip{needed}; take more chips, ")
    remedy = {"remedy": {"model.remat": "block", "train.accumulate": 2}, "memory_with_remedy": 2**33}
    said = step_lines(BASE | {"fits": False, "memory": memory} | remedy)[1]
    flags = "--config.model.remat=block --config.train.accumulate=2"
    assert said == f"memory: does not fit the 16.00 GiB of a chip{needed}; 8.00 GiB with {flags}"


def test_a_change_is_suggested_for_a_step_that_the_compiler_lets_pass(monkeypatch):
    """The step of 17 bytes is compiled for chips of 16; in two parts it needs 10."""

    def compiler(config, *_):
        return SimpleNamespace(memory=lambda: (Memory(3, 14 if config.train.accumulate == 1 else 7), 0.0))

    chip = SimpleNamespace(memory=16, devices=1)
    target = SimpleNamespace(devices=jax.devices(), chip=chip, chips=1, hosts=1)
    for name, value in {"Compiler": compiler, "describe_slices": lambda *_: target, "version": lambda _: "1"}.items():
        monkeypatch.setattr(measure, name, value)
    found = measure.measure_step(load_config(SPEC), "v5e:1x1", 1, quick=True)
    assert (found["fits"], found["memory"]) == (False, 17)
    assert (found["remedy"], found["memory_with_remedy"]) == ({"train.accumulate": 2}, 10)


def test_the_first_change_that_fits_is_suggested():
    """A step needs 30 bytes, 20 with `block`, and a part of that for a part of the batch; two parts are refused."""
    tried = []

    def compiler_of(config):
        parts = config.train.accumulate
        tried.append((config.model.remat, parts))
        if parts == 2:
            raise InputError("the batch does not divide")
        return SimpleNamespace(memory=partial(memory, (20 if config.model.remat == "block" else 30) // parts))

    def memory(total):
        if total > 15:
            raise DoesNotFit(total)
        return Memory(1, total - 1), 0.0

    config = load_config(SPEC)
    assert find_remedy(config, compiler_of, 30, 15) == {
        "remedy": {"model.remat": "block", "train.accumulate": 4},
        "memory_with_remedy": 5,
    }
    assert tried == [(None, 2), ("block", 1), ("block", 2), ("block", 4)]
    assert find_remedy(config, compiler_of, None, 4) == {}
    tried.clear()
    assert find_remedy(config, compiler_of, 61, 15) == {}
    assert not tried


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "the following arguments are required: --topology"),
        (["--topology=v5e:3x3"], "there is no slice 'v5e:3x3'; v5e:SHAPE has the shapes 1x1, 2x2"),
        (["--topology=v5e:2x2", "--slices=0"], "is not a whole number above zero"),
        (["--topology=v5e:2x2", "--batch=0"], "is not a whole number above zero"),
        (["--topology=v5e:2x2", "--json=tests"], "--json=tests is a folder; name a file"),
        (["--topology=v5e:2x2", "--workdir=runs/a"], "unrecognized arguments: --workdir=runs/a"),
    ],
)
def test_bad_input_is_refused(options, message, capsys, monkeypatch):
    for name in ("JAX_PLATFORMS", "JAX_ENABLE_COMPILATION_CACHE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that what the command sets is undone
    assert message in refusals.refused(main, ["compile-check", f"--config={SPEC}", *options], capsys)


@pytest.mark.slow
def test_a_step_that_cannot_be_trained_there_is_refused():
    done = run("--topology=v5e:2x2", "--batch=6")
    message = "error: train.batch_size=6 does not divide over 4 devices; take a multiple of 4"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1

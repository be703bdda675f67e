"""The command, with the real TPU compiler: what it prints is what it writes, and is so by other ways of counting."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffenc_jax import compile_check, tpu
from diffenc_jax.cli import load
from diffenc_jax.data.dataset import image_shape
from diffenc_jax.model import ImageSpec
from diffenc_jax.train.cost import count
from tests import tpu_compiler

ROOT = Path(__file__).parent.parent
SPEC = "configs/digits.py:vdm"
SMALL = ("model.score.width=128", "model.score.layers=3", "model.score.dropout=0.0", "train.batch_size=256")


def run(*args, environment=None):
    command = [sys.executable, "-m", "diffenc_jax.compile_check", f"--config={SPEC}", *args]
    environment = os.environ if environment is None else environment
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What is found for some flags: (what was written, the lines that were printed)."""

    def found(topology, *flags):
        path = tmp_path_factory.mktemp("found") / "check.json"
        overrides = [f"--config.{override}" for override in SMALL]
        args = [f"--topology={topology}", "--quick", f"--json={path}", *overrides, *flags]
        done = run(*args, environment=tpu_compiler.environment())
        assert path.exists(), done.stderr
        wrote = json.loads(path.read_text())
        assert done.returncode == (not wrote["fits"])
        return wrote, done.stdout.splitlines()

    return found


@pytest.mark.slow
def test_a_step_on_four_chips(found):
    wrote, printed = found("v5e:2x2", "--config.model.remat=none")
    config = load(SPEC, SMALL)
    counts = count(config, ImageSpec(image_shape(config), config.data.levels))
    assert wrote["mesh"] == {"data": 4, "fsdp": 1}
    assert (wrote["topology"], wrote["chips"], wrote["hosts"], wrote["batch_size"]) == ("v5e:2x2", 4, 1, 256)
    # Parameters, their average and two moments, whole on every chip, and padded a little.
    assert 16 * counts.total_params < wrote["memory_of_state"] < 1.05 * 16 * counts.total_params
    assert wrote["fits"]
    assert wrote["memory"] == wrote["memory_of_state"] + wrote["memory_of_temporaries"]
    # Of each product a quarter; the CPU's count is another compiler's.
    assert 4 * wrote["flops"] == pytest.approx(counts.flops_per_step, rel=0.1)
    chip = tpu.CHIPS["v5e"]
    assert wrote["seconds_by_flops"] == wrote["flops"] / chip.flops
    assert wrote["seconds_by_bytes"] == wrote["bytes"] / chip.bandwidth
    assert printed == compile_check.lines(wrote)
    title, memory, work, seconds, compiled = printed
    assert title == "digits, vdm: batch 256, float32, v5e:2x2 (4 chips)"
    assert memory.endswith("fits the 15.75 GiB of a chip")
    assert work == f"work: {wrote['flops'] / 1e12:.4g} TFLOP and {wrote['bytes'] / 1e9:.4g} GB a chip and step"
    assert "bound by memory" in seconds
    assert compiled.startswith("compiled in ")


@pytest.mark.long
@pytest.mark.slow
def test_more_hosts_share_the_work_and_the_state(found):
    few, _ = found("v5e:2x2", "--config.model.score.layers=1")
    many, printed = found("v5e:4x4", "--config.model.score.layers=1", "--config.mesh.fsdp=4")
    assert printed[0] == "digits, vdm: batch 256, float32, v5e:4x4 (16 chips on 4 hosts)"
    assert many["flops"] == pytest.approx(few["flops"] / 4, rel=0.1)
    assert many["memory_of_state"] < 0.5 * few["memory_of_state"]  # what is small is not shared


@pytest.mark.slow
def test_what_does_not_fit(found):
    wrote, printed = found("v5e:1x1", "--batch=8388608")
    assert not wrote["fits"]
    assert wrote["memory"] > wrote["memory_of_chip"]
    assert printed == compile_check.lines(wrote)
    assert printed[1].startswith("memory: does not fit the 15.75 GiB of a chip, ")


BASE = {
    "config": "a",
    "arm": "b",
    "batch_size": 8,
    "dtype": "bfloat16",
    "topology": "v5e:2x2",
    "chips": 4,
    "hosts": 1,
    "memory_of_chip": 2**34,
}


@pytest.mark.parametrize(("memory", "needed"), [(2**35, ", 32.00 GiB are needed"), (None, "")])
def test_what_does_not_fit_is_said_with_what_helps(memory, needed):
    title, said = compile_check.lines(BASE | {"fits": False, "memory": memory})
    assert title == "a, b: batch 8, bfloat16, v5e:2x2 (4 chips)"
    assert said.startswith(f"memory: does not fit the 16.00 GiB of a chip{needed}; take more chips, ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--topology is missing; give one such as --topology=v5e:2x2"),
        (["--topology=v5e:3x3"], "there is no slice 'v5e:3x3'; v5e:SHAPE has the shapes 1x1, 2x2"),
        (["--topology=v5e:2x2"], "the TPU compiler is not installed; run pip install '.[tpu]'"),
        (["--topology=v5e:2x2", "--batch=0"], "flag --batch=0: 0 is not a positive integer"),
        (["--topology=v5e:2x2", "--json=tests"], "--json=tests is a folder; name a file"),
        (["--topology=v5e:2x2", "--workdir=runs/a"], "--workdir is not read"),
    ],
)
def test_bad_input_is_said_in_one_line(args, message):
    assert_refused(run(*args), message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--batch=6"], "train.batch_size=6 does not divide over 4 devices; take a multiple of 4"),
        (["--config.mesh.fsdp=3"], "mesh.fsdp=3 does not divide the 4 devices"),
        (["--config.model.remat=all"], "unknown model.remat 'all'; known: block, none, products"),
        (["--config.data.source=nowhere"], "data.source='nowhere' is neither a known data set"),
    ],
)
def test_what_cannot_be_trained_there_is_said_in_one_line(args, message):
    assert_refused(run("--topology=v5e:2x2", *args, environment=tpu_compiler.environment()), message)


def assert_refused(done, message):
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not done.stdout

"""Long versions of the tests of faults: `make soak`, half an hour."""

import json
import random
import signal
import sys
import time

import jax
import numpy as np
import pytest

from diffenc_jax.model import ImageSpec, build
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.metrics import read_metrics
from diffenc_jax.runs.stored import StoredRun
from tests import processes, tiny
from tests.logs import logged

pytestmark = pytest.mark.soak
KILLS = 20
LONG, WARM = 50_000, 5_000  # all steps, and the steps after which memory should be constant


def start(folder, workdir, **changes):
    """A run of the tiny model, in a process of its own."""
    (folder / "small.py").write_text(tiny.file(small=False, **changes))
    flags, output = [f"--config={folder}/small.py", f"--workdir={workdir}"], (folder / "output.txt").open("a")
    return processes.start("-m", "diffenc_jax.main", *flags, stdout=output, stderr=output)


def last_logged(workdir):
    """The last step in metrics.jsonl; 0 if there is none."""
    return max((row["step"] for row in read_metrics(workdir)), default=0)


def averages(workdir):
    """The step and the averaged parameters of the newest checkpoint."""
    shapes = jax.eval_shape(build(tiny.config("vdm"), ImageSpec((8, 8, 1), tiny.LEVELS)).init, jax.random.key(0))
    with Checkpoints(StoredRun(workdir)) as checkpoints:
        return checkpoints.newest(lambda step: checkpoints.restore_ema(step, shapes))


def test_a_run_killed_at_random_moments_ends_like_an_uninterrupted_run(tmp_path):
    """Every other step is saved, so that many kills interrupt a save."""
    often = {"train__steps": 600, "checkpoint__every_steps": 2, "log__every_steps": 5, "eval__every_steps": 200}
    assert start(tmp_path, tmp_path / "whole", **often).wait() == 0
    broken, moment = tmp_path / "broken", random.Random(0)
    steps = [0]
    for kill in range(KILLS):
        run = start(tmp_path, broken, **often)
        while last_logged(broken) <= steps[-1]:
            assert run.poll() is None, (tmp_path / "output.txt").read_text()[-2000:]
            time.sleep(0.02)
        time.sleep(moment.uniform(0, 1.5))
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL, f"kill {kill} came too late"
        steps.append(last_logged(broken))
    print(f"killed after the logs of steps {steps}")
    assert start(tmp_path, broken, **often).wait() == 0
    assert logged(broken) == logged(tmp_path / "whole")
    ours, theirs = averages(broken), averages(tmp_path / "whole")
    assert ours[0] == theirs[0] == 600
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert not (broken / "damaged").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat(tmp_path):
    """It grows by less than 2 % in 45,000 steps with logs, evaluations and checkpoints."""
    changes = {"train__steps": LONG, "checkpoint__every_steps": 500, "log__every_steps": 50, "eval__every_steps": 2500}
    run = start(tmp_path, tmp_path / "run", **changes)
    sizes = {}
    while run.poll() is None:
        time.sleep(1)
        found = read_metrics(tmp_path / "run")
        if found and run.poll() is None:
            sizes[int(found[-1]["step"])] = processes.resident(run.pid)
    assert run.returncode == 0, (tmp_path / "output.txt").read_text()[-2000:]
    steps, values = np.array(sorted(sizes)), np.array([sizes[step] for step in sorted(sizes)], float)
    settled, late = np.median(values[(steps > WARM) & (steps < 2 * WARM)]), np.median(values[steps > LONG - WARM])
    print(json.dumps({"steps": LONG, "settled_bytes": settled, "late_bytes": late, "growth": late / settled - 1}))
    assert late < 1.02 * settled

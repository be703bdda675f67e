"""Runs in a bucket whose requests fail: killed amid saves, continued elsewhere, claimed twice, and read by commands."""

import re
import signal

import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.core.buckets import as_path
from diffenc_jax.core.errors import RunError
from diffenc_jax.runs import lock, storage
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.train import saving
from tests import processes
from tests.bucket import Faults
from tests.tensorboard import shown
from tests.train.bucket_program import GONE_SECONDS, SAVE_EVERY, STEPS, config
from tests.train.running import assert_same_run, train

pytestmark = pytest.mark.slow


def start(images, workdir):
    program, flags = "tests.train.bucket_program", processes.QUICKLY_COMPILED
    return processes.start("-m", program, images, workdir, stdout=None, stderr=None, XLA_FLAGS=flags)


def kill_amid_a_save(process, workdir, earlier):
    """Kill a process once it saves a step beyond `earlier`."""
    processes.wait_until(lambda: max(StoredRun(workdir).steps(), default=0) > earlier, process)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_run_killed_amid_a_save_goes_on_bit_for_bit(images, unbroken, bucket, monkeypatch):
    """In another process."""
    monkeypatch.setattr(lock, "GONE_SECONDS", GONE_SECONDS)
    bucket.faults = Faults(share=0.03)
    kill_amid_a_save(start(images, bucket.folder), bucket.folder, SAVE_EVERY)
    train(config(images), bucket.folder)
    assert bucket.faults.failed > 10
    bucket.faults = Faults()
    assert_same_run(bucket.folder, unbroken)
    assert {("train/bpd", STEPS), ("eval/test_total", STEPS)} <= shown(bucket.folder).keys()  # in whole files


@pytest.fixture(scope="module")
def trained(images, unbroken, _server):
    """A finished run in the bucket, with TensorBoard's files."""
    workdir = as_path("gs://bucket/runs/vdm-seed0")
    train(config(images), workdir)
    assert {step for name, step in shown(workdir) if name == "train/bpd"} == {*range(2, STEPS + 1, 2)}
    return workdir


def test_commands_read_a_run_in_a_bucket(trained, tmp_path, capsys):
    workdir, (record,) = str(trained), storage.glob(trained / "eval", "*.json")
    page = tmp_path / "page.html"
    for words in (
        ["report", workdir, f"--out={page}"],
        ["compare", str(record), f"--json={workdir}/compared.json"],
        ["loss-by-time", workdir, "--cells=2", "--draws=1"],
        ["report", workdir, f"--out={trained.parent}/page.html"],
    ):
        assert main(words) == 0, capsys.readouterr().err
    assert b"oss by " in storage.read(trained.parent / "page.html")
    assert storage.exists(trained / "compared.json")


def test_a_bucket_that_becomes_read_only_ends_the_run_with_what_is_saved(images, bucket, monkeypatch):
    monkeypatch.setattr(saving, "RETRY_SECONDS", 0.1)

    def refuse(step):
        if step == STEPS // 2:
            bucket.faults = Faults(share=1.0, kinds=(403,), only="^(POST|PUT|DELETE)")

    message = r"no permission in this bucket.*; the checkpoint of step \d+ is kept$"
    with pytest.raises(RunError, match=message) as caught:
        train(config(images), bucket.folder, before_step=refuse)
    bucket.faults = Faults()
    with Checkpoints(StoredRun(bucket.folder)) as checkpoints:
        assert checkpoints.latest_step() == int(re.findall(r"step (\d+) is kept", str(caught.value))[0]) >= SAVE_EVERY

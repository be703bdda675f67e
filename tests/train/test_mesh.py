"""One program on one device and on eight, on one host and on two, with and without sharded parameters."""

import json
import re
import signal
import subprocess

import numpy as np
import pytest

from diffenc_jax.runs.stored import StoredRun
from tests import processes
from tests.stored_runs import write_images

STOPPED = 3
pytestmark = pytest.mark.slow  # each process compiles for half a minute


def start(folder, **given):
    """A process of mesh_program.py."""
    given = json.dumps({**given, "folder": str(folder)})
    return processes.start("-m", "tests.train.mesh_program", given, stderr=subprocess.STDOUT)


def start_hosts(*folders, **given):
    """Processes of one run, each with a folder of its own."""
    common = dict(processes=len(folders), port=processes.free_port(), **given)
    return [start(folder, process=index, **common) for index, folder in enumerate(folders)]


def run(folder, hosts=1, **given):
    """Runs the program on so many hosts, and returns their exit codes."""
    processes = [start(folder, **given)] if hosts == 1 else start_hosts(*[folder] * hosts, **given)
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    codes = [process.returncode for process in processes]
    allowed = {0, -signal.SIGKILL} | ({STOPPED} if "stop" in given else set())
    assert "victim" in given or set(codes) <= allowed, outputs  # those that a victim leaves behind end in several ways
    return codes


def result(folder):
    with np.load(folder / "result.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Makes folders with the images of a run."""
    return lambda: write_images(tmp_path_factory.mktemp("mesh") / "images.npz").parent


@pytest.fixture(scope="module")
def one(home):
    """The result of a single device."""
    folder = home()
    run(folder, devices=1, fsdp=1, fixed=[13, 16])
    return result(folder)


def assert_same(one, other):
    """Up to float32's order of summation, which AdamW's first steps enlarge to a share of the learning rate."""
    np.testing.assert_allclose(other["nats"], one["nats"], rtol=2e-3, atol=1e-5)  # some are 1e-5 nats in all
    assert float(other["bpd"]) == pytest.approx(float(one["bpd"]), rel=1e-4)
    assert np.quantile(np.abs(one["params"] - other["params"]), 0.99) < 1e-5


def test_eight_devices_train_evaluate_and_sample_as_one(one, home):
    """And values of images and samples of the same parameters depend neither on the batch nor on the devices."""
    folder = home()
    run(folder, devices=8, fsdp=4, fixed=[3, 8])
    eight = result(folder)
    assert_same(one, eight)
    assert one["held"] == 1.0
    assert eight["held"] < 0.4
    np.testing.assert_allclose(eight["fixed_nats"], one["fixed_nats"], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(eight["samples"], one["samples"])
    assert len({image.tobytes() for image in one["samples"]}) == 12


@pytest.mark.long
def test_two_hosts_train_in_a_bucket_as_one(one, home, bucket):
    folder = home()
    assert run(folder, hosts=2, devices=2, fsdp=2, samples=4, workdir=str(bucket.folder)) == [0, 0]
    assert_same(one, result(folder))


@pytest.mark.long
def test_eight_devices_train_unets_as_one(home):
    """By Muon, whose matrices are divided over the devices."""
    results = []
    for given in (dict(devices=1, fsdp=1), dict(devices=8, fsdp=4)):
        folder = home()
        run(folder, unet=True, **given)
        results.append(result(folder))
    assert_same(*results)


@pytest.mark.long
def test_two_hosts_are_killed_and_one_goes_on(one, home):
    """On eight devices, then on four, killed too, and to the end on one."""
    folder = home()
    assert run(folder, hosts=2, devices=4, fsdp=2, die_after=3) == [-signal.SIGKILL] * 2
    assert StoredRun(folder / "run").steps() == [2]
    assert run(folder, devices=4, fsdp=4, die_after=5) == [-signal.SIGKILL]
    assert StoredRun(folder / "run").steps() == [2, 4]
    assert run(folder, devices=1, fsdp=1) == [0]
    assert_same(one, result(folder))


@pytest.mark.long
def test_one_of_four_hosts_is_killed_and_two_go_on(one, home):
    """Parameters are divided over the hosts, and nobody holds more than a part of most."""
    folder = home()
    codes = run(folder, hosts=4, devices=1, fsdp=4, die_after=3, victim=2)
    assert codes[2] == -signal.SIGKILL
    assert 0 not in codes
    assert StoredRun(folder / "run").steps() == [2]
    assert run(folder, hosts=2, devices=2, fsdp=4, fixed=[3, 8], stop=2) == [STOPPED] * 2
    (partial,) = (folder / "run" / "fixed").glob("*.partial.npz")
    assert run(folder, devices=4, fsdp=2, fixed=[3, 8]) == [0]
    assert not partial.exists()
    found = result(folder)
    assert_same(one, found)
    np.testing.assert_allclose(found["fixed_nats"], one["fixed_nats"], rtol=1e-5, atol=1e-5)


def test_hosts_that_see_other_folders_are_refused(home):
    """By the same name, as if a folder were not shared."""
    started = start_hosts(home(), home(), devices=1, fsdp=1)
    for process in started:
        said, _ = processes.finish(process, 1, timeout=300)
        assert re.search(rf"InputError: .*/run is another folder on \S+, process {started[1].pid} than on", said), said

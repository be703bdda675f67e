"""Settings of the process: huge pages, and memory returned to the system."""

import os
import subprocess
import sys

import pytest

from diffenc_jax.core import process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these are settings of Linux")
PROGRAM = """
import os, sys
from diffenc_jax.core.process import prepare
print("started", flush=True)
prepare()
print(os.environ["GLIBC_TUNABLES"], *sys.argv[1:])
"""


def output(**environment):
    """Standard output of PROGRAM."""
    keep = {name: value for name, value in os.environ.items() if name != process.TUNABLES}
    command = [sys.executable, "-c", PROGRAM, "--a=b c", "d"]
    return subprocess.run(command, env=keep | environment, capture_output=True, text=True, check=True).stdout


def test_a_program_is_executed_once_more_with_the_same_arguments():
    assert output() == "started\nstarted\nglibc.malloc.hugetlb=1 --a=b c d\n"


def test_freed_memory_is_given_back():
    """Small objects below one that is in use, whose memory free() alone keeps."""
    program = """
from diffenc_jax.core.process import return_freed_memory
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
pieces = [bytearray(50_000) for _ in range(2000)]
top = bytearray(50_000)
del pieces
before = resident()
return_freed_memory()
print(before - resident())
"""
    environment = os.environ | {process.TUNABLES: "glibc.malloc.mmap_threshold=1000000000"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 80_000_000


@pytest.mark.parametrize(("flags", "options"), [("", {"xla_backend_optimization_level": 1}), ("KEY=0", {})])
def test_flags_of_the_user_go_before_our_compiler_options(flags, options):
    program = "from diffenc_jax.core.process import CPU_OPTIONS; print(CPU_OPTIONS)"
    environment = os.environ | {"XLA_FLAGS": flags.replace("KEY", "--xla_backend_optimization_level")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{options}\n"

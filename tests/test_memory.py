"""What programs ask of the C library's memory."""

import os
import subprocess
import sys

import pytest

from diffenc_jax import memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's")
PROGRAM = """
import os, sys
from diffenc_jax.memory import prepare
print("started", flush=True)
prepare()
print(os.environ["GLIBC_TUNABLES"], *sys.argv[1:])
"""


def said(**environment):
    keep = {name: value for name, value in os.environ.items() if name != memory.TUNABLES}
    command = [sys.executable, "-c", PROGRAM, "--a=b c", "d"]
    return subprocess.run(command, env=keep | environment, capture_output=True, text=True, check=True).stdout


def test_a_program_starts_anew_once_with_the_same_arguments():
    assert said() == "started\nstarted\nglibc.malloc.hugetlb=1 --a=b c d\n"


def test_what_was_chosen_stays():
    assert said(GLIBC_TUNABLES="glibc.malloc.arena_max=1") == "started\nglibc.malloc.arena_max=1 --a=b c d\n"


def test_what_was_freed_is_given_back():
    """Small pieces with one in use at the top, which free() alone keeps."""
    program = """
from diffenc_jax.memory import give_back
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
pieces = [bytearray(50_000) for _ in range(2000)]
top = bytearray(50_000)
del pieces
before = resident()
give_back()
print(before - resident())
"""
    environment = os.environ | {memory.TUNABLES: "glibc.malloc.mmap_threshold=1000000000"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) > 80_000_000

"""Settings of the process: huge pages, and compiler options."""

import os
import subprocess
import sys

import pytest

from diffenc_jax.core import process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these are settings of Linux")


def output(program, *arguments, **environment):
    """Standard output of a program in a process of its own, without tunables but those given."""
    keep = {name: value for name, value in os.environ.items() if name != process.TUNABLES}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=keep | environment, capture_output=True, text=True, check=True).stdout


STARTED_AGAIN = """
import os, sys
from diffenc_jax.core.process import prepare
print("started", flush=True)
prepare()
print(os.environ["GLIBC_TUNABLES"], *sys.argv[1:])
"""


def test_a_program_is_executed_once_more_with_the_same_arguments():
    assert output(STARTED_AGAIN, "--a=b c", "d") == "started\nstarted\nglibc.malloc.hugetlb=1 --a=b c d\n"


def test_a_program_that_cannot_be_executed_again_goes_on():
    program = f"import sys; sys.executable = '/'{STARTED_AGAIN}"
    assert output(program) == "started\nglibc.malloc.hugetlb=1\n"


@pytest.mark.parametrize(("flags", "options"), [("", {"xla_backend_optimization_level": 1}), ("KEY=0", {})])
def test_flags_of_the_user_go_before_our_compiler_options(flags, options):
    program = "from diffenc_jax.core.process import CPU_OPTIONS; print(CPU_OPTIONS)"
    assert output(program, XLA_FLAGS=flags.replace("KEY", "--xla_backend_optimization_level")) == f"{options}\n"

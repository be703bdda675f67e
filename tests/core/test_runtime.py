"""Settings of the process: huge pages, and compiler options."""

import sys

import pytest

from diffenc_jax.core import runtime
from tests.processes import python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these are settings of Linux")


@pytest.fixture(autouse=True)
def no_tunables(monkeypatch):
    monkeypatch.delenv(runtime.TUNABLES, raising=False)


STARTED_AGAIN = """
import os, sys
from diffenc_jax.core.runtime import prepare
print("started", flush=True)
prepare()
print(os.environ["GLIBC_TUNABLES"], *sys.argv[1:])
"""


def test_a_program_is_executed_once_more_with_the_same_arguments():
    printed = python("-c", STARTED_AGAIN, "--a=b c", "d").stdout
    assert printed == "started\nstarted\nglibc.malloc.hugetlb=1 --a=b c d\n"


def test_a_program_that_cannot_be_executed_again_goes_on():
    program = f"import sys; sys.executable = '/'{STARTED_AGAIN}"
    assert python("-c", program).stdout == "started\nglibc.malloc.hugetlb=1\n"


@pytest.mark.parametrize(("flags", "options"), [("", {"xla_backend_optimization_level": 1}), ("KEY=0", {})])
def test_flags_of_the_user_go_before_our_compiler_options(flags, options):
    program = "from diffenc_jax.core.runtime import CPU_OPTIONS; print(CPU_OPTIONS)"
    printed = python("-c", program, XLA_FLAGS=flags.replace("KEY", "--xla_backend_optimization_level")).stdout
    assert printed == f"{options}\n"

"""Communication between processes of one run."""

import pytest

from tests.processes import finish, free_port, start

FIRST_ALONE = """
import sys, time
from pathlib import Path
import jax
from diffenc_jax.parallel import hosts

port, process, folder = sys.argv[1:]
jax.distributed.initialize(f"localhost:{port}", 3, int(process))

def act():
    time.sleep(1)
    Path(folder, process).touch()

hosts.first_alone(act)
print([path.name for path in Path(folder).iterdir()])
"""


@pytest.mark.slow
def test_the_others_go_on_when_the_first_host_is_done(tmp_path):
    port = free_port()
    started = [start("-c", FIRST_ALONE, port, number, tmp_path) for number in range(3)]
    assert [finish(process, timeout=120)[0] for process in started] == ["['0']\n"] * 3

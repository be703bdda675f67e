"""Communication between processes of one run."""

import subprocess
import sys
import textwrap

import pytest

from tests.processes import free_port

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
    commands = [[sys.executable, "-c", textwrap.dedent(FIRST_ALONE), str(port), str(n), tmp_path] for n in range(3)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert said == ["['0']\n"] * 3

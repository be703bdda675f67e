"""Stand-ins for the commands of clouds and clusters, which record their arguments, and the actions of all launchers."""

import os
import subprocess
import sys
from pathlib import Path

from tests import ROOT

LAUNCH = ROOT / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
HOSTILE = "--config.name=a b;$(touch pwned) 'c' \"d\" & \\e `f` ${HOME} *"
CONFIG, WORKDIR = "--config=configs/digits.py", "--workdir=gs://bucket/digits"
FLAGS = [CONFIG, WORKDIR, HOSTILE]

SLICE = ["--name=slice", "--zone=z"]
KIND = ["--type=v5litepod-16", "--runtime=v2-alpha"]
TPU = {
    "create": [*SLICE, *KIND, "--yes"],
    "run": [*SLICE, "--", *FLAGS],
    **dict.fromkeys(("setup", "tail", "logs", "stop", "delete"), SLICE),
    "watch": [*SLICE, *KIND, "--", *FLAGS],
}
POOL = ["--image=i", "--accelerator=a", "--topology=4x4", "--hosts=4", "--chips=8", "--claim=c"]
GKE = {
    "run": ["--name=set", "--yes", *POOL, "--", *FLAGS],
    **{action: ["--name=set"] for action in ("status", "tail", "logs", "stop", "delete")},
}
SLURM = {
    "run": ["--", *FLAGS],
    "array": ["--root=a root", "--", CONFIG, "--arms=vdm,diffenc", "--seeds=0-1", "--passes=4"],
}
ACTIONS = [
    *(("tpu.sh", action, options) for action, options in TPU.items()),
    *(("gke.sh", action, options) for action, options in GKE.items()),
    *(("slurm.sh", action, options) for action, options in SLURM.items()),
]
PROGRAM = {"tpu.sh": "gcloud", "gke.sh": "kubectl", "slurm.sh": "sbatch"}

RECORDS = r"""#!/usr/bin/env bash
printf '%s\0' "${0##*/}" "$@" $'\036' >>"$RECORD"
"""


class Place:
    """A folder with stand-ins on PATH, and the record of their calls."""

    def __init__(self, folder):
        self.folder, self.bin, self.record = folder, folder / "bin", folder / "record"
        self.bin.mkdir()
        self.environment = os.environ | {
            "PATH": f"{self.bin}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "RECORD": str(self.record),
            "HOME": str(folder),
        }
        for name in ("XLA_FLAGS", "PYTHON"):
            self.environment.pop(name, None)

    def stand_in(self, name, does=""):
        path = self.bin / name
        path.write_text(RECORDS + does)
        path.chmod(0o755)
        return path

    def calls(self):
        """The words of each recorded call."""
        text = self.record.read_text() if self.record.exists() else ""
        return [call.split("\0")[:-1] for call in text.split("\036\0")[:-1]]

    def run(self, script, *args, cwd=None, typed="", timeout=60, program="bash", **environment):
        pipes = dict(input=typed, capture_output=True, text=True, timeout=timeout)
        command, env = [program, script, *args], self.environment | environment
        return subprocess.run(command, cwd=cwd or self.folder, env=env, **pipes)


def assert_refused(done, message):
    """The launcher exits with code 2 and one line on standard error."""
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1

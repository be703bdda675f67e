"""Command lines of the scripts in `launch/` that make one run each."""

import shlex
from collections.abc import Sequence

# Script and action by name.
LAUNCHERS = {
    "slurm": ("launch/slurm.sh", "run"),
    "gke": ("launch/gke.sh", "run"),
    "tpu": ("launch/tpu.sh", "watch"),
}


def launch_line(launcher: str, name: str, flags: Sequence[str], training: Sequence[str]) -> str:
    """Shell command for one run.

    Args:
      launcher: a name of `LAUNCHERS`.
      name: name of the job.
      flags: flags of the launcher.
      training: flags of the training.
    """
    script, action = LAUNCHERS[launcher]
    return shlex.join([script, action, f"--name={name}", *flags, "--", *training])

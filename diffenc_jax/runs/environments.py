"""Environments that a run was started in and went on in: software and devices, in the run's config.json."""

from pathlib import Path

from diffenc_jax.config import Config
from diffenc_jax.core import versions
from diffenc_jax.parallel import hosts
from diffenc_jax.runs.files import writing
from diffenc_jax.runs.workdir import stored_environments, write_config


def note_environment(workdir: Path, config: Config, start: int) -> str:
    """Note the environment in which the run in `workdir` trains from step `start` on; every host may call this.

    Returns:
      What differs from the environment of the steps so far, such as 'under other versions: jax 0.10.2 -> 0.12.0';
      empty without a difference, at the start of a run, and after its last step.
    """
    if not hosts.is_first() or start >= config.train.steps:
        return ""
    earlier = stored_environments(workdir) if start else []
    here = versions.environment()
    if earlier and earlier[-1] == here:
        return ""
    with writing(workdir):
        write_config(workdir, config, [*earlier, here])
    return versions.changes(earlier[-1], here) if earlier else ""

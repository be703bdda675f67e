"""Studies of trained runs. Each is a class, with an entry in `lab/table.py` or in another package.

from diffenc_jax.lab import studies

measured = studies.measure("depth-study", "runs/digits-vdm-seed0", depths=(10, 100))
print(measured.result.sentence())
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from etils import epy

from diffenc_jax.core import parts
from diffenc_jax.core.buckets import as_path

with epy.lazy_imports():
    from diffenc_jax.lab.studies import study


def load(name: str) -> "study.Study[Any, Any]":
    """The study with this name, or `module:Name`; raises InputError if there is none."""
    return parts.load("study", name)()


def measure(
    name: str,
    workdir: str | Path,
    changes: Mapping[str, Any] | None = None,
    watch: "study.Watch | None" = None,
    plugins: Collection[str] = (),
    **arguments: Any,
) -> "study.Measured[Any]":
    """The result of a study of the run in `workdir`. Unlike the study's command, this function writes no files.

    Args:
      name: name of the study's command, such as "depth-study".
      changes: changed values of the run's configuration by key, such as {"eval.split": "train"}.
      plugins: packages whose parts the run's configuration may name, and which may therefore be imported.
      watch: context manager around each part of the work; None shows no progress.
      arguments: the command's options, with underscores.

    Raises:
      InputError: there is no such run, or the study cannot measure it.
    """
    chosen = load(name)
    values = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
    given, options = parts.allowed(changes or {}), chosen.arguments(**values)
    run = chosen.subject(as_path(str(workdir)), options, given, plugins)
    return chosen.measured(run, options, given, watch or study.UNWATCHED)

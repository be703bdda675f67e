"""Studies of trained runs, each of them a class and an entry of the table `STUDIES`.

from diffenc_jax.lab import studies

measured = studies.measure("depth-study", "runs/digits-vdm-seed0", depths=(10, 100))
print(measured.result.sentence())
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from diffenc_jax.lab.studies.study import Measured, Study, Watch


class Entry(NamedTuple):
    """A study's class as 'package.module:Name', a line for the list of commands, and whether it runs networks."""

    target: str
    summary: str
    computes: bool = True


HERE = "diffenc_jax.lab.studies"
STUDIES = {
    "loss-by-time": Entry(f"{HERE}.by_time.study:LossByTime", "measure the diffusion loss by noise level"),
    "depth-study": Entry(f"{HERE}.depth.study:DepthStudy", "measure bits/dim by number of steps, and the best steps"),
    "rate-distortion": Entry(
        f"{HERE}.rate_distortion.study:RateDistortion", "measure the error of images by the bits received"
    ),
    "classify": Entry(f"{HERE}.classify.study:Classify", "classify images by the bound under each label"),
    "encoder-study": Entry(
        f"{HERE}.encoder.study:EncoderStudy", "measure what a trained encoder does, and the bound without it"
    ),
    "sample-quality": Entry(
        f"{HERE}.sample_quality.study:SampleQuality", "measure samples beside real images", computes=False
    ),
}


def load(name: str) -> "Study[Any, Any]":
    """The study of this name."""
    module, _, kind = STUDIES[name].target.partition(":")
    return getattr(importlib.import_module(module), kind)()


def measure(
    name: str,
    workdir: str | Path,
    changes: Mapping[str, Any] | None = None,
    watch: "Watch | None" = None,
    **arguments: Any,
) -> "Measured[Any]":
    """The result of a study of the run in `workdir`. Writes none of the files of its command.

    Args:
      name: of the study's command, such as "depth-study".
      changes: other values by key of the run's configuration, such as {"eval.split": "train"}.
      watch: context manager around each part of the work; None shows no progress.
      arguments: the command's options, with underscores.

    Raises:
      InputError: there is no such run, or the study cannot be made of it.
    """
    from diffenc_jax.core.buckets import as_path
    from diffenc_jax.core.errors import lookup
    from diffenc_jax.lab.studies.study import UNWATCHED

    lookup("study", name, STUDIES)
    study = load(name)
    given, options = dict(changes or {}), study.arguments(**arguments)
    return study.measured(study.open(as_path(str(workdir)), options, given), options, given, watch or UNWATCHED)

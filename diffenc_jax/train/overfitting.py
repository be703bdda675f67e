"""The caution after a training in which bits/dim rose on the evaluated split while they fell on the training data."""

from collections.abc import Sequence

import numpy as np

from diffenc_jax.runs.metrics import evaluated_bpd, read_metrics
from diffenc_jax.runs.record_types import Record
from diffenc_jax.runs.stored import StoredRun

CLEAR = 2  # a change counts if it is larger than this multiple of the changes from one value to the next


def caution(run: StoredRun, last: Record) -> str:
    """A line that names the step with the least bits/dim and how to take it; "" unless they rise after this step.

    `_rises` decides from that step to the `last` record, for the falling ones of training with the other sign.
    """
    rows = read_metrics(run.workdir)
    evaluated, training = evaluated_bpd(rows), {row["step"]: row["bpd"] for row in rows if "bpd" in row}
    step = min(evaluated, key=lambda step: evaluated[step], default=last["step"])
    start = max((logged for logged in training if logged <= step), default=step)
    falling = [-bits for logged, bits in sorted(training.items()) if logged >= start]
    if not _rises([bits for other, bits in sorted(evaluated.items()) if other >= step]) or not _rises(falling):
        return ""
    split, now = last["dataset"]["split"], last["bpd"]["total"]
    rise = f"{split} bits/dim rise from {evaluated[step]:.4f} at step {step} to {now:.4f}, while those of training fall"
    take = f"`diffenc eval {run.workdir} --config.eval.checkpoints={step}`, or dj.open(...).at({step}), takes that step"
    if step not in run.steps():
        take = "its checkpoint is not kept; give an eval.every_steps that is a multiple of checkpoint.every_steps"
    flatters = f"the bits/dim of a step that is chosen on the {split} split flatter on that split"
    return f"caution: {rise}: the networks learn the training data by heart; {take}; {flatters}"


def _rises(values: Sequence[float]) -> bool:
    """Whether the last of `values` lies above the first by more than `CLEAR` root mean squares of their changes."""
    changes = np.diff(values)
    return len(changes) > 0 and changes.sum() > CLEAR * np.sqrt(np.mean(changes**2))

"""Origin of a run's parameters: noted in its config.json, and compared when the run resumes or is evaluated."""

import sys

from diffenc_jax.config import Config
from diffenc_jax.core import versions
from diffenc_jax.core.errors import require
from diffenc_jax.core.parts import kinds
from diffenc_jax.core.text import printable
from diffenc_jax.data import fingerprints
from diffenc_jax.data.dataset import TRAIN, Split
from diffenc_jax.data.images import Batch
from diffenc_jax.model import outside_parts
from diffenc_jax.parallel import hosts
from diffenc_jax.parallel.batches import training_digests
from diffenc_jax.runs.stored import NO_ORIGIN, Origin, StoredRun

OPTIMIZER = "optimizer"  # a kind of parts


def note_origin(run: StoredRun, config: Config, train: Split, held: Split, start: int) -> str:
    """Note the environment and data with which `run` trains from step `start` on. Every host must call this.

    Args:
      train, held: the training data, and the data of the evaluations.

    Returns:
      How the environment differs from that of the steps so far, such as 'under other versions: jax 0.10.2 -> 0.12.0';
      empty without a difference, at the start of a run, and after its last step.

    Raises InputError if the training images or their labels are not those of the steps so far.
    """
    origin, spec = run.origin if start else NO_ORIGIN, train.spec
    data = check_training_data(run, config, origin, train)
    if not hosts.is_first() or start >= config.train.steps:
        return ""
    here, earlier = versions.environment(outside_parts(config, OPTIMIZER)), origin.environments
    same = bool(earlier) and earlier[-1] == here
    standards = {name: standard._asdict() for name, standard in spec.standards.items()}
    kind = {"shape": spec.shape, "classes": spec.label_spec.classes, "label_shape": spec.label_spec.shape}
    # At the start of a run, `write` adds a new identity. The standards stay what the checkpoints have a digest of.
    environments = earlier if same else [*earlier, here]
    held_out = {**origin.evaluation_data, held.name: fingerprints.sha256(held.data)}
    run.write(config, Origin(environments, data, held_out, origin.standards or standards, kind, origin.run))
    return versions.changes(earlier[-1], here) if earlier else ""


def check_data(run: StoredRun, config: Config, moved: bool, split: Split) -> str:
    """Raise InputError unless a split is that of `run`, by the digests that it has. Every host must call this.

    Splits for evaluation are compared only if the data are `moved`: found elsewhere than in the training.

    Returns:
      A note if the data are moved and the run has no digest of the split; "" otherwise.
    """
    known = run.origin.training_data if split.name == TRAIN else run.origin.evaluation_data
    if split.name == TRAIN:
        check_training_data(run, config, run.origin, split)
    elif moved and split.name in known:
        there, here = known[split.name], fingerprints.sha256(split.data)
        differ = f"{run.workdir} was evaluated on another split {split.name!r} than that of {split.source.name}"
        digests = f"its digest is {there[:12]} there and {here[:12]} here"
        require(there == here, f"{differ}: {digests}; give the same data")
    has_digest = bool(known) if split.name == TRAIN else split.name in known
    return (
        "" if has_digest or not moved else "found elsewhere than in the training, without a digest to compare it with"
    )


def check_training_data(run: StoredRun, config: Config, origin: Origin, train: Split) -> dict[str, str]:
    """Raise InputError unless the training images and labels are those in `origin`, the origin of `run`.

    Every host must call this. Digests that the origin lacks are not compared.

    Returns:
      Digests of the images and labels, as by `training_digests`.
    """
    here, there = training_digests(Batch(train.data, train.labels), config), origin.training_data
    for name in (name for name in here if name in there):
        differ = f"{run.workdir} was trained on other {name} than those of {train.source.name}"
        digests = f"their digest is {there[name][:12]} there and {here[name][:12]} here"
        advice = "give the same data, or train in another --workdir"
        require(here[name] == there[name], f"{differ}: {digests}; {advice}")
    return here


def check_parts(run: StoredRun, config: Config, trains: bool = False) -> None:
    """Raise InputError if the run has a checkpoint, and parts from outside this package have changed since then.

    The optimizer counts only if the run `trains`. With `checkpoint.other_parts` no error is raised: a line on standard
    error names the changed parts.
    """
    environments = run.origin.environments
    if not environments or not run.steps():
        return
    there, here = environments[-1]["parts"], outside_parts(config, *([OPTIMIZER] if trains else []))
    keys = {key for key in there if trains or not key.startswith(kinds()[OPTIMIZER].section)} | here.keys()
    changed = sorted(key for key in keys if there.get(key) != here.get(key))
    anew = ", or train anew with --overwrite, which moves this run aside, or in another --workdir" if trains else ""
    differs = f"{run.workdir} was trained with another source of {', '.join(changed)}"
    advice = f"restore it, or give --config.checkpoint.other_parts=True to go on with this one{anew}"
    require(not changed or config.checkpoint.other_parts, f"{differs}; {advice}")
    if changed and hosts.is_first():
        print(f"note: {printable(differs)}, which makes it another model", file=sys.stderr, flush=True)

"""The whole configuration: typed sections, checked together, and what identifies a run."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ml_collections import ConfigDict

from diffenc_jax.config import sections
from diffenc_jax.config.changes import changed
from diffenc_jax.config.schema import Section, flatten
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError
from diffenc_jax.core.keys import REQUIRED, key, seed

# Sections and keys that change how a run is carried out or examined, not what it computes: a run may resume with other
# values, and they are no part of its identity.
CHANGEABLE = (
    *("checkpoint", "eval", "fit", "log", "mesh", "ode", "sample"),
    *("data.dir", "model.scan", "model.remat"),
    *("train.flops_of", "train.on_nonfinite", "train.steps"),
)

ABSENT = "(absent)"


@dataclass(frozen=True, kw_only=True)
class Config(Section):
    """One run's configuration. Every instance has passed all checks that need neither data nor networks."""

    name: str = key(REQUIRED, "Name of the configuration; part of the default workdir.")
    arm: str = key(REQUIRED, "Name of the compared model, such as 'diffenc' or 'vdm'.")
    seed: int = seed("Seed of the initial parameters, the order of images, the times, the noise and the dropout.")
    model: sections.ModelConfig
    data: sections.DataConfig
    loss: sections.LossConfig
    train: sections.TrainConfig
    log: sections.LogConfig
    checkpoint: sections.CheckpointConfig
    eval: sections.EvalConfig
    ode: sections.OdeConfig
    fit: sections.FitConfig
    sample: sections.SampleConfig
    mesh: sections.MeshConfig

    def check(self) -> None:
        model, sample, loss = self.model, self.sample, self.loss
        if loss.variance_ratio == sections.LEARNED_ERROR and not model.error_head:
            ratio = f"loss.variance_ratio={loss.variance_ratio}"
            raise InputError(f"{ratio} is that of model.error_head; train with model.error_head=True")
        if sample.label is not None and not model.labels:
            advice = "train with model.labels=True"
            raise InputError(f"sample.label={sample.label} is for a model that is conditioned on labels; {advice}")
        if model.augmentation and self.train.augment is None:
            advice = "give that too, such as train.augment=flip"
            raise InputError(f"model.augmentation=True conditions on train.augment; {advice}")
        learns_ratios = sample.sampler == sections.ANCESTRAL and loss.variance_ratio == sections.LEARNED
        if learns_ratios and sample.depth != loss.depth:
            depths = f"sample.depth={sample.depth} must be loss.depth={loss.depth}"
            raise InputError(f"{depths}, since one ratio per step is learned")

    @classmethod
    def parse(cls, values: Mapping[str, Any] | ConfigDict, path: str = "") -> Self:
        """The configuration from nested mappings, such as a ConfigDict or a stored config.json.

        Raises InputError if a key is missing or unknown, a value is not allowed, or values make no sense together.
        """
        return super().parse(values.to_dict() if isinstance(values, ConfigDict) else values, path)

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """The configuration with other values, checked again.

        Changes are values by key, such as {"loss.depth": 10}, and sections, given as mappings or as sections:
        {"model.encoder": {"kind": "identity"}}. The places of parts among them must be allowed, as by `parts.allowed`.
        Raises InputError as `parse` does.
        """
        return self.parse(changed(self.to_dict(), changes))

    def allowing(self, packages: Collection[str]) -> Self:
        """A copy of the configuration in which parts of these packages may be imported."""
        return self.parse(parts.allowed(self.to_dict(), packages))

    def identity(self) -> dict[str, Any]:
        """Values by key of all that decides what the run computes; see `CHANGEABLE`."""
        changeable = set(CHANGEABLE) - ({"train.steps"} if self.train.steps_decide_rates else set())
        values = flatten(self.to_dict()).items()
        return {key: value for key, value in values if not {key, key.partition(".")[0]} & changeable}

    @property
    def augmentation(self) -> str | None:
        """The augmentation of the training images, 'flip,rotate' or 'flip,rotate, conditioned'; None without one."""
        kinds = ",".join(self.train.augmentations)
        return (f"{kinds}, conditioned" if self.model.augmentation else kinds) or None

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits, a digest of `identity`."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def changes(self, other: "Config") -> dict[str, tuple[Any, Any]]:
        """(value here, value in `other`) by key of the identities, where they differ; "(absent)" for a lacking key."""
        ours, theirs = self.identity(), other.identity()
        pairs = {key: (ours.get(key, ABSENT), theirs.get(key, ABSENT)) for key in sorted(ours.keys() | theirs)}
        return {key: (here, there) for key, (here, there) in pairs.items() if here != there}

    def differences(self, other: "Config") -> list[str]:
        """'key=ours (there theirs)' for each key of the identities that differs."""
        return [f"{key}={here} (there {there})" for key, (here, there) in self.changes(other).items()]

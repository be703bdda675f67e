"""The whole configuration: typed sections, checked together, and what identifies a run."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from ml_collections import ConfigDict

from diffenc_jax.config import sections
from diffenc_jax.config.changes import changed
from diffenc_jax.config.schema import Section, flatten, json_digest
from diffenc_jax.core import parts
from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import REQUIRED, key, seed

# Sections and keys that decide how a run is carried out or examined, not what it computes. They are no part of its
# identity: a run may resume with other values.
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
        require(self.name != "", "name='' names a folder; it must not be empty")
        for part, text in (("name", self.name), ("arm", self.arm)):  # a configuration may have no arm
            is_plain = "/" not in text and not text.startswith(".")
            require(is_plain, f"{part}={text!r} names a folder; it must neither hold '/' nor begin with '.'")
        model, sample, loss = self.model, self.sample, self.loss
        needs_head = f"loss.variance_ratio={loss.variance_ratio} needs the error head; train with model.error_head=True"
        require(model.error_head or loss.variance_ratio != sections.LEARNED_ERROR, needs_head)
        needs_labels = f"sample.label={sample.label} needs a model with labels; train with model.labels=True"
        require(model.labels or sample.label is None, needs_labels)
        needs_augment = "model.augmentation=True needs train.augment; give that too, such as train.augment=flip"
        require(self.train.augment is not None or not model.augmentation, needs_augment)
        draws_pictures = f"log.samples={self.log.samples} draws pictures; for real numbers, give log.samples=0"
        require(self.data.pixel_levels is not None or self.log.samples == 0, draws_pictures)
        learns_ratios = sample.sampler == sections.ANCESTRAL and loss.variance_ratio == sections.LEARNED
        depths = f"sample.depth={sample.depth} must be loss.depth={loss.depth}, since one ratio per step is learned"
        require(not learns_ratios or sample.depth == loss.depth, depths)

    @classmethod
    def parse(cls, values: Mapping[str, Any] | ConfigDict, path: str = "") -> Self:
        """The configuration from nested mappings, such as a ConfigDict or a stored config.json.

        Raises InputError if a key is missing or unknown, a value is not allowed, or values make no sense together.
        """
        return super().parse(values.to_dict() if isinstance(values, ConfigDict) else values, path)

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """The configuration with other values, checked again.

        Raises InputError as `parse` does.

        Args:
          changes: values by key, such as {"loss.depth": 10}, and sections as mappings or as sections, such as
            {"model.encoder": {"kind": "identity"}}. Import paths of parts must be allowed, as by `parts.allowed`.
        """
        return self.parse(changed(self.to_dict(), changes))

    def allowing(self, packages: Collection[str]) -> Self:
        """A copy of the configuration in which parts of these packages may be imported."""
        return self.parse(parts.allowed(self.to_dict(), packages))

    def identity(self) -> dict[str, Any]:
        """Values, by key, that decide what the run computes: all but `CHANGEABLE`."""
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
        values = self.identity()
        values["train.ends_every"] = values.pop("train.endpoint_interval")  # its name in the hashes that runs store
        return json_digest(values)[:12]

    def changes(self, other: "Config") -> dict[str, tuple[Any, Any]]:
        """(value here, value there) by key, where the identities differ; "(absent)" stands for a missing key."""
        ours, theirs = self.identity(), other.identity()
        pairs = {key: (ours.get(key, ABSENT), theirs.get(key, ABSENT)) for key in sorted(ours.keys() | theirs)}
        return {key: (here, there) for key, (here, there) in pairs.items() if here != there}

    def differences(self, other: "Config") -> list[str]:
        """'key=ours (there theirs)' for each key of the identities that differs."""
        return [f"{key}={here} (there {there})" for key, (here, there) in self.changes(other).items()]

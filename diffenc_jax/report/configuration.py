"""Configurations beside the published recipe, and beside each other."""

import copy
from typing import Any

from ml_collections import ConfigDict

from diffenc_jax.compare import UNKNOWN
from diffenc_jax.config import ARMS, choose_arm, flatten, recipe, with_changes
from diffenc_jax.document import Section, Table, Text
from diffenc_jax.report.collect import Collection
from diffenc_jax.report.html import Fold, Marked

# In what the recipe departs from the publication.
AS_PUBLISHED = {"train.ends_every": 1}
# What tells runs apart and is no recipe, or is left to the machine.
NO_RECIPE = ("name", "arm", "seed", "eval.seed", "model.scan", "model.remat")
# The published arm of each kind of encoder.
ARM_OF_ENCODER = {"trainable": "diffenc", "nontrainable": "nontrainable", "identity": "vdm"}
NO_KEY = object()


def published(config: ConfigDict) -> dict[str, Any]:
    """The published recipe of the arm that has the encoder of `config`, on its data; keys flattened."""
    arm = ARM_OF_ENCODER.get(config.model.encoder.kind, "diffenc")
    base = choose_arm(recipe(config.name, arm), copy.deepcopy(ARMS))
    return flatten(with_changes(base, AS_PUBLISHED))


def section(collection: Collection) -> Section:
    """What differs from the published recipe, what differs between the runs, and all keys."""
    configs = {name: flatten(run.config) for name, run in collection.first_of_groups.items()}
    recipes = {name: published(run.config) for name, run in collection.first_of_groups.items()}
    keys = sorted({key for flat in (*configs.values(), *recipes.values()) for key in flat} - set(NO_RECIPE))

    def here(name, key):
        return configs[name].get(key, NO_KEY)

    def departs(key):
        return any(here(name, key) != recipes[name].get(key, NO_KEY) for name in configs)

    def row(key):
        there = dict.fromkeys(_text(flat.get(key, NO_KEY)) for flat in recipes.values())
        cells = (
            _text(here(name, key)) if here(name, key) == flat.get(key, NO_KEY) else Marked(_text(here(name, key)))
            for name, flat in recipes.items()
        )
        return [key, *cells, " or ".join(there)]

    columns = [*configs, "published"] if len(configs) > 1 else ["here", "published"]
    departing = [row(key) for key in keys if departs(key)]
    unlike = [key for key in keys if len({_text(here(name, key)) for name in configs}) > 1]
    blocks: list[Any] = [
        Text(
            "Published is the recipe of DiffEnc-32-4 on CIFAR-10 (arXiv 2310.19789), with the same kind of encoder; of "
            "evaluation, logging and checkpoints it is what this program does by default. Marked: what differs from it."
        ),
        Table(["key", *columns], departing, f"{len(departing)} of {len(keys)} keys differ from the published recipe"),
    ]
    if len(configs) > 1:
        rows = [[key, *(_text(here(name, key)) for name in configs)] for key in unlike]
        blocks.append(Section("What differs between the runs", [Table(["key", *configs], rows)]))
    blocks.append(Fold(f"All {len(keys)} keys", [Table(["key", *columns], [row(key) for key in keys], "All keys")]))
    return Section("Configuration", blocks)


def _text(value: Any) -> str:
    """A value as it is told: a key that is not there as a dash, a list in brackets."""
    if value is NO_KEY:
        return UNKNOWN
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)

"""Configurations compared with the published recipe and with each other."""

from collections.abc import Sequence
from typing import Any

from diffenc_jax.config import Config, flatten
from diffenc_jax.config.recipe import ARMS, AS_PUBLISHED, choose_arm, recipe, with_changes
from diffenc_jax.core.document import Section, Table, Text
from diffenc_jax.core.numbers import UNKNOWN
from diffenc_jax.lab.report.collect import Collection
from diffenc_jax.lab.report.html import Fold, Marked

# Keys that no recipe sets: they distinguish runs or depend on the machine.
NO_RECIPE = {"name", "arm", "seed", "eval.seed", "model.scan", "model.remat"}
# The published arm by kind of encoder.
ARM_OF_ENCODER = {"trainable": "diffenc", "nontrainable": "nontrainable", "identity": "vdm"}


def published_recipe(config: Config) -> dict[str, Any]:
    """Flat published recipe of the arm that has the encoder of `config`, on its data."""
    arm = ARM_OF_ENCODER.get(config.model.encoder.kind, "diffenc")
    values = with_changes(choose_arm(recipe(config.name, arm), ARMS), AS_PUBLISHED)
    return flatten(Config.parse(values).to_dict())


def configuration_section(collection: Collection) -> Section:
    """Differences to the published recipe, differences between the runs, and all keys."""
    flat = {name: flatten(run.config.to_dict()) for name, run in collection.first_of_groups.items()}
    recipes = {name: published_recipe(run.config) for name, run in collection.first_of_groups.items()}
    keys = sorted({key for values in (*flat.values(), *recipes.values()) for key in values} - NO_RECIPE)
    texts = {key: [_text(values, key) for values in flat.values()] for key in keys}
    expected = {key: [_text(values, key) for values in recipes.values()] for key in keys}

    def table(shown: Sequence[str], caption: str) -> Table:
        rows = []
        for key in shown:
            pairs = zip(texts[key], expected[key], strict=True)
            cells = [here if here == there else Marked(here) for here, there in pairs]
            rows.append([key, *cells, " or ".join(dict.fromkeys(expected[key]))])
        return Table(["key", *(flat if len(flat) > 1 else ["here"]), "published"], rows, caption)

    departing = [key for key in keys if texts[key] != expected[key]]
    blocks: list[Any] = [
        Text(
            "The published recipe is that of DiffEnc-32-4 on CIFAR-10 (arXiv 2310.19789), with the same kind of "
            "encoder; evaluation, logging and checkpoints are the defaults of this package. Differences are marked."
        ),
        table(departing, f"{len(departing)} of {len(keys)} keys differ from the published recipe"),
    ]
    if len(flat) > 1:
        rows = [[key, *texts[key]] for key in keys if len(set(texts[key])) > 1]
        blocks.append(Section("Differences between the runs", [Table(["key", *flat], rows)]))
    blocks.append(Fold(f"All {len(keys)} keys", [table(keys, "All keys")]))
    return Section("Configuration", blocks)


def _text(values: dict[str, Any], key: str) -> str:
    """The value of a key; `UNKNOWN` for a key that is absent, and a list without brackets."""
    value = values.get(key, UNKNOWN)
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)

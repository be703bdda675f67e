"""List the keys of a configuration: defaults, limits, choices and meanings.

SECTION is a section, such as train or model.score, or one key. Defaults are those of the published recipe.
"""

import inspect
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any, NamedTuple, get_origin

from etils import epy

from diffenc_jax.core import parts
from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import FINITE, REQUIRED, Key, join, keys_of

with epy.lazy_imports():  # help needs none of them
    from diffenc_jax.config import config, recipe, schema, sections

EXAMPLE = "diffenc config-keys train"
WIDTH = 80


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("section", nargs="?", default="", metavar="SECTION", help="section or key (default: all)")


class Listed(NamedTuple):
    """A key of the list: its path, definition and default, and the name of the part that has it, or ""."""

    path: str
    key: Key
    default: Any
    kind: str = ""


class Listing(NamedTuple):
    """A section: its path, what it holds, and its keys."""

    path: str
    text: str
    keys: list[Listed]


def run(arguments: Namespace) -> None:
    wanted = arguments.section
    keys = [listed for listing in listings(config.Config) for listed in listing.keys]
    chosen = [listed for listed in keys if not wanted or f"{listed.path}.".startswith(f"{wanted}.")]
    require(bool(chosen), schema.unknown_key(wanted, {listed.path for listed in keys}))
    print("\n".join(map(_describe, chosen)))


def listings(section: "type[schema.Section]") -> Iterator[Listing]:
    """A section and its nested sections, with the defaults of the recipe."""
    keys = [Listed(join(section.section, name), key, key.default) for name, key in keys_of(section).items()]
    yield Listing(section.section, (inspect.getdoc(section) or "").splitlines()[0].replace("`", ""), keys)
    for name, nested in schema.sections_of(section).items():
        if nested is sections.PartConfig:
            yield _part_listing(join(section.section, name))
        elif nested is not sections.Options:
            yield from listings(nested)


def _part_listing(path: str) -> Listing:
    """A part's section, with the keys of every registered part."""
    (kind,) = (name for name, kind in parts.kinds().items() if kind.section == path)
    what, recipes = parts.kinds()[kind].what, schema.flatten(recipe.recipe("recipe", "diffenc").to_dict())
    doc = f"The {what}; the other keys are its own. Another one has its own defaults for them."
    chosen = recipes[f"{path}.kind"]
    keys = [Listed(f"{path}.kind", Key(doc, type=str, part=kind, default=""), chosen)]
    for name in sorted(parts.entries(kind)):
        for option, definition in parts.keys(kind, name).items():
            default = recipes.get(f"{path}.{option}", definition.default) if name == chosen else definition.default
            keys.append(Listed(f"{path}.{option}", definition, default, name))
    return Listing(path, f"{path}: a {what}, and its keys", keys)


def _describe(listed: Listed) -> str:
    """A line with the key, its default and notes; then, indented, its meaning and its possible values."""
    head = listed.path if listed.default is REQUIRED else f"{listed.path} = {listed.default!r}"
    notes = ", ".join(filter(None, [listed.key.unit, listed.kind and f"of kind={listed.kind}"]))
    text = textwrap.indent(textwrap.fill(meaning(listed.key), WIDTH - 6, break_on_hyphens=False), " " * 6)
    return f"  {head}{f'  ({notes})' if notes else ''}\n{text}"


def meaning(key: Key) -> str:
    """The meaning of a key, and its possible values."""
    value = f"one of {', '.join(sorted(parts.entries(key.part)))}, or package.module:Name" if key.part else key.expected
    value = f"a tuple, each {value}" if get_origin(key.type) is tuple else value
    limits = "" if key.limits is FINITE else f"; must {key.limits.words}"
    none = f"; None: {key.none}" if key.none else ""
    return f"{key.doc} {value[0].upper()}{value[1:]}{limits}{none}."

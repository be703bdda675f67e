"""List the keys of a configuration: defaults, limits, choices and meanings.

SECTION is a section, such as train or model.score, or one key. Defaults are those of the published recipe; with
--config they are the values of that configuration.
"""

import inspect
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, get_origin

from diffenc_jax.commands.arguments import add_config
from diffenc_jax.core import parts
from diffenc_jax.core.keys import FINITE, REQUIRED, Key, keys_of

if TYPE_CHECKING:
    from diffenc_jax.config.schema import Section

EXAMPLE = """\
diffenc config-keys train
diffenc config-keys model.score --config=digits:vdm"""
WIDTH = 80


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("section", nargs="?", default="", metavar="SECTION", help="section or key (default: all)")
    add_config(parser, required=False)


class Listed(NamedTuple):
    """A key as it is listed: its path, its definition, its default, and the kind of network that has it, or ""."""

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
    from diffenc_jax.config import Config, flatten, load_config
    from diffenc_jax.config.schema import unknown_key
    from diffenc_jax.core.errors import require

    require(arguments.config or not arguments.overrides, "--config.key=value is for --config=NAME; give that as well")
    values = flatten(load_config(arguments.config, arguments.overrides).to_dict()) if arguments.config else None
    wanted = arguments.section
    blocks = [block for listing in listings(Config, values) for block in _blocks(listing)]
    chosen = [text for path, text in blocks if not wanted or f"{path}.".startswith(f"{wanted}.")]
    require(bool(chosen), unknown_key(wanted, {path for path, _ in blocks}))
    print("\n".join(chosen).strip("\n"))


def listings(section: "type[Section]", values: Mapping[str, Any] | None = None) -> Iterator[Listing]:
    """The section, and those in it, with the defaults of the recipe, or with the `values` of a configuration by key."""
    from diffenc_jax.config.schema import join, sections_of
    from diffenc_jax.config.sections import Options, PartConfig

    paths = {join(section.section, name): key for name, key in keys_of(section).items()}
    keys = [Listed(path, key, key.default if values is None else values[path]) for path, key in paths.items()]
    yield Listing(section.section, (inspect.getdoc(section) or "").splitlines()[0].replace("`", ""), keys)
    for name, nested in sections_of(section).items():
        if nested is PartConfig:
            yield _part_listing(join(section.section, name), values)
        elif nested is not Options:
            yield from listings(nested, values)


def _part_listing(path: str, values: Mapping[str, Any] | None) -> Listing:
    """A part's section, with the keys of every registered part, or only of the part in `values`."""
    from diffenc_jax.config import flatten
    from diffenc_jax.config.recipe import recipe

    (kind,) = (name for name, kind in parts.KINDS.items() if kind.section == path)
    what = parts.KINDS[kind].what
    defaults = flatten(recipe("recipe", "diffenc").to_dict()) if values is None else values
    chosen = defaults[f"{path}.kind"]
    doc = f"The {what}; the other keys are its own. Another one keeps the values of the keys that both have."
    definition = Key(doc, type=str, part=kind, default="")
    keys = [Listed(f"{path}.kind", definition, chosen)]
    for name in parts.names(kind) if values is None else [chosen]:
        for option, definition in parts.keys(kind, name).items():
            key = f"{path}.{option}"
            keys.append(Listed(key, definition, defaults[key] if name == chosen else definition.default, name))
    return Listing(path, f"{path}: a {what}, and its keys", keys)


def _blocks(listing: Listing) -> Iterator[tuple[str, str]]:
    """(path, text) of the section's heading and of its keys."""
    if listing.path:
        yield listing.path, f"\n{textwrap.fill(listing.text, WIDTH)}\n"
    for listed in listing.keys:
        yield listed.path, _describe(listed)


def _describe(listed: Listed) -> str:
    """The key, its default and notes on a line, then its meaning and what it may be, indented."""
    head = listed.path if listed.default is REQUIRED else f"{listed.path} = {listed.default!r}"
    notes = ", ".join(filter(None, [listed.key.unit, listed.kind and f"of kind={listed.kind}"]))
    text = textwrap.indent(textwrap.fill(meaning(listed.key), WIDTH - 6, break_on_hyphens=False), " " * 6)
    return f"  {head}{f'  ({notes})' if notes else ''}\n{text}"


def meaning(key: Key) -> str:
    """The meaning of a key, and its possible values."""
    value = f"one of {', '.join(parts.names(key.part))}, or package.module:Name" if key.part else key.expected
    value = f"a tuple, each {value}" if get_origin(key.type) is tuple else value
    limits = "" if key.limits is FINITE else f"; must {key.limits.words}"
    none = f"; None: {key.none}" if key.none else ""
    return f"{key.doc} {value[0].upper()}{value[1:]}{limits}{none}."

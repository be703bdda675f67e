"""List the keys of a configuration: defaults, limits, choices and meanings.

SECTION is a section, such as train or model.score, or one key. Defaults are those of the published recipe; a
configuration and its arms set others. --config.key=value changes a key for one command.
"""

import importlib
import inspect
import textwrap
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_origin

if TYPE_CHECKING:
    from diffenc_jax.config.keys import Key, Section

EXAMPLE = """\
diffenc config-keys train
diffenc config-keys model.score"""
WIDTH = 80


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("section", nargs="?", default="", metavar="SECTION", help="section or key (default: all)")


def run(arguments: Namespace) -> None:
    from diffenc_jax.config import Config
    from diffenc_jax.config.keys import unknown_key
    from diffenc_jax.core.errors import require

    blocks, wanted = list(_blocks(Config)), arguments.section
    chosen = [text for path, text in blocks if not wanted or f"{path}.".startswith(f"{wanted}.")]
    require(bool(chosen), unknown_key(wanted, {path for path, _ in blocks}))
    print("\n".join(chosen).strip("\n"))


def _blocks(section: "type[Section]") -> Iterator[tuple[str, str]]:
    """(path, text) of a section, of its keys, and of the sections in it."""
    from diffenc_jax.config.keys import join, keys_of, sections_of
    from diffenc_jax.config.sections import NetworkConfig

    if section.section:
        yield section.section, _heading(inspect.getdoc(section).splitlines()[0].replace("`", ""))
    for name, definition in keys_of(section).items():
        path = join(section.section, name)
        yield path, _describe(path, definition, definition.default)
    for name, nested in sections_of(section).items():
        path = join(section.section, name)
        yield from _network_blocks(path) if nested is NetworkConfig else _blocks(nested)


def _network_blocks(path: str) -> Iterator[tuple[str, str]]:
    """(path, text) of a network's section and of the keys of each kind of network."""
    from diffenc_jax.config import flatten
    from diffenc_jax.config.keys import REQUIRED, Key
    from diffenc_jax.config.recipe import recipe
    from diffenc_jax.model.registry import keys_of_kinds

    kinds = keys_of_kinds(path)
    defaults = flatten(recipe("recipe", "diffenc").to_dict())
    kind = Key(
        "The kind decides about the other keys, which change with it.", type=str, choices=tuple(kinds), default=""
    )
    yield path, _heading(f"{path}: a network")
    yield f"{path}.kind", _describe(f"{path}.kind", kind, defaults[f"{path}.kind"])
    for name, options in kinds.items():
        for option, definition in options.items():
            key = f"{path}.{option}"
            default = defaults[key] if name == defaults[f"{path}.kind"] else REQUIRED
            yield key, _describe(key, definition, default, f"kind {name}")


def _heading(text: str) -> str:
    return f"\n{textwrap.fill(text, WIDTH)}\n"


def _describe(path: str, definition: "Key", default: Any, note: str = "") -> str:
    """The key, its default and notes on a line, then its meaning and what it may be, indented."""
    from diffenc_jax.config.keys import FINITE, REQUIRED

    head = path if default is REQUIRED else f"{path} = {default!r}"
    notes = ", ".join(filter(None, [definition.unit, note]))
    value = definition.expected if not definition.registry else f"names: {', '.join(sorted(_registry(definition)))}"
    value = f"a tuple, each {value}" if get_origin(definition.type) is tuple else value
    limits = "" if definition.limits is FINITE else f"; must {definition.limits.words}"
    none = f"; None: {definition.none}" if definition.none else ""
    text = f"{definition.doc} {value[0].upper()}{value[1:]}{limits}{none}."
    text = textwrap.indent(textwrap.fill(text, WIDTH - 6, break_on_hyphens=False), " " * 6)
    return f"  {head}{f'  ({notes})' if notes else ''}\n{text}"


def _registry(definition: "Key") -> Any:
    """Registry that lists the names of a key."""
    module, _, name = definition.registry.partition(":")
    return getattr(importlib.import_module(f"diffenc_jax.{module}"), name)

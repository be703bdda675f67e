"""The reference of the configuration, from the definitions that `diffenc config-keys` prints."""

from html import escape
from itertools import groupby

from diffenc_jax.commands.config_keys import Listed, Listing, listings, meaning
from diffenc_jax.config import Config
from diffenc_jax.core.keys import REQUIRED


def reference() -> str:
    """A heading and the keys of each section."""
    return "\n\n".join(map(_section, listings(Config)))


def _section(listing: Listing) -> str:
    text = listing.text.removeprefix(f"{listing.path}: ")
    intro = f"{text[0].upper()}{text[1:]}" if listing.path else ""
    lists = [_list(kind, list(keys)) for kind, keys in groupby(listing.keys, lambda listed: listed.kind)]
    return "\n\n".join(filter(None, [f"## {listing.path or 'The run'}", escape(intro), *lists]))


def _list(kind: str, keys: list[Listed]) -> str:
    """The keys of a section, or those that one part has."""
    heading = f"<p>Of <code>kind={escape(kind)}</code>:</p>\n" if kind else ""
    return f'{heading}<dl class="keys">\n' + "\n".join(map(_key, keys)) + "\n</dl>"


def _key(listed: Listed) -> str:
    """A key with its default and unit, and its meaning below."""
    default = "" if listed.default is REQUIRED else f" = <code>{escape(repr(listed.default))}</code>"
    place = listed.path + (f"-{listed.kind}" if listed.kind else "")
    head = f'<dt id="{place}"><code>{listed.path}</code>{default} {listed.key.unit}</dt>'
    return f"{head}\n<dd>{escape(meaning(listed.key))}</dd>"

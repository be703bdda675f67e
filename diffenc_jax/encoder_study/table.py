"""What switching the encoder off does, as a table to be read, from what the study wrote; needs no JAX."""

import json
from pathlib import Path
from typing import Any

from diffenc_jax.errors import InputError

FOLDER = "encoder_study"
TRAINED = "trained"
CAPTION = "bits/dim, and what others exceed them by (± standard error)"


def read(path: Path) -> dict[str, Any]:
    """The encoders of a '-off.json', by name.

    Raises:
      InputError: it cannot be read as one.
    """
    try:
        found = json.loads(path.read_text())["encoders"]
        cells(found)
        meanings(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read as bounds with other encoders; make it anew") from error
    return found


def cells(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: the bound with the trained encoder by term, and what it is more with others in its place."""
    terms = [*(term for term in found[TRAINED]["bpd"] if term != "total"), "total"]
    rows = []
    for name, entry in found.items():
        if name == TRAINED:
            figures = [f"{entry['bpd'][term]:.4f}" for term in terms]
        else:
            pairs = (entry["difference"][term] for term in terms)
            figures = [f"{pair['mean']:+.4f} ± {pair['standard_error']['total']:.4f}" for pair in pairs]
        rows.append([name, *figures])
    return ["encoder", *terms], rows


def meanings(found: dict[str, Any]) -> list[str]:
    """A line for each encoder: what its bound is."""
    return [f"{name}: {entry['meaning']}" for name, entry in found.items()]

"""How the record of an evaluation is read out."""

from typing import Any


def format_record(record: dict[str, Any]) -> str:
    """'1.8912 ± 0.0031 (noise) ± 0.0123 (images) bits/dim'."""
    return f"{_format(record['bpd']['total'], record['standard_error'])} bits/dim"


def format_terms(record: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, '0.0067 ± 0.0001 (noise) ± 0.0002 (images)') of each term."""
    terms = record["standard_error"]["terms"]
    return [(name, _format(record["bpd"][name], errors)) for name, errors in terms.items()]


def _format(value: float, errors: dict[str, float | None]) -> str:
    noise, images, total = (errors[kind] for kind in ("noise", "images", "total"))
    text = f"{value:.4f}"
    if noise is not None:
        text += f" ± {noise:.4f} (noise)"
    if images is not None:
        text += f" ± {images:.4f} (images)"
    elif total is not None:
        text += f" ± {total:.4f} (images and noise)"
    return text

"""Control characters are escaped or found, and other characters stay."""

import pytest

from diffenc_jax.core.errors import InputError, require_printable
from diffenc_jax.core.text import has_controls, printable, printable_lines

HOSTILE = ("\x00", "\t", "\n", "\r", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066", "\udcff")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_control_characters_are_escaped(hostile):
    shown = printable(f"a{hostile}b")
    assert shown.isprintable()
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert shown[1:-1].encode().decode("unicode_escape") == hostile
    assert has_controls({"a": [1, {hostile: None}]})
    assert has_controls(["x", f"{hostile}y"])


@pytest.mark.parametrize("text", ["\n", "spä".encode().decode("ascii", "surrogateescape")])
def test_texts_with_control_characters_or_bytes_of_another_encoding_are_refused(text):
    with pytest.raises(InputError, match=r"^data.source='[a-z\\0-9]*' has control characters; leave them out"):
        require_printable(text, "data.source")


def test_other_characters_stay():
    text = "γ = 1.5 ± 0.1, 数字 \u3000 e\u0301 \\n 'x'"
    assert printable(text) == text
    assert not has_controls({text: [text, 3, None, {"a": 1.5}]})
    assert printable_lines("a\n\x1bb\n") == "a\n\\x1bb\n"

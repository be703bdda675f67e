"""`diffenc config-keys`: every key with its default, limits, choices and meaning, in 80 columns."""

import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.config import Config
from diffenc_jax.config.schema import every_key
from diffenc_jax.core import parts
from diffenc_jax.core.keys import REQUIRED
from tests.registered import ESTIMATORS


def listed(capsys, *section):
    """(head, text) of each key that the command lists, with the text's lines joined."""
    assert main(["config-keys", *section]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    keys = []
    for line in lines:
        if line.startswith("      "):
            keys[-1][1] += f"{line.strip()} "
        elif line.startswith("  "):
            keys.append([line.strip(), ""])
    return keys


def test_lists_every_key_with_its_default_and_its_meaning(capsys):
    keys = dict(listed(capsys))
    heads = {head.split("  (")[0]: text for head, text in keys.items()}
    for path, key in every_key(Config):
        if path.endswith(".kind"):  # a part's, which the recipe names
            continue
        text = heads[path if key.default is REQUIRED else f"{path} = {key.default!r}"]
        for part in (key.doc, key.none, *key.choices, key.limits.words if key.limits.words != "be finite" else ""):
            assert part in text


@pytest.mark.parametrize("kind", ["score", "encoder", "code", "schedule"])
def test_lists_the_keys_of_every_part(kind, capsys):
    section = parts.kinds()[kind].section
    heads = [head for head, _ in listed(capsys, section)]
    for part in sorted(parts.entries(kind)):
        for name in parts.keys(kind, part):
            assert any(head.startswith(f"{section}.{name}") and head.endswith(f"(of kind={part})") for head in heads)


def test_a_section_and_a_key(capsys):
    keys = ["fit.images", "fit.grid", "fit.bins", "fit.seed"]
    assert [head.split(" ")[0] for head, _ in listed(capsys, "fit")] == keys
    ((head, text),) = listed(capsys, "eval.estimator")
    assert head == "eval.estimator = 'bound'"
    assert ", ".join(sorted(ESTIMATORS)) in text
    ((head, text),) = listed(capsys, "train.steps")
    assert head == "train.steps = 8000000  (steps)"
    assert "A whole number; must be at least 1." in text

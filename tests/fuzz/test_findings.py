"""What fuzzing found is refused in one line, and what is right is read right."""

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from tests.fuzz.fuzz_readers import FINDINGS, TARGETS, outcome

SEEDS = [(target, name) for target in TARGETS for name in TARGETS[target].seeds()]
FOUND = sorted(path for path in FINDINGS.glob("*/*"))


@pytest.mark.parametrize(("target", "name"), SEEDS, ids=map(" ".join, SEEDS))
def test_what_is_right_is_read_right(target, name):
    seed = TARGETS[target].seeds()[name]
    found = outcome(target, seed.data)
    if target == "overrides":
        assert seed.value.items() <= found.items()
    elif target == "msgpack":
        assert found["step"] == seed.value["step"]
        assert found["ema_params"].keys() == seed.value["ema_params"].keys()
        for key, array in seed.value["ema_params"].items():
            np.testing.assert_array_equal(found["ema_params"][key], array, strict=True)
    else:
        np.testing.assert_array_equal(found, seed.value, strict=True)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name} {path.name[:20]}")
def test_what_was_found_is_refused(path):
    assert isinstance(outcome(path.parent.name, path.read_bytes()), InputError)

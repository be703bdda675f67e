"""Interrupted evaluations are resumed with the values and tables that they had."""

import contextlib

import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.runs import storage
from diffenc_jax.runs.partial import PartialEvaluation

ROWS = np.array([0, 2])


def interrupted(record):
    """An evaluation of 2 passes over 3 images that is interrupted after two images of the first pass."""
    with contextlib.suppress(KeyboardInterrupt), PartialEvaluation((2, 3), record) as partial:
        partial.tables(lambda: {"steps": jnp.arange(4.0)})
        partial.put(0, ROWS, {"nats": np.array([1.0, 2.0])})
        raise KeyboardInterrupt


def test_an_interrupted_evaluation_is_resumed(tmp_path):
    record = tmp_path / "eval" / "a.json"
    interrupted(record)
    with PartialEvaluation((2, 3), record) as partial:
        np.testing.assert_array_equal(partial.tables(dict)["steps"], np.arange(4))
        np.testing.assert_array_equal(partial.values["nats"], [[1, np.nan, 2], [np.nan] * 3])
        assert partial.has(0, ROWS)
        assert not partial.has(0, np.arange(3))
        assert not partial.has(1, ROWS)
        assert partial.seconds > 0
        partial.finish()
    assert list(record.parent.iterdir()) == []


def test_damaged_values_are_computed_again(tmp_path):
    record = tmp_path / "a.json"
    interrupted(record)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-30])
    with PartialEvaluation((2, 3), record) as partial:
        assert not partial.has(0, ROWS)
        assert partial.tables(lambda: {"steps": jnp.zeros(1)})["steps"].shape == (1,)


def test_values_that_an_exception_left_half_stored_are_not_saved(tmp_path):
    record = tmp_path / "a.json"
    with contextlib.suppress(ValueError), PartialEvaluation((2, 3), record) as partial:
        partial.put(0, ROWS, {"t": np.ones(2), "nats": np.ones(3)})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_once(tmp_path, monkeypatch):
    """By the error that came first, not by that of keeping the values."""
    record = tmp_path / "a.json"

    def evaluate():
        with PartialEvaluation((2, 3), record) as partial:
            partial.put(0, ROWS, {"nats": np.array([1.0, 2.0])})
            monkeypatch.setattr(storage, "write", fill_disk)
            raise OSError(28, "first")

    def fill_disk(*_):
        raise OSError(28, "second")

    with pytest.raises(OSError, match="first"):
        evaluate()

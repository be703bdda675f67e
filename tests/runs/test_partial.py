"""Interrupted evaluations are resumed with the values and tables that they had."""

import contextlib
import re
from unittest.mock import Mock

import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.runs import storage
from diffenc_jax.runs.files import read_arrays
from diffenc_jax.runs.partial import PartialEvaluation, digest_of

ROWS = np.array([0, 2])
DESCRIPTION = {"estimator": {"passes": 2, "times": (0.0, 1.0)}, "dataset": {"num_examples": 3}}
DESCRIPTION |= {"device": "8 x TPU v4", "software": {"jax": "1", "XLA_FLAGS": "--xla_a"}, "parts": {}}


@pytest.fixture
def record(tmp_path):
    """The place of a record, beside which there is an interrupted evaluation."""
    with contextlib.suppress(KeyboardInterrupt), evaluation(tmp_path / "eval" / "a.json") as partial:
        partial.tables(lambda: {"steps": jnp.arange(4.0)})
        partial.put(0, ROWS, {"nats": np.array([1.0, 2.0])})
        raise KeyboardInterrupt
    return tmp_path / "eval" / "a.json"


def evaluation(record, **changes):
    """An evaluation of 2 passes over 3 images."""
    return PartialEvaluation(DESCRIPTION | changes, ("nats",), record)


def test_an_interrupted_evaluation_is_resumed(record, capsys):
    """On another number of devices, on which no value depends."""
    software = {"jax": "1", "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_a"}
    with evaluation(record, device="2 x TPU v4", software=software) as partial:
        np.testing.assert_array_equal(partial.tables(dict)["steps"], np.arange(4))
        np.testing.assert_array_equal(partial.values["nats"], [[1, np.nan, 2], [np.nan] * 3])
        assert partial.has(0, ROWS)
        assert not partial.has(0, np.arange(3))
        assert not partial.has(1, ROWS)
        assert partial.seconds > 0
    assert list(record.parent.iterdir()) == []
    assert capsys.readouterr().err == ""


def started_again(record, capsys, **changes):
    """Lines about an evaluation that uses nothing of what was saved."""
    with evaluation(record, **changes) as partial:
        assert partial.values == {}
        assert partial.tables(lambda: {"steps": jnp.zeros(1)})["steps"].shape == (1,)
        assert partial.seconds < 100
    said = capsys.readouterr().err
    assert said.startswith(str(record.with_suffix(".partial.npz")))
    assert said.count("\n") == 1
    return said


ENVIRONMENTS = [
    ({"device": "8 x TPU v5"}, "device TPU v4 -> TPU v5"),
    ({"software": {"jax": "2", "XLA_FLAGS": "--xla_a"}}, "jax 1 -> 2"),
    ({"software": {"jax": "1", "XLA_FLAGS": "--xla_b"}}, "XLA_FLAGS --xla_a -> --xla_b"),
    ({"parts": {"model.encoder.kind=mine": "0a"}}, "model.encoder.kind=mine none -> 0a"),
    ({"arm": "another"}, "description"),
]


@pytest.mark.parametrize(("changes", "differs"), ENVIRONMENTS)
def test_an_evaluation_starts_again_in_another_environment(record, capsys, changes, differs):
    """Since the record states one for all values."""
    assert differs in started_again(record, capsys, **changes)


FORGED = [
    (2, "about", [None, "", "[]", '{"seconds": 1.0}', np.ones(2)]),
    (2, "seconds", ["null", '"1"', "[1]", "NaN", "Infinity", "-1"]),
    (2, "value.nats", [None, *map(np.ones, [(), (3,), (2, 4), (2, 3, 1)])]),
    (2, "value.nats", [np.full((2, 3), value) for value in (np.float32(1), 1, "1", True)]),
    (2, "value.more", [np.ones(3)]),
    (1, "value.more", [np.ones((2, 3))]),
    (1, "value.nats", [np.full((2, 3), value) for value in (1.0, -np.inf)]),
    (1, "table.steps", [None, np.zeros(4), np.ones((5, 5)), np.full(4, "x")]),
]


@pytest.mark.parametrize(("digests", "name", "values"), FORGED)
def test_what_was_not_saved_is_computed_again(record, capsys, digests, name, values):
    """With the digest that was saved and, for what no evaluation saves, with a digest that fits."""
    path = record.with_suffix(".partial.npz")
    made = read_arrays(path.read_bytes())
    for value in values:
        changed = {name: value}
        if name == "seconds":
            changed = {"about": re.sub(r'"seconds": [\d.e-]+', f'"seconds": {value}', str(made["about"]))}
        forged = {key: np.asarray(array) for key, array in (made | changed).items() if array is not None}
        for digest in (forged.pop("digest"), digest_of(forged))[:digests]:
            np.savez(path, **forged, digest=digest)
            started_again(record, capsys)
    path.write_bytes(b"PK")
    started_again(record, capsys)


def test_values_that_an_exception_left_half_stored_are_missing(tmp_path):
    record = tmp_path / "a.json"
    with contextlib.suppress(ValueError), evaluation(record) as partial:
        partial.put(0, ROWS, {"nats": np.ones(2), "t": np.ones((2, 2))})
    with evaluation(record) as partial:
        assert partial.values.keys() == {"nats", "t"}
        assert not partial.has(0, ROWS)


def test_a_full_disk_is_reported_once(tmp_path, monkeypatch):
    """By the error that came first, not by that of keeping the values."""
    record = tmp_path / "a.json"

    def evaluate():
        with evaluation(record) as partial:
            partial.put(0, ROWS, {"nats": np.array([1.0, 2.0])})
            monkeypatch.setattr(storage, "write", Mock(side_effect=OSError(28, "second")))
            raise OSError(28, "first")

    with pytest.raises(OSError, match="first"):
        evaluate()

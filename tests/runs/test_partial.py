"""Interrupted evaluations are resumed with the values and tables that they had."""

import contextlib
import io
import json
import os
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import read_arrays
from diffenc_jax.runs.partial import PartialEvaluation, digest_of

ROWS = np.array([0, 2])
HERE = {"device": "8 x TPU v4", "software": {"jax": "1", "XLA_FLAGS": "--xla_a"}, "parts": {}}
DESCRIPTION = {"estimator": {"passes": 2, "times": (0.0, 1.0)}, "dataset": {"num_examples": 3}, **HERE}


def evaluation(record, **changes):
    """An evaluation of 2 passes over 3 images."""
    return PartialEvaluation(DESCRIPTION | changes, ("nats",), record)


def interrupted(record):
    """An evaluation that is interrupted after two images of the first pass."""
    with contextlib.suppress(KeyboardInterrupt), evaluation(record) as partial:
        partial.tables(lambda: {"steps": jnp.arange(4.0)})
        partial.put(0, ROWS, {"nats": np.array([1.0, 2.0])})
        raise KeyboardInterrupt


def test_an_interrupted_evaluation_is_resumed(tmp_path):
    record = tmp_path / "eval" / "a.json"
    interrupted(record)
    with evaluation(record) as partial:
        np.testing.assert_array_equal(partial.tables(dict)["steps"], np.arange(4))
        np.testing.assert_array_equal(partial.values["nats"], [[1, np.nan, 2], [np.nan] * 3])
        assert partial.has(0, ROWS)
        assert not partial.has(0, np.arange(3))
        assert not partial.has(1, ROWS)
        assert partial.seconds > 0
    assert list(record.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"device": "2 x TPU v4", "software": HERE["software"]}, None),
        ({"software": {"jax": "1", "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_a"}}, None),
        ({"device": "8 x TPU v5"}, "device TPU v4 -> TPU v5"),
        ({"software": HERE["software"] | {"jax": "2"}}, "jax 1 -> 2"),
        ({"software": HERE["software"] | {"XLA_FLAGS": "--xla_b"}}, "XLA_FLAGS --xla_a -> --xla_b"),
        ({"parts": {"model.encoder.kind=mine": "0a"}}, "model.encoder.kind=mine none -> 0a"),
        ({"arm": "another"}, ""),
    ],
)
def test_values_are_used_in_the_same_environment_only(tmp_path, capsys, changes, differs):
    """Which the record states for all values. The number of devices changes none."""
    record = tmp_path / "a.json"
    interrupted(record)
    with evaluation(record, **changes) as partial:
        assert partial.has(0, ROWS) == (differs is None)
        assert (partial.values == {}) == (differs is not None)
        made = partial.tables(lambda: {"steps": jnp.zeros(1)})["steps"]
    said = capsys.readouterr().err
    if differs is None:
        assert (len(made), said) == (4, "")
    else:
        assert len(made) == 1
        assert str(tmp_path / "a.partial.npz") in said
        assert differs in said
        assert said.count("\n") == 1


def zipped(name):
    """A zip file of a text."""
    with zipfile.ZipFile(file := io.BytesIO(), "w") as made:
        made.writestr(name, "text")
    return file.getvalue()


def written(write, *arguments, **arrays):
    """What a function of numpy writes to a file."""
    write(file := io.BytesIO(), *arguments, **arrays)
    return file.getvalue()


def sealed(made, **changes):
    """A file that calls itself as it was saved, with `changes` of its arrays; without those that are None."""
    kept = {name: array for name, array in (made | changes).items() if name != "digest" and array is not None}
    return kept | {"digest": digest_of(kept)}


def about(made, seconds, kind=dict):
    """The text about the values, with other `seconds`."""
    return np.asarray(json.dumps(kind(json.loads(str(made["about"])) | {"seconds": seconds})))


FORGERIES = {
    "cut": lambda made: b"PK\x03\x04",
    "zip": lambda made: zipped("a.txt"),
    "folders": lambda made: zipped("../value.nats.npy"),
    "one array": lambda made: written(np.save, np.ones(3)),
    "bomb": lambda made: written(np.savez_compressed, **made | {"value.nats": np.zeros((2, 10**6))}),
    "no digest": lambda made: {name: array for name, array in made.items() if name != "digest"},
    "no values": lambda made: {name: array for name, array in made.items() if name != "value.nats"},
    "no tables": lambda made: {name: array for name, array in made.items() if name != "table.steps"},
    "values": lambda made: made | {"value.nats": made["value.nats"] + 1},
    "infinite": lambda made: made | {"value.nats": np.full((2, 3), -np.inf)},
    "objects": lambda made: made | {"value.nats": np.full((2, 3), {})},
    "further": lambda made: made | {"value.more": np.ones((2, 3))},
    "table": lambda made: made | {"table.steps": np.ones((5, 5))},
    "table's dtype": lambda made: made | {"table.steps": np.full(4, "x")},
    "sealed without text": lambda made: sealed(made, about=None),
    "sealed without description": lambda made: sealed(made, about=np.asarray('{"seconds": 1.0}')),
    "sealed without seconds": lambda made: sealed(made, about=about(made, None)),
    "sealed list": lambda made: sealed(made, about=about(made, 1.0, list)),
    "sealed NaN": lambda made: sealed(made, about=about(made, np.nan)),
    "sealed infinite": lambda made: sealed(made, about=about(made, np.inf)),
    "sealed negative": lambda made: sealed(made, about=about(made, -1.0)),
    "sealed other name": lambda made: sealed(made, **{"value.nats": None, "value.bits": made["value.nats"]}),
    "sealed shape": lambda made: sealed(made, **{"value.nats": np.ones((2, 4))}),
    "sealed scalar": lambda made: sealed(made, **{"value.nats": np.ones(())}),
    "sealed dtype": lambda made: sealed(made, **{"value.nats": np.ones((2, 3), np.float32)}),
    "sealed texts": lambda made: sealed(made, **{"value.nats": np.full((2, 3), "x")}),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_what_was_not_saved_is_computed_again(tmp_path, capsys, forge):
    record, path = tmp_path / "a.json", tmp_path / "a.partial.npz"
    interrupted(record)
    forged = forge(read_arrays(path.read_bytes()))
    path.write_bytes(forged) if isinstance(forged, bytes) else np.savez(path, **forged)
    with evaluation(record) as partial:
        assert partial.values == {}
        assert partial.tables(lambda: {"steps": jnp.zeros(1)})["steps"].shape == (1,)
        assert partial.seconds < 100
    assert str(path) in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize("plant", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_refused(tmp_path, plant):
    plant(tmp_path / "a.partial.npz")
    with (
        pytest.raises(InputError, match=r"a\.partial\.npz cannot be read: .*; delete it$"),
        evaluation(tmp_path / "a.json"),
    ):
        pass


def test_values_that_an_exception_left_half_stored_are_missing(tmp_path):
    record = tmp_path / "a.json"
    with contextlib.suppress(ValueError), evaluation(record) as partial:
        partial.put(0, ROWS, {"nats": np.ones(2), "t": np.ones(3)})
    with evaluation(record) as partial:
        assert partial.values.keys() == {"nats", "t"}
        assert not partial.has(0, ROWS)


def test_a_full_disk_is_reported_once(tmp_path, monkeypatch):
    """By the error that came first, not by that of keeping the values."""
    record = tmp_path / "a.json"

    def evaluate():
        with evaluation(record) as partial:
            partial.put(0, ROWS, {"nats": np.array([1.0, 2.0])})
            monkeypatch.setattr(storage, "write", fill_disk)
            raise OSError(28, "first")

    def fill_disk(*_):
        raise OSError(28, "second")

    with pytest.raises(OSError, match="first"):
        evaluate()

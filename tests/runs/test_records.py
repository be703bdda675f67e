"""Records: a name per identity, found again by it, and refused where something is missing or does not belong."""

import json
from contextlib import suppress
from functools import reduce
from unittest.mock import Mock

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.core.numbers import format_record, format_terms
from diffenc_jax.runs import files
from diffenc_jax.runs.records import find_evaluation, read_evaluation, read_record, record_path, write_record
from diffenc_jax.runs.stored import StoredRun

NATS = np.random.default_rng(0).normal(5.0, 1.0, (4, 30))
DATASET = {"name": "mine", "version": "1", "split": "test", "num_examples": 30, "dims": 16, "known_as": None}
DATASET |= {"sha256": "a" * 64, "sha256_any_order": "b" * 64}
DESCRIPTION = {"step": 8, "seed": 3, "arm": "vdm", "config_hash": "0" * 12, "dataset": DATASET, "device": "cpu"}
DESCRIPTION |= {"params_sha256": "c" * 64, "software": {}, "parts": {}}
DESCRIPTION["estimator"] = dict(kind="bound", depth=None, passes=4, replicates=2, seed=0, times=(0.0, 1.0))
TERMS = {"diffusion": NATS, "latent": 0.1 * NATS}
ERRORS = {"noise": 0.1, "images": None, "total": 0.2}


def write(workdir, description=DESCRIPTION, terms=TERMS):
    bits = {name: float(nats.mean() / (16 * np.log(2))) for name, nats in terms.items()}
    path = record_path(workdir, description, "continuous")
    path.parent.mkdir(exist_ok=True)
    errors = {**ERRORS, "terms": dict.fromkeys(terms, ERRORS)}
    results = {"bpd": {"total": sum(bits.values()), **bits}, "standard_error": errors, "params": 1234, "seconds": 1.5}
    write_record(path, description | results, {**terms, "t": NATS})
    return path


@pytest.fixture
def path(tmp_path):
    """The path of a record that is written."""
    return write(tmp_path)


def changed(key, value):
    return DESCRIPTION | {key: DESCRIPTION[key] | value if isinstance(value, dict) else value}


def test_evaluations_do_not_overwrite_each_other(tmp_path):
    others = [
        changed("step", 9),
        changed("config_hash", "1" * 12),
        changed("estimator", {"seed": 1}),
        changed("dataset", {"sha256": "c" * 64}),
    ]
    paths = [write(tmp_path, description) for description in (DESCRIPTION, *others)]
    assert len(set(paths)) == 5
    assert paths[0].name.startswith("test-8-continuous-")
    assert record_path(tmp_path, changed("device", "8 x TPU"), "continuous") == paths[0]
    assert StoredRun(tmp_path).record_paths() == sorted(paths)
    assert StoredRun(tmp_path).record_paths("test", 9) == [paths[1]]
    assert StoredRun(tmp_path).record_paths("train") == []


def test_a_record_is_found_if_it_is_complete_and_of_the_same_evaluation(path):
    assert find_evaluation(path, DESCRIPTION).record["bpd"]["total"] > 0
    np.testing.assert_allclose(read_evaluation(path).bits, 1.1 * NATS / (16 * np.log(2)))
    assert find_evaluation(path, changed("step", 9)) is None
    whole = path.read_text()
    path.write_text(whole.replace('"bound"', '"continuous"'))
    assert read_record(path) == find_evaluation(path, DESCRIPTION).record == json.loads(whole)  # another name of it
    for damaged in ("", "[1]", whole[:100]):
        path.write_text(damaged)
        assert find_evaluation(path, DESCRIPTION) is None
    path.write_text(whole)
    path.with_suffix(".npz").unlink()
    assert find_evaluation(path, DESCRIPTION) is None


def test_values_of_another_evaluation_are_refused_and_evaluated_anew(path, tmp_path, monkeypatch):
    """As a disk leaves them that is full when the record is to be written: their mean may be the same."""
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", Mock(side_effect=OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path, terms={name: nats[:, ::-1] for name, nats in TERMS.items()})
    with pytest.raises(InputError, match=r"\.npz was changed after .*\.json was written"):
        read_evaluation(path)
    assert find_evaluation(path, DESCRIPTION) is None
    write(tmp_path)
    assert find_evaluation(path, DESCRIPTION) is not None


def replace_in(path, key, value):
    record = json.loads(path.read_text())
    *parents, last = key.split(".")
    inner = reduce(dict.__getitem__, parents, record)
    inner[last] = value
    if value is ...:
        del inner[last]
    path.write_text(json.dumps(record))


INCOMPLETE = [
    ("dataset", ..., "dataset"),
    ("dataset.dims", 0, "dataset"),
    ("dataset.known_as", {"as": 3}, "dataset.known_as.as"),
    ("estimator.replicates", 3, "estimator.replicates"),
    ("bpd.prior", 0.0, "standard_error.terms"),
    ("standard_error.terms.latent.noise", "x", "standard_error.terms.latent.noise"),
    ("values_sha256", ..., "values_sha256"),
]


@pytest.mark.parametrize(("key", "value", "wrong"), INCOMPLETE)
def test_incomplete_records_are_named(path, key, value, wrong):
    replace_in(path, key, value)
    with pytest.raises(InputError, match=f"{path} is not a complete record: {wrong} is missing, or of another kind; "):
        read_evaluation(path)


def test_missing_and_damaged_files_are_named(path, tmp_path):
    with pytest.raises(InputError, match=r"none.json cannot be read: No such file .*; give a record such as eval/"):
        read_record(tmp_path / "none.json")
    values = path.with_suffix(".npz")
    with pytest.raises(InputError, match=f"{values} is not JSON"):
        read_record(values)
    with suppress(InputError):  # of the values that it has written
        write_record(path, json.loads(path.read_text()), {"diffusion": NATS.astype(np.float32), "latent": NATS})
    with pytest.raises(InputError, match=rf"{values} does not hold the terms of {path} in float64 \[4, 30\]"):
        read_evaluation(path)
    values.unlink()
    with pytest.raises(InputError, match=f"{values} cannot be read: No such file"):
        read_evaluation(path)


def keys_of(record, path=""):
    """Dotted keys of the entries of a record, those of objects among them."""
    for name, value in record.items():
        yield f"{path}{name}"
        if isinstance(value, dict):
            yield from keys_of(value, f"{path}{name}.")


def test_every_entry_of_another_kind_is_refused_or_harmless(path):
    """A record that is not refused can be shown."""
    text = path.read_text()
    for key in keys_of(json.loads(text)):
        for value in (None, True, "x", -1, float("nan"), [], {"a": {"b": [1]}}, ...):
            path.write_text(text)
            replace_in(path, key, value)
            find_evaluation(path, DESCRIPTION)
            with suppress(InputError):
                record = read_evaluation(path).record
                assert format_record(record)
                assert len(format_terms(record)) == 2

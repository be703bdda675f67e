"""The estimator code_length against the bound and against a file."""

import numpy as np
import pytest

import diffenc_jax as dj
from diffenc_jax.core.errors import InputError
from diffenc_jax.evaluation.uncertainty import standard_errors
from diffenc_jax.lab.coding import codec
from tests.evaluation.gaussian import PARAMS, evaluate, images, make
from tests.lab.studies.runs import write_images, write_run

DEPTH = 8


def test_the_code_is_as_long_as_the_bound():
    pixels = images(60, 3)
    estimator = make(eval__estimator="code_length", loss__depth=DEPTH, eval__passes=8)
    found = evaluate(estimator, pixels, estimator.tables(PARAMS))
    plain = make(loss__depth=DEPTH, eval__passes=64)
    bound = evaluate(plain, pixels, plain.tables(PARAMS))
    expected = sum(bound[term] for term in plain.terms)
    for name in ("code_length", "density", "bound"):
        noise = np.hypot(standard_errors(found[name], 8).noise, standard_errors(expected, 2).noise)
        assert abs(found[name].mean() - expected.mean()) < 4 * noise


def test_gross_is_the_size_of_a_file(tmp_path):
    workdir = write_run(tmp_path / "run", write_images(tmp_path / "images.npz"))
    changes = {"loss.depth": 4, "compress.batch_size": 5, "eval.estimator": "code_length", "eval.passes": 8}
    run = dj.open(workdir, changes)
    record, sizes = run.evaluate(), []
    for seed in range(8):
        file = codec.compress(dj.open(workdir, changes | {"compress.seed": seed}), run.test, verify=False)
        sizes.append(8 * len(file) / run.test.size)
    assert abs(record["gross"] - np.mean(sizes)) < 4 * np.std(sizes) / np.sqrt(4)
    assert np.std(sizes) < 0.05 * np.mean(sizes)
    assert record["bpd"]["total"] < record["gross"]


def test_the_description_has_everything_that_values_depend_on():
    estimator = make(eval__estimator="code_length", loss__depth=DEPTH, compress__spacing=0.5, eval__passes=3)
    described = estimator.describe()
    shown = {key: described[key] for key in ("kind", "depth", "order", "spacing", "passes", "replicates")}
    expected = {"kind": "code_length", "depth": DEPTH, "order": "bit_swap", "spacing": 0.5, "passes": 3}
    assert shown == expected | {"replicates": 3}
    assert estimator.name == "depth8-code_length"


def test_infinite_depth_has_no_code():
    with pytest.raises(InputError, match=r"a code needs a finite depth, such as --config.loss.depth=50"):
        make(eval__estimator="code_length")

"""Properties that every estimator of the registry has."""

import numpy as np
import pytest

from diffenc_jax.data.images import Batch
from diffenc_jax.evaluation.estimator import Estimator, Pass
from tests.evaluation.gaussian import PARAMS, evaluate, images, run_with
from tests.registered import ESTIMATORS

PASSES = 2
TIMES, RATIO = ({"loss__depth": 4, key: "optimal"} for key in ("loss__times", "loss__variance_ratio"))


def changes(kind):
    return {"eval__estimator": kind, "eval__passes": PASSES, "loss__depth": 5}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_an_estimators_values_are_what_it_promises(kind):
    """Nats by term for each image and pass: the same in any batch, but not in another pass or under another seed."""
    estimator, pixels = Estimator.of(run_with(**changes(kind))), images(6, 3)
    tables = estimator.tables(PARAMS)
    values = evaluate(estimator, pixels, tables)
    total = sum(values[term] for term in estimator.terms)
    assert np.all(np.isfinite(total))
    assert np.all(total[0] != total[1])
    among_others = np.concatenate([images(3, 5), pixels[4:5], images(2, 6)])
    again = estimator.estimate(Pass(PARAMS, tables, Batch(among_others), np.array([7, 2, 9, 4, 0, 1]), np.int32(1)))
    for name, value in values.items():
        np.testing.assert_allclose(again[name][3], value[1, 4], rtol=1e-5)
    other = Estimator.of(run_with(**changes(kind), eval__seed=1))
    assert np.all(sum(evaluate(other, pixels, tables)[term] for term in other.terms) != total)
    assert other.describe() == estimator.describe() | {"seed": 1}
    assert {"kind", "passes", "replicates", "seed"} <= estimator.describe().keys()
    for name, value in estimator.diagnostics(values).items():
        assert estimator.diagnostic_formats[name].format(value)

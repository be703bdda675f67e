"""The estimator code_length against the bound."""

import numpy as np

from diffenc_jax.evaluation.uncertainty import standard_errors
from tests.evaluation.gaussian import PARAMS, evaluate, images, make

DEPTH = 5


def test_the_code_is_as_long_as_the_bound():
    pixels = images(60, 3)
    estimator = make(eval__estimator="code_length", loss__depth=DEPTH, eval__passes=4)
    values = evaluate(estimator, pixels, estimator.tables(PARAMS))
    plain = make(loss__depth=DEPTH, eval__passes=32, eval__time_sampling="uniform")
    bound = evaluate(plain, pixels, plain.tables(PARAMS))
    expected = sum(bound[term] for term in plain.terms)
    for name in ("code_length", "bound"):
        noise = np.hypot(standard_errors(values[name], 4).noise, standard_errors(expected, 2).noise)
        assert abs(values[name].mean() - expected.mean()) < 4 * noise

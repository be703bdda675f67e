"""The importance-weighted estimator against the bound over the same paths."""

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.evaluation.uncertainty import standard_errors
from tests.evaluation.gaussian import PARAMS, evaluate, images, make

DEPTH = 8


def test_one_draw_is_the_bound_and_more_draws_are_tighter():
    pixels, changes = images(60, 3), {"loss__depth": DEPTH, "eval__num_draws": 16, "eval__passes": 8}
    estimator = make(eval__estimator="importance_weighted", **changes)
    plain = make(loss__depth=DEPTH, eval__passes=64, eval__time_sampling="uniform")
    terms = evaluate(plain, pixels, plain.tables(PARAMS))
    bound = sum(terms[term] for term in plain.terms)
    many = evaluate(estimator, pixels, estimator.tables(PARAMS))
    assert np.all(many["importance_weighted"] <= many["one_draw"] + 1e-4)
    assert np.all((many["effective_draws"] >= 1) & (many["effective_draws"] <= 16.001))
    assert many["importance_weighted"].mean() < bound.mean() - 0.05
    noise = standard_errors(many["one_draw"] - bound[:8], 8).noise
    assert abs(many["one_draw"].mean() - bound.mean()) < 4 * noise


def test_infinite_depth_has_no_path():
    with pytest.raises(InputError, match=r"needs a finite loss.depth, such as --config.loss.depth=100"):
        make(eval__estimator="importance_weighted")

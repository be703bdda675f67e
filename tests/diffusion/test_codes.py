"""Latent codes: their prior, how they are chosen and drawn, and that the bound with their cost holds."""

from itertools import combinations, permutations

import jax
import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion.codes import KHot


def all_codes(code):
    """Every code [C(n, k), n]."""
    chosen = np.asarray(list(combinations(range(code.units), code.active)))
    return np.eye(code.units)[chosen].sum(axis=1)


def test_the_code_of_the_paper_costs_41_bits():
    assert KHot(50, 15).nats / np.log(2) == pytest.approx(41.03, abs=0.01)


@pytest.mark.parametrize("active", [0, 4, 5, -1])
def test_a_code_that_says_nothing_is_refused(active):
    with pytest.raises(InputError, match=rf"model\.code\.active={active} of model\.code\.units=4 .* take from 1 to 3"):
        KHot(4, active)


def test_the_best_code_has_the_largest_logits():
    logits = np.random.RandomState(0).normal(size=(20, 7))
    for row, chosen in zip(logits, np.asarray(jax.jit(KHot(7, 3).best)(logits)), strict=True):
        assert set(np.flatnonzero(chosen)) == set(np.argsort(row)[-3:])


def frequencies(drawn, code):
    """How often each code was drawn, and that nothing else was."""
    drawn = np.asarray(drawn)
    counts = [np.all(drawn == row, axis=1).mean() for row in all_codes(code)]
    assert sum(counts) == pytest.approx(1.0)
    return np.asarray(counts)


def test_the_prior_is_uniform():
    code, count = KHot(4, 2), 20_000
    keys = jax.random.split(jax.random.key(0), count)
    drawn, alone = map(np.asarray, jax.jit(lambda keys: (code.prior(keys, 3), code.prior(keys[7:8], 3)))(keys))
    assert np.all(np.abs(frequencies(drawn, code) - 1 / 6) < 4.5 * np.sqrt(5 / 36 / count))
    np.testing.assert_array_equal(drawn[7], alone[0])


def test_draws_are_those_of_units_one_after_another():
    """P(i, j) = p_i p_j / (1 - p_i), summed over both orders, with p the softmax of the logits."""
    code, count, logits = KHot(3, 2), 20_000, np.array([0.7, -0.4, 0.1])
    drawn = jax.jit(code.drawn)(np.tile(np.float32(logits), (count, 1)), jax.random.key(1))
    p = np.exp(logits) / np.exp(logits).sum()
    expected = [sum(p[i] * p[j] / (1 - p[i]) for i, j in permutations(np.flatnonzero(row))) for row in all_codes(code)]
    np.testing.assert_allclose(frequencies(np.rint(np.asarray(drawn)), code), expected, atol=4.5 * 0.5 / np.sqrt(count))


def test_the_gradient_of_a_draw_moves_the_logits_the_right_way():
    """Raising a unit's logit raises it and lowers the others, and a shift of all logits changes nothing."""
    code, logits, key = KHot(4, 2), np.float32([[0.3, -0.2, 0.1, 0.5]]), jax.random.key(2)
    jacobian = np.asarray(jax.jit(jax.jacrev(lambda logits: code.drawn(logits, key)[0]))(logits))[:, 0]
    assert np.all(np.diag(jacobian) > 0)
    assert np.all(jacobian - np.diag(np.diag(jacobian)) <= 0)
    np.testing.assert_allclose(jacobian.sum(axis=1), 0.0, atol=1e-6)

"""Latent codes: their prior, how they are chosen and drawn, and that the bound with their cost holds."""

from functools import cache, partial
from itertools import combinations, permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.codes import KHot
from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.gaussian import align, velocity_from_image
from diffenc_jax.diffusion.importance_weights import log_weight
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.progressive import ends
from diffenc_jax.diffusion.schedules import Polynomial
from tests.diffusion.test_ratios import DEPTH, DRAWS, GAMMA_0, GAMMA_1, GRID, IMAGES, LEVELS, gamma, probabilities
from tests.diffusion.test_schedules import disturbed

CODE = KHot(2, 1)
SCHEDULE = Polynomial(GAMMA_0, GAMMA_1, shape=(2,), code_units=2)
VARIABLES = disturbed(
    SCHEDULE.init(jax.random.key(0), jnp.zeros(1), jnp.zeros((1, 2)), method="warp"), seed=4, scale=0.3
)


def all_codes(code):
    """Every code [C(n, k), n]."""
    rows = np.zeros((len(list(combinations(range(code.units), code.active))), code.units))
    for row, chosen in zip(rows, combinations(range(code.units), code.active), strict=True):
        row[list(chosen)] = 1
    return rows


@given(st.integers(2, 12), st.data())
def test_the_cost_is_that_of_one_of_all_codes(units, data):
    code = KHot(units, data.draw(st.integers(1, units - 1)))
    assert len(all_codes(code)) * np.exp(-code.nats) == pytest.approx(1.0)


def test_the_code_of_the_paper_costs_41_bits():
    assert KHot(50, 15).nats / np.log(2) == pytest.approx(41.03, abs=0.01)


@pytest.mark.parametrize("active", [0, 4, 5, -1])
def test_a_code_that_says_nothing_is_refused(active):
    with pytest.raises(InputError, match=rf"model\.code\.active={active} of model\.code\.units=4 .* take from 1 to 3"):
        KHot(4, active)


def test_the_best_code_has_the_largest_logits():
    logits = np.random.RandomState(0).normal(size=(20, 7))
    for row, chosen in zip(logits, np.asarray(KHot(7, 3).best(jnp.asarray(logits))), strict=True):
        assert set(np.flatnonzero(chosen)) == set(np.argsort(row)[-3:])


def frequencies(drawn, code):
    """How often each code was drawn, and that nothing else was."""
    counts = [np.all(np.asarray(drawn) == row, axis=1).mean() for row in all_codes(code)]
    assert sum(counts) == pytest.approx(1.0)
    return np.asarray(counts)


def test_the_prior_is_uniform():
    code, count = KHot(4, 2), 20_000
    keys = jax.random.split(jax.random.key(0), count)
    found = frequencies(code.prior(keys, 3), code)
    assert np.all(np.abs(found - 1 / 6) < 4.5 * np.sqrt(5 / 36 / count))
    np.testing.assert_array_equal(code.prior(keys, 3)[7], code.prior(keys[7:8], 3)[0])


def test_draws_are_those_of_units_one_after_another():
    """P(i, j) = p_i p_j / (1 - p_i), summed over both orders, with p the softmax of the logits."""
    code, count, logits = KHot(3, 2), 20_000, np.array([0.7, -0.4, 0.1])
    drawn = code.drawn(jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (count, 3)), jax.random.key(1))
    p = np.exp(logits) / np.exp(logits).sum()
    expected = [sum(p[i] * p[j] / (1 - p[i]) for i, j in permutations(np.flatnonzero(row))) for row in all_codes(code)]
    np.testing.assert_allclose(frequencies(np.rint(drawn), code), expected, atol=4.5 * 0.5 / np.sqrt(count))


def test_the_gradient_of_a_draw_moves_the_logits_the_right_way():
    """Raising a unit's logit raises it and lowers the others, and a shift of all logits changes nothing."""
    code, logits, key = KHot(4, 2), jnp.asarray([[0.3, -0.2, 0.1, 0.5]]), jax.random.key(2)
    jacobian = np.asarray(jax.jacrev(lambda logits: code.drawn(logits, key)[0])(logits))[:, 0]
    assert np.all(np.diag(jacobian) > 0)
    assert np.all(jacobian - np.diag(np.diag(jacobian)) <= 0)
    np.testing.assert_allclose(jacobian.sum(axis=1), 0.0, atol=1e-6)


def coded(condition):
    """A process of two pixels whose score network and noise schedule depend on a code of one bit."""

    def predict(z, gamma):
        turned = jnp.stack([z[:, 0] + 0.3 * z[:, 1], z[:, 1] - 0.2 * z[:, 0]], axis=1)
        shift = align(condition[:, 0] - condition[:, 1], z)
        return Prediction(velocity_from_image(z, 0.6 * jnp.tanh(turned + 0.4 * shift), gamma))

    warp = partial(SCHEDULE.apply, VARIABLES, code=condition, method="warp")
    options = {"condition": condition, "warp": warp, "code_nats": CODE.nats, "rebind": coded}
    return Process(Identity(), predict, gamma, pixel_levels=LEVELS, **options)


def given_code(row, count):
    return coded(jnp.broadcast_to(jnp.asarray(row), (count, 2)))


@pytest.fixture
def conditional(x64):
    return world()


@cache
def world():
    """Three steps, and p(x | c) [2, 16] by quadrature over the whole path."""
    steps = given_code([1.0, 0.0], 1).uniform_steps(DEPTH)
    return steps, [np.asarray(probabilities(given_code(row, len(GRID) ** 2), steps)) for row in np.eye(2)]


def test_the_bound_holds_for_every_code_of_every_image(conditional):
    """-ln Σ_c p(c) p(x | c) <= ln 2 - ln p(x | c) <= the bound with code c, by quadrature over the noise."""
    steps, given = conditional
    assert [row.sum() for row in given] == pytest.approx([1.0, 1.0], abs=1e-6)
    assert np.max(np.abs(given[0] / given[1] - 1)) > 0.1
    probability = np.mean(given, axis=0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    eps = jnp.asarray(np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2))
    weights = np.outer(weights, weights).ravel() / (2 * np.pi)

    @jax.jit
    def bound(image, row):
        process, pixels = given_code(row, len(eps)), jnp.broadcast_to(image, eps.shape)
        places = [process.step(steps, i, len(eps))._replace(depth=1.0) for i in range(DEPTH)]
        noise = losses.Noise(jnp.zeros(len(eps)), eps, eps)
        terms = [losses.bound_at(process, pixels, place, noise) for place in places]
        total = terms[0].reconstruction + terms[0].latent + sum(term.diffusion for term in terms)
        ended = ends(process, pixels, eps)
        return jnp.sum(weights * total), jnp.sum(weights * (ended.latent - terms[0].latent))

    for row, conditioned in zip(np.eye(2), given, strict=True):
        for image, p, p_given in zip(IMAGES, probability, conditioned, strict=True):
            total, difference = bound(jnp.asarray(image), jnp.asarray(row))
            assert total > CODE.nats - np.log(p_given) > -np.log(p)
            assert abs(difference) < 1e-9


def test_paths_weigh_what_the_code_costs_as_well(conditional):
    """E w = p(c) p(x | c)."""
    steps, given = conditional
    noise = jnp.asarray(np.random.RandomState(0).normal(size=(DEPTH + 1, DRAWS, 2)))
    pixels = jnp.broadcast_to(jnp.asarray(IMAGES[5]), (DRAWS, 2))
    for row, conditioned in zip(np.eye(2), given, strict=True):
        process = given_code(row, DRAWS)
        path = jax.jit(lambda p, process=process: log_weight(process, steps, p, noise[0], lambda k: noise[k + 1]))(
            pixels
        )
        weights = np.exp(np.asarray(path.log_weight))
        assert abs(weights.mean() - 0.5 * conditioned[5]) < 4 * weights.std() / np.sqrt(DRAWS)

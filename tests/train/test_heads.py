"""Additional heads of the score network learn what they estimate, and change nothing else."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.gaussian import diffuse
from diffenc_jax.diffusion.losses import TERMS, bound_at, errors_at
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.train.gradients import StepInputs, gradient
from tests import tiny

KEY = jax.random.key(3)
FINITE = {"loss__depth": 5, "sample__depth": 5}


def built(head=None, **changes):
    heads = {f"model__{head}_head": True} if head else {}
    return tiny.model(tiny.config(small=True, **heads, **changes))


@cache
def example(head):
    """Parameters away from zero of a model with the head, in two parts: the head's, and the rest; and a batch."""
    model = built(head)
    params = tiny.away_from_zero(jax.jit(model.init)(KEY), scale=0.1)
    noise = model.draw_noise(jax.random.key(1), jnp.linspace(0.05, 0.95, 6))
    return *split(params, head), StepInputs(Batch(jnp.asarray(tiny.images(6))), noise, jnp.ones(6), KEY)


def split(params, head):
    """All parameters but those of the head, and the head's."""
    rest = {part: values for part, values in params["score"].items() if part != head}
    return params | {"score": rest}, params["score"][head]


def join(rest, head, own):
    return rest | {"score": rest["score"] | {head: own}}


def stack(terms):
    """The terms of the bound, [3, B]."""
    return np.stack([getattr(terms, name) for name in TERMS])


def assert_close(ours, theirs, rtol=1e-3, part=1e-4):
    """Trees of gradients agree, but for `part` of their size."""
    size = float(optax.tree.norm(theirs))
    assert size > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=part * size), ours, theirs)


def squared_error(process, point, draw):
    """‖slope - ŝ‖² [B], with a fixed slope."""
    x_t, slope, *_ = process.encoder.mean_and_slope(process.decoder.values(draw.batch.data), point.gamma_t)
    z_t, _ = diffuse(x_t, point.gamma_t, draw.noise.eps_t)
    difference = jax.lax.stop_gradient(slope) - process.predict(z_t, point.gamma_t).slope
    return jnp.sum(jnp.square(difference), axis=(1, 2, 3))


def score(process, point, draw):
    """-ln N(e; 0, V) [B] without its constant, with a fixed e, by the density of a normal distribution."""
    errors = errors_at(process, point, process.decoder.values(draw.batch.data), draw.noise.eps_t)
    e = jax.lax.stop_gradient(errors.velocity + errors.drift)
    log_density = jax.scipy.stats.norm.logpdf(e, scale=jnp.exp(0.5 * errors.estimate.log_error))
    return -(log_density + 0.5 * math.log(2 * math.pi)).sum(axis=(1, 2, 3))


LOSSES = {"derivative": ("slope_error", squared_error), "error": ("error_score", score)}


HEADS = [
    ("derivative", {}),
    pytest.param("error", {}, marks=pytest.mark.long),
    pytest.param("error", FINITE, marks=pytest.mark.long),
]


@pytest.mark.slow
@pytest.mark.parametrize(("head", "changes"), HEADS, ids=["derivative", "error", "error at finite depth"])
def test_bound_and_gradients_are_those_without_it(head, changes):
    """Under dropout. The head's gradient is that of its loss alone."""
    model, plain, (rest, own, draw) = built(head, **changes), built(**changes), example(head)
    outputs, grads = jax.jit(lambda params: gradient(model, params, draw))(join(rest, head, own))
    plain_outputs, plain_grads = jax.jit(lambda rest: gradient(plain, rest, draw))(rest)
    name, loss = LOSSES[head]
    assert plain_outputs.terms.head_losses == {}
    np.testing.assert_allclose(stack(outputs.terms), stack(plain_outputs.terms), rtol=1e-6)
    rest_grads, own_grads = split(grads, head)
    assert_close(rest_grads, plain_grads, rtol=1e-5, part=1e-6)

    def by_hand(own):
        process, point = model.bind(join(rest, head, own), draw.dropout_key), model.point(rest, draw.noise.t)
        values = loss(process, point, draw)
        return values.mean() / tiny.SPEC.dims, values

    expected, values = jax.jit(jax.grad(by_hand, has_aux=True))(own)
    np.testing.assert_allclose(outputs.terms.head_losses[name], values, rtol=1e-4)
    assert_close(own_grads, expected)


@pytest.mark.slow
def test_with_its_own_ratio_the_bound_alone_trains_the_error_head():
    """The other parameters have the gradient of the bound at fixed ratios, so that none goes through the head."""
    model, (rest, own, draw) = built("error", loss__variance_ratio="learned_error", **FINITE), example("error")

    def bound(rest, own, ratios=None):
        """With w [B, H, W, C] in place of the head's, if given."""
        process, point = model.bind(join(rest, "error", own), draw.dropout_key), model.point(rest, draw.noise.t)
        point = point if ratios is None else point._replace(ratio=Table(ratios))
        return bound_at(process, draw.batch.data, point, draw.noise).total.mean() / (tiny.SPEC.dims * math.log(2))

    @jax.jit
    def ratios():
        process, point = model.bind(join(rest, "error", own), draw.dropout_key), model.point(rest, draw.noise.t)
        errors = errors_at(process, point, process.decoder.values(draw.batch.data), draw.noise.eps_t)
        return point.weight(errors.estimate)

    outputs, grads = jax.jit(lambda params: gradient(model, params, draw))(join(rest, "error", own))
    rest_grads, own_grads = split(grads, "error")
    assert float(outputs.objective) == pytest.approx(float(jax.jit(bound)(rest, own)), rel=1e-5)
    assert_close(own_grads, jax.jit(jax.grad(bound, argnums=1))(rest, own))
    assert_close(rest_grads, jax.jit(jax.grad(bound))(rest, own, ratios()))

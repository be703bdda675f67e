"""Images of unusual shape and few levels, and JAX's double precision: what a model gives is right all the same."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.data.dataset import Dataset
from diffenc_jax.estimators import make_estimator
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.sampling import draw
from diffenc_jax.sampling.config import SOFTMAX
from diffenc_jax.sampling.samplers import advance
from diffenc_jax.streams import stream
from diffenc_jax.train import sharding
from diffenc_jax.train.step import init_and_step
from tests import tiny
from tests.diffusion.test_decoder import full_sum
from tests.test_model import perturbed

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("batch", "shape", "levels"),
    [(1, (1, 1, 1), 2), pytest.param(3, (2, 6, 4), 256, marks=pytest.mark.slow)],
)
def test_a_fresh_model_by_hand(batch, shape, levels):
    """Its network says 0, so v̂ = z_t; nats of one pixel and two levels, and of four channels, in float64."""
    model = build(tiny.config("vdm"), ImageSpec(shape, levels))
    params = jax.jit(model.init)(jax.random.key(0))
    pixels = np.random.RandomState(0).randint(0, levels, (batch, *shape)).astype(np.uint8)
    noise = model.draw_noise(jax.random.key(1), jnp.linspace(0.2, 0.9, batch))
    ours = jax.jit(model.terms)(params, pixels, noise)
    low, high = -13.3 + 2 * np.log(256 / levels), 5.0
    x = (2 * (pixels + 0.5) / levels - 1).reshape(batch, -1)
    t, eps_0, eps = (np.asarray(a, np.float64).reshape(batch, -1) for a in noise)
    gamma = low + (high - low) * t
    alpha, sigma = np.sqrt(sigmoid(-gamma)), np.sqrt(sigmoid(gamma))
    wrong = (alpha * eps - sigma * x) - (alpha * x + sigma * eps)
    np.testing.assert_allclose(ours.diffusion, (0.5 * (high - low) * alpha**2 * wrong**2).sum(1), rtol=1e-5)
    alpha2 = sigmoid(-high)
    np.testing.assert_allclose(ours.latent, 0.5 * (alpha2 * x**2 - alpha2 - np.log(sigmoid(high))).sum(1), rtol=1e-5)
    exact = -full_sum(x + np.exp(low / 2) * eps_0, pixels.reshape(batch, -1), low, levels)
    np.testing.assert_allclose(ours.reconstruction, exact, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("arm", ["vdm", pytest.param("diffenc", marks=pytest.mark.slow)])
def test_an_image_on_its_side(arm):
    """Not square and of four channels: with every kernel transposed, the transposed image costs the same."""
    shape, levels = (2, 6, 4), 256
    pixels = np.random.RandomState(0).randint(0, levels, (2, *shape)).astype(np.uint8)
    model, turned = (build(tiny.config(arm), ImageSpec(s, levels)) for s in (shape, (6, 2, 4)))
    params = perturbed(jax.jit(model.init)(jax.random.key(0)))
    noise = model.draw_noise(jax.random.key(1), jnp.asarray([0.3, 0.8]))
    on_its_side = lambda a: jnp.swapaxes(a, 1, 2) if a.ndim == 4 else a  # noqa: E731
    upright = jax.jit(model.terms)(params, pixels, noise)
    kernels = jax.tree.map(lambda p: jnp.swapaxes(p, -4, -3) if p.ndim >= 4 else p, params)
    terms_of_turned = jax.jit(turned.terms)
    sideways = terms_of_turned(kernels, on_its_side(pixels), jax.tree.map(on_its_side, noise))
    for ours, theirs in zip(upright, sideways, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    # Not because nothing is looked at: with its own kernels the turned image costs something else.
    other = terms_of_turned(params, on_its_side(pixels), jax.tree.map(on_its_side, noise))
    assert np.all(np.abs(other.diffusion / upright.diffusion - 1) > 1e-4)


def doubles(jaxpr):
    """Where a program computes arrays in float64.

    A single number may be, such as optax's correction of bias, and a constant that takes the type of what it meets.
    """
    found = []
    for equation in jaxpr.eqns:
        arrays = [v.aval for v in equation.outvars if v.aval.ndim > 0]
        found += [str(equation) for aval in arrays if aval.dtype == np.float64 and not aval.weak_type]
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            found += doubles(inner) if hasattr(inner, "eqns") else []
    return found


ARMS = {
    "diffenc": {"model__derivative_head": True, "eval__estimator": "ode"},
    "vdm": {"model__schedule__kind": "monotone"},
    "nontrainable": {
        "loss__depth": 5,
        "loss__variance_ratio": "learned",
        "train__time_sampling": "importance",
        "eval__estimator": "importance_weighted",
    },
}


@pytest.mark.parametrize("arm", ARMS)
def test_double_precision_does_not_leak_in(x64, arm):
    """A training step, an evaluation and a sampling are float32 programs in x64 too, and the state keeps its types."""
    config = tiny.config(arm, **ARMS[arm])
    model = build(config, SPEC)
    init, step = init_and_step(model, config)
    pixels = jnp.asarray(tiny.images(8))
    program, state = jax.make_jaxpr(init, return_shape=True)()
    assert not doubles(program.jaxpr)
    program, (after, _) = jax.make_jaxpr(step, return_shape=True)(state, pixels)
    assert not doubles(program.jaxpr)
    types = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert types(after) == types(state)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32"), jnp.dtype("int32")}

    data = Dataset("tiny", "1", tiny.LEVELS, {"train": tiny.images(20), "test": tiny.images(8)})
    estimator = make_estimator(model, config, data, sharding.make_mesh())
    steps = jax.eval_shape(
        partial(model.steps, loss=dataclasses.replace(model.loss, depth=model.loss.depth or 3)), state.params
    )
    tables = steps._asdict() | {"mass": jax.ShapeDtypeStruct((4,), jnp.float32)}
    number = 1
    estimate = lambda params, tables: estimator.estimate(params, tables, pixels, jnp.arange(8), number)  # noqa: E731
    program, values = jax.make_jaxpr(estimate, return_shape=True)(state.params, tables)
    assert not doubles(program.jaxpr)
    assert {values[term].dtype for term in estimator.terms} == {jnp.dtype("float32")}

    def drawn(params, steps):
        keys = jax.random.split(stream(0, "sample"), 2)
        z_0 = advance(model, params, steps, keys, draw.noise(model, keys), 0, steps.depth)
        return draw.pixels(model, SOFTMAX, params, keys, z_0)

    assert not doubles(jax.make_jaxpr(drawn)(state.params, steps).jaxpr)


def test_double_precision_changes_no_likelihood():
    """To rounding, under the noise of the same seed: the bound of images by a model away from its initialisation."""
    values = []
    for x64 in (False, True):
        with jax.enable_x64(x64):
            config = tiny.config("vdm", eval__time_sampling="uniform", eval__seed=2**32 - 1)
            data = Dataset("tiny", "1", tiny.LEVELS, {"train": tiny.images(8), "test": tiny.images(8)})
            model = build(config, SPEC)
            estimator = make_estimator(model, config, data, sharding.make_mesh())
            params = perturbed(jax.jit(model.init)(stream(0, "params")))
            values.append(estimator.estimate(params, estimator.tables(params), data.splits["test"], np.arange(8), 1))
    for name in ("t", "reconstruction", "latent", "diffusion"):
        np.testing.assert_allclose(values[1][name], values[0][name], rtol=1e-5, atol=1e-6, err_msg=name)

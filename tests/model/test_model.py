"""Models that are built: what is put together for images of any shape, their networks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.sections import PartConfig
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.images import LabelSpec
from diffenc_jax.diffusion.encoders import Identity
from diffenc_jax.diffusion.flow import flow_of
from diffenc_jax.diffusion.losses import Noise, bound_at
from diffenc_jax.model import DataSpec, build
from diffenc_jax.model.build import build_part
from tests import tiny
from tests.diffusion.formulas import process_of
from tests.registered import ENCODERS, PREDICTIONS, SCORE_NETWORKS

SPEC = DataSpec((4, 4, 1), tiny.LEVELS)


def built(arm, **changes):
    return build(tiny.config(arm, **changes), SPEC)


def draw(count=6, seed=1):
    """Pixels, and a model's noise for them."""
    eps = np.random.RandomState(seed).normal(size=(2, count, *SPEC.shape))
    return tiny.images(count, seed=seed), Noise(*map(np.float32, (np.linspace(0.05, 0.95, count), *eps)))


@pytest.mark.parametrize("small", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_image_counts_for_itself(small):
    """The bound of a batch is that of its images one by one."""
    model = built("diffenc", small=small)
    params, (pixels, noise) = tiny.drawn(model), draw()

    @jax.jit
    def terms(params, pixels, noise):
        return jnp.stack(bound_at(model.bind(params), pixels, model.point(params, noise.t), noise)[:3])

    together = np.asarray(terms(params, pixels, noise))
    for i in range(0, 6, 5):
        alone = terms(params, *jax.tree.map(lambda a, i=i: a[i : i + 1], (pixels, noise)))
        np.testing.assert_allclose(np.asarray(alone)[:, 0], together[:, i], rtol=1e-4)


def test_all_models_start_from_the_same_score_network():
    """An encoder's network, which is zero (see below), and labels change no draws of the other parameters."""
    with_both = build(tiny.config(small=True, model__labels=True), DataSpec((4, 4, 1), tiny.LEVELS, LabelSpec(3)))
    models = with_both, built("nontrainable", small=True)
    both, plain = jax.jit(lambda key: [model.init(key)["score"] for model in models])(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, tiny.without_condition(both), plain)


def points():
    """z and γ of six latents."""
    return draw()[1].eps_t, np.linspace(-12.0, 4.0, 6, dtype=np.float32)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_the_network_says_is_what_the_configuration_names(prediction):
    """The network's output is on top of z_t; for the algebra see tests/diffusion/test_contracts.py."""
    model, z, gamma = built("vdm", small=True, model__prediction=prediction), *points()
    params, convert = tiny.drawn(model, scale=0.0), PREDICTIONS[prediction]
    params["score"]["out"]["bias"] += 0.25  # a network that says a quarter everywhere
    both = jax.jit(lambda z, gamma: (model.bind(params).predict(z, gamma).v, convert(z, z + 0.25, gamma)))
    np.testing.assert_allclose(*both(z, gamma), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("arm", "head"), [("vdm", False), ("nontrainable", False), ("diffenc", True)])
def test_the_flow_is_what_the_encoder_makes_of_the_prediction(arm, head):
    """u from v̂ and x̂: nothing drifts, x_t shrinks as α_t², or the second head says how it moves."""
    model, z, gamma = built(arm, small=True, model__derivative_head=head), *points()
    process = model.bind(tiny.drawn(model, scale=0.3))
    alpha, sigma = (1 / np.sqrt(1 + np.exp(sign * gamma))[:, None, None, None] for sign in (1, -1))
    both = jax.jit(lambda z, gamma: (process.predict(z, gamma), flow_of(process)(z, gamma)))
    (v_hat, slope_hat, _), flow = both(z, gamma)
    x_hat = alpha * z - sigma * v_hat
    bracket = {
        "vdm": lambda: v_hat,
        "nontrainable": lambda: v_hat - 2 * sigma * x_hat,
        "diffenc": lambda: v_hat + sigma * (slope_hat - x_hat),
    }[arm]()
    model.check_flow()
    np.testing.assert_allclose(flow, 0.5 * alpha * sigma * bracket, rtol=1e-4, atol=1e-5)
    if head:
        assert np.abs(np.asarray(slope_hat)).max() > 0.1


UNUSUAL = [(1, (1, 1, 1), 2), pytest.param(3, (2, 6, 4), 256, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("batch", "shape", "levels"), UNUSUAL)
def test_networks_of_zeros_have_the_bound_of_a_formula_in_unusual_shapes(batch, shape, levels):
    """Single pixels of two levels, and four channels that are not square. A network of zeros outputs 0, so v̂ = z_t."""
    model = build(tiny.config("vdm"), DataSpec(shape, levels))
    gamma_0 = -13.3 + 2 * np.log(256 / levels)
    formula = process_of(Identity(), lambda z, _: z, pixel_levels=levels, gamma=lambda t: gamma_0 + (5.0 - gamma_0) * t)

    @jax.jit
    def both(params, pixels):
        noise = model.draw_noise(jax.random.key(1), jnp.linspace(0.2, 0.9, batch))
        return [bound_at(one, pixels, one.instant(noise.t), noise) for one in (model.bind(params), formula)]

    pixels = np.random.RandomState(0).randint(0, levels, (batch, *shape)).astype(np.uint8)
    found, expected = both(tiny.drawn(model, scale=0.0), pixels)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
    assert np.all(np.asarray(found.total) > 0)


TRANSFORMER, DCT = ({"model.encoder": tiny.ENCODERS[kind]} for kind in ("transformer", "dct"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.schedule.kind": "cosine"}, "unknown schedule 'cosine'; known: fixed_linear, fixed_poly10, "),
        ({"model.encoder.kind": "spectral"}, "unknown encoder 'spectral'; known: affine, dct, identity, mlp, "),
        ({"model.dtype": "float8"}, "model.dtype must be one of bfloat16, float32, not 'float8'"),
        ({"model.encoder.levels": 1, "model.encoder.layers": 0}, "model.encoder.layers must be at least 1"),
        ({"model.encoder.layers": 3, "model.encoder.levels": 3}, "needs multiples of 8; the sides are 4x4"),
        (TRANSFORMER | {"model.encoder.patch": 3}, "model.encoder.patch=3 does not divide the sides of the images, 4x"),
        (TRANSFORMER | {"model.encoder.patch": 0}, "model.encoder.patch must be at least 1"),
        (TRANSFORMER | {"model.encoder.heads": 3}, "model.encoder.heads=3 does not divide the width 8"),
        (
            {"model.encoder": dict(tiny.ENCODERS["transformer"], groups=8)},
            "transformer has no keys groups; it has patch",
        ),
        (DCT | {"model.encoder.width": 2}, "model.encoder.width must be even and at least 4, not 2"),
        ({"model.score.groups": 5}, "model.score.groups=5 does not divide its 32 channels"),
        ({"model.score.fourier_bins": (1.0, -2.0)}, "each of model.score.fourier_bins must be positive, not"),
        ({"model.score.width": 40}, "model.score.width: 32 must divide the 40 channels"),
        ({"model.score.dropout": 1.0}, r"model.score.dropout must lie in \[0, 1\)"),
        ({"model.schedule.gamma_max": -10.0}, r"gamma_min=-\S+ must lie below gamma_max=-10"),
        ({"model.schedule.gamma_max": 200.0}, "gamma_max must lie in -25 .. 25, the range in which"),
        ({"model.schedule.gamma_min": -25.1}, "can hold losses, or None for a noise of 0.166"),
        ({"loss.depth": 10_000_000}, r"loss.depth=10000000 steps between γ = -\S+ and 5 are too short for float32"),
        ({"loss.extrapolation": "cubic"}, "unknown loss.extrapolation 'cubic'; known: exponential, linear"),
    ],
)
def test_models_that_cannot_be_built_are_refused_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        build(tiny.config().replace(changes), SPEC)
    assert "\n" not in str(caught.value)


SHAPE = (4, 6, 2)
SHALLOW = {"transformer": {"layers": 1}}
KEY = jax.random.key(3)
TIME = np.asarray([0.0, 0.3, 1.0], np.float32)


def network(kind):
    """The network of an encoder, of one layer if it is a transformer."""
    values = {**tiny.ENCODERS[kind].to_dict(), **SHALLOW.get(kind, {})}
    return build_part("encoder", PartConfig.parse(values, "model"), SHAPE).network


@pytest.fixture
def x():
    return np.random.RandomState(0).normal(size=(3, *SHAPE)).astype(np.float32)


def test_every_network_is_covered():
    assert tiny.SCORE_NETWORKS.keys() == SCORE_NETWORKS.keys()
    held = {parts.network_of("encoder", name) for name in ENCODERS}
    assert {parts.network_of("encoder", name) for name in tiny.ENCODERS} == held - {""}


# The U-Net's start is slow to compile. Score networks are the same networks; see tests/nets/test_networks.py.
STARTS = [pytest.param(kind, marks=pytest.mark.slow) if kind == "trainable" else kind for kind in tiny.ENCODERS]


@pytest.mark.parametrize("kind", STARTS)
def test_zero_at_initialisation_and_not_after_a_step(kind, x):
    """Along the gradient the output moves, with the image and with the time."""
    net = network(kind)

    @jax.jit
    def outputs():
        params = net.init(jax.random.key(1), x, TIME)
        says = jax.jit(lambda params: net.apply(params, np.concatenate([x, x, x[::-1]]), np.tile(TIME, 3)))
        fresh, pull = jax.vjp(says, params)
        return fresh, says(jax.tree.map(lambda p, g: p + 1e-3 * g, params, *pull(np.concatenate([x, 0 * x, 0 * x]))))

    fresh, after = map(np.asarray, outputs())
    assert not np.any(fresh)
    assert np.sum(after[:3] * x) > 0.0
    assert not np.allclose(after[:3], after[6:])
    assert not np.allclose(after[0] / after[1], x[0] / x[1])


@pytest.mark.parametrize("kind", STARTS)
def test_value_and_derivative_see_one_mask(kind, x):
    """jax.jvp in the time, under dropout, against differences under the same key, extrapolated to zero."""
    net = network(kind)
    params = tiny.drawn(net, x, TIME)
    steps = np.asarray([0.0, 2e-4, -2e-4, 1e-4, -1e-4], np.float32)

    @jax.jit
    def both():
        says = jax.jit(lambda time: net.apply(params, x, time, KEY))
        return jax.jvp(says, (TIME,), (jnp.ones_like(TIME),)), jax.vmap(lambda h: says(TIME + h))(steps)

    (value, slope), (same, *shifted) = jax.tree.map(np.asarray, both())
    np.testing.assert_allclose(value, same, rtol=1e-4, atol=1e-5)
    coarse, fine = (shifted[0] - shifted[1]) / 4e-4, (shifted[2] - shifted[3]) / 2e-4
    expected = (4 * fine - coarse) / 3
    assert np.linalg.norm(slope - expected) / np.linalg.norm(expected) < 1e-2

"""`build`: what it puts together, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion.gaussian import PREDICTIONS
from diffenc_jax.errors import InputError
from diffenc_jax.model import ImageSpec, build
from tests import tiny

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)


def estimate(arm, **changes):
    model = build(tiny.config(arm, **changes), SPEC)
    params = jax.jit(model.init)(jax.random.key(0))
    pixels = jnp.asarray(tiny.images(6))
    noise = model.draw_noise(jax.random.key(1), jnp.linspace(0.05, 0.95, 6))
    return model, params, pixels, noise


@pytest.mark.parametrize("arm", ["diffenc", "nontrainable", "vdm"])
def test_an_image_counts_for_itself(arm):
    """The bound of a batch is that of its images one by one."""
    model, params, pixels, noise = estimate(arm)
    estimate_terms = jax.jit(model.terms)
    together = np.stack(estimate_terms(params, pixels, noise))
    for i in range(0, 6, 5):
        alone = estimate_terms(params, pixels[i : i + 1], jax.tree.map(lambda a, i=i: a[i : i + 1], noise))
        np.testing.assert_allclose(np.stack(alone)[:, 0], together[:, i], rtol=1e-4)


@pytest.mark.parametrize("kind", tiny.ENCODERS)
def test_diffenc_starts_as_the_nontrainable_encoder(kind):
    """The encoder's network is zero at initialisation, and both score networks draw the same parameters."""
    models = estimate("diffenc", model__encoder=tiny.ENCODERS[kind]), estimate("nontrainable")
    ours, theirs = (np.stack(jax.jit(m.terms)(p, x, n)) for m, p, x, n in models)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_what_the_network_says_is_what_the_configuration_names(prediction):
    """v̂ by hand, from the network's output on top of z_t."""
    model, params, _, noise = estimate("vdm", model__prediction=prediction)
    bias = jnp.full_like(params["score"]["conv_out"]["bias"], 0.25)  # a network that says a quarter everywhere
    params["score"]["conv_out"] = params["score"]["conv_out"] | {"bias": bias}
    z, gamma = noise.eps_t, model.gamma(params)(noise.t)
    alpha, sigma = (np.sqrt(jax.nn.sigmoid(sign * gamma))[:, None, None, None] for sign in (-1, 1))
    said = z + 0.25
    expected = {"v": said, "eps": (said - sigma * z) / alpha, "x": (alpha * z - said) / sigma}[prediction]
    np.testing.assert_allclose(model.predict_v(params)(z, gamma), expected, rtol=1e-4, atol=1e-4)


def half_of(velocity, gamma):
    """½ α σ of what is in brackets in `flow.velocity`."""
    return 0.5 * np.sqrt(jax.nn.sigmoid(-gamma) * jax.nn.sigmoid(gamma))[:, None, None, None] * velocity


def perturbed(params, scale=0.05):
    """Away from the zeros of initialisation."""
    leaves, structure = jax.tree.flatten(params)
    draws = [scale * np.random.RandomState(i).normal(size=leaf.shape) for i, leaf in enumerate(leaves)]
    return structure.unflatten([leaf + jnp.float32(draw) for leaf, draw in zip(leaves, draws, strict=True)])


@pytest.mark.parametrize(("arm", "head"), [("vdm", False), ("nontrainable", False), ("diffenc", True)])
def test_the_flow_by_hand(arm, head):
    """u from v̂ and x̂: nothing drifts, x_t shrinks as α_t², or the second head says how it moves."""
    model, params, _, noise = estimate(arm, model__derivative_head=head)
    params, z, gamma = perturbed(params), noise.eps_t, model.gamma(params)(noise.t)
    alpha, sigma = (np.sqrt(jax.nn.sigmoid(sign * gamma))[:, None, None, None] for sign in (-1, 1))
    v_hat = jax.jit(model.predict_v(params))(z, gamma)
    x_hat = alpha * z - sigma * v_hat
    slope_hat = jax.jit(model.predict_both(params))(z, gamma)[1] if head else None
    bracket = {
        "vdm": lambda: v_hat,
        "nontrainable": lambda: v_hat - 2 * sigma * x_hat,
        "diffenc": lambda: v_hat + sigma * (slope_hat - x_hat),
    }[arm]()
    model.check_flow()
    np.testing.assert_allclose(jax.jit(model.flow(params))(z, gamma), half_of(bracket, gamma), rtol=1e-4, atol=1e-5)
    if head:
        assert float(jnp.abs(slope_hat).max()) > 0.1


def test_a_trainable_encoder_without_second_head_has_no_flow():
    model = build(tiny.config(), SPEC)
    with pytest.raises(InputError, match=r"--config\.model\.derivative_head=True, or evaluate the bound") as caught:
        model.flow({})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arm", ["vdm", "nontrainable"])
def test_a_second_head_is_for_a_trainable_encoder(arm):
    with pytest.raises(InputError, match=r"model\.derivative_head=True is for encoders with a network alone") as caught:
        build(tiny.config(arm, model__derivative_head=True), SPEC)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.schedule.kind": "cosine"},
            "unknown schedule 'cosine'; known: fixed_linear, fixed_poly10, learned_linear, monotone",
        ),
        ({"model.encoder.kind": "spectral"}, "unknown encoder 'spectral'; known: dct, identity, nontrainable"),
        ({"model.encoder": {}}, "unknown encoder None; known: dct, identity, nontrainable, trainable"),
        ({"model.prediction": "score"}, "unknown model.prediction 'score'; known: eps, v, x"),
        ({"model.dtype": "float8"}, "unknown model.dtype 'float8'; known: bfloat16, float32"),
        ({"model.encoder.levels": 1, "model.encoder.layers": 0}, "model.encoder.layers must be at least 1"),
        ({"model.encoder.layers": 3, "model.encoder.levels": 3}, "needs multiples of 8; the images are 4x4"),
        ({"model.score.groups": 5}, "model.score.groups=5 does not divide the 32 channels"),
        ({"model.score.fourier_bins": (1.0, "2")}, "model.score.fourier_bins must be positive numbers, not"),
        ({"model.score.width": 33}, "model.score.width must be even"),
        ({"model.score.width": 40}, "attention norms in 32 groups"),
        ({"model.score.dropout": 1.0}, r"model.score.dropout must lie in \[0, 1\)"),
        ({"model.score.typo": 1}, r"unknown configuration keys \['typo'\] in model.score; known: width"),
        ({"model.schedule.gamma_min": 6.0}, "gamma_min=6 must lie below gamma_max=5"),
        ({"model.schedule.gamma_max": 200.0}, r"gamma_max=200 must lie in -25 \.\. 25: beyond, losses leave the range"),
        ({"model.schedule.gamma_min": -25.1}, r"gamma_min=-25\.1 must lie in -25 \.\. 25"),
        ({"model.schedule.gamma_max": float("nan")}, r"gamma_max=nan must lie in -25 \.\. 25"),
        (
            {"loss.depth": 10_000_000},
            r"loss.depth=10000000 steps between γ = -\S+ and 5 are too short for float32; take",
        ),
        ({"loss.depth": 0}, "loss.depth must be at least 1, or none for infinite depth, not 0"),
        ({"loss.extrapolation": "cubic"}, "unknown extrapolation 'cubic'; known: exponential, linear"),
        ({"loss.times": "late"}, "unknown loss.times 'late'; known: optimal, uniform"),
        ({"loss.times": "optimal"}, "loss.times=optimal needs a finite loss.depth"),
        ({"loss.variance_ratio": 0.9}, "loss.variance_ratio=0.9 needs a finite loss.depth: at infinite depth the"),
        ({"loss.variance_ratio": "learned"}, "loss.variance_ratio=learned needs a finite loss.depth"),
        ({"loss.variance_ratio": "optimal_pixel"}, "loss.variance_ratio=optimal_pixel needs a finite loss.depth"),
        ({"loss.depth": 5, "loss.variance_ratio": 0.0}, "loss.variance_ratio must be a positive number, learned, opt"),
        ({"loss.depth": 5, "loss.variance_ratio": "best"}, "unknown loss.variance_ratio 'best'; known: a positive"),
        ({"loss.depth": 5, "loss.variance_ratio": True}, "loss.variance_ratio must be a positive number"),
        ({"model.derivative_head": "yes"}, "model.derivative_head must be True or False, not 'yes'"),
        ({"model.encoder.kind": "identity"}, "model.encoder has no network to take the keys"),
    ],
)
def test_refuses_in_one_line(changes, message):
    config = tiny.config()
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        with config.unlocked(), config[section].ignore_type():
            config[section][name] = value
    with pytest.raises(InputError, match=message) as caught:
        build(config, SPEC)
    assert "\n" not in str(caught.value)

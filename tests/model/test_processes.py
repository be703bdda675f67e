"""Forward processes that are built from a configuration: where they start, what trains them, and what is refused."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.recipe import affine_process, code_network, encoder_network
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.losses import bound_at
from diffenc_jax.model import ImageSpec, bind_to, build
from tests import tiny

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)
AFFINE = affine_process(encoder_network(kind="affine", width=32, layers=1, levels=1, **tiny.NORMS))
CODE = code_network(units=5, active=2, width=32, layers=1, levels=1, **tiny.NORMS)
PROCESSES = {
    "affine": ("diffenc", AFFINE),
    "polynomial": ("vdm", {"model.schedule.kind": "polynomial"}),
    "mulan": ("vdm", {"model.schedule.kind": "polynomial", "model.code": CODE}),
    "code": ("vdm", {"model.code": CODE}),
    "image": ("vdm", {"model.target": "image"}),
}
SLOW = pytest.param("affine", marks=pytest.mark.slow)  # its step takes long to compile
COST = {"mulan": np.log(10.0), "code": np.log(10.0)}  # nats of a code


def configured(arm, changes):
    return tiny.config(arm, small=True).replace({**changes})


def bound_of(arm, changes, disturbed=False):
    """The mean bound of parameters, and the initial parameters, or others with codes as in training."""
    model = build(configured(arm, changes), SPEC)
    params = tiny.initial(model)
    params = tiny.away_from_zero(params) if disturbed else params
    pixels, t = jnp.asarray(tiny.images(6)), jnp.linspace(0.05, 0.95, 6)
    noise = model.draw_noise(jax.random.key(1), t)

    def bound(params):
        process = bind_to(model, params, Batch(pixels), jax.random.key(2) if disturbed else None)
        return bound_at(process, pixels, process.warped(model.place(params, t)), noise).total.mean()

    return bound, params


def value(arm, changes):
    bound, params = bound_of(arm, changes)
    return float(jax.jit(bound)(params))


@cache
def value_of_vdm():
    return value("vdm", {})


@pytest.mark.parametrize("name", [SLOW if name == "affine" else name for name in PROCESSES])
def test_each_starts_as_vdm(name):
    """At initialisation each is VDM, when the score networks are zero, but for the cost of a code."""
    assert value(*PROCESSES[name]) - COST.get(name, 0.0) == pytest.approx(value_of_vdm(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        pytest.param("affine", "encoder", marks=pytest.mark.slow),
        pytest.param("polynomial", "schedule", marks=pytest.mark.slow),
        ("mulan", "schedule code"),
        pytest.param("code", "code", marks=pytest.mark.slow),
    ],
)
def test_the_bound_trains_what_is_learned(name, part):
    """Each array of the learned parts has a gradient."""
    bound, params = bound_of(*PROCESSES[name], disturbed=True)
    value, gradient = jax.jit(jax.value_and_grad(bound))(params)
    assert np.isfinite(value)
    for path, leaf in jax.tree.leaves_with_path([gradient[one] for one in part.split()]):
        assert np.any(np.asarray(leaf) != 0), path


@pytest.mark.parametrize(
    ("arm", "changes", "message"),
    [
        (
            "diffenc",
            AFFINE | {"model.target": "encoded"},
            "model.encoder.kind=affine scales the noise as well; it needs",
        ),
        (
            "diffenc",
            {"model.schedule.kind": "polynomial"},
            "has a γ per pixel, and an encoder's network is told only one",
        ),
        ("diffenc", {"model.target": "image", "loss.extrapolation": "exponential"}, "the encoder gives the drift"),
        ("diffenc", {"model.target": "image", "model.derivative_head": True}, "the encoder gives the drift"),
        ("diffenc", AFFINE | affine_process(AFFINE["model.encoder"], reach=0.0), "reach must be positive, not 0.0"),
        ("vdm", {"model.code": {**CODE, "active": 5}}, "model.code.active=5 of model.code.units=5 units makes no code"),
    ],
)
def test_what_makes_no_sense_is_refused(arm, changes, message):
    with pytest.raises(InputError, match=message):
        build(configured(arm, changes), SPEC)


def test_each_image_has_the_levels_of_its_own_code():
    """Its bound in a batch is its bound alone, and that with another code is another one."""
    model = build(configured(*PROCESSES["mulan"]), SPEC)
    params, pixels = tiny.away_from_zero(tiny.initial(model)), jnp.asarray(tiny.images(6))
    t = jnp.linspace(0.05, 0.95, 6)
    noise, codes = model.draw_noise(jax.random.key(1), t), model.code_of(params, pixels)
    assert len(np.unique(codes, axis=0)) > 1

    @jax.jit
    def bound(pixels, noise, codes):
        process = model.bind(params, condition=model.condition(params, Batch(pixels), code=codes))
        return bound_at(process, pixels, process.place(noise.t), noise).total

    together = np.asarray(bound(pixels, noise, codes))
    for i in range(6):
        part = jax.tree.map(lambda rows, i=i: rows[i : i + 1], (pixels, noise, codes))
        np.testing.assert_allclose(bound(*part), together[i : i + 1], rtol=1e-4)
    assert np.all(np.abs(np.asarray(bound(pixels, noise, jnp.roll(codes, 1, axis=1))) / together - 1) > 1e-3)


def test_the_codes_of_training_are_drawn_anew_and_those_of_evaluation_are_the_best():
    model = build(configured(*PROCESSES["code"]), SPEC)
    params, pixels = tiny.away_from_zero(tiny.initial(model)), jnp.asarray(tiny.images(6))
    drawn = [np.rint(model.code_of(params, pixels, jax.random.key(i))) for i in range(2)]
    assert np.all(np.asarray(drawn).sum(axis=2) == 2)
    assert not np.array_equal(*drawn)
    np.testing.assert_array_equal(model.code_of(params, pixels), model.code_of(params, pixels))

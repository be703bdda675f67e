"""Forward processes that are built from a configuration: where they start, what trains them, and what is refused."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.recipe import code_network, encoder_network, forward_processes
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.losses import bound_at
from diffenc_jax.model import bind_to
from tests import tiny

CODE = code_network(units=5, active=2, width=32, layers=1, levels=1, dropout=0.0, **tiny.NORMS)
ENCODER = encoder_network(kind="affine", width=32, layers=1, levels=1, **tiny.NORMS)
AFFINE = forward_processes(ENCODER, CODE)["diffenc-affine"]
PROCESSES = {
    "affine": ("diffenc", AFFINE),
    "polynomial": ("vdm", {"model.schedule.kind": "polynomial"}),
    "mulan": ("vdm", {"model.schedule.kind": "polynomial", "model.code": CODE}),
    "code": ("vdm", {"model.code": CODE}),
    "image": ("vdm", {"model.target": "image"}),
}
# Affine takes long to compile; mulan has the schedule of polynomial.
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("affine", "polynomial")]
COST = {"mulan": np.log(10.0)}  # nats of a code


def configured(arm, changes):
    return tiny.config(arm, small=True).replace({"model.score.dropout": 0.0, **changes})


def bound_of(model, key=None):
    """Parameters -> the mean bound; with a key, with codes as in training."""

    def bound(params):
        pixels, t = jnp.asarray(tiny.images(6)), jnp.linspace(0.05, 0.95, 6)
        process = bind_to(model, params, Batch(pixels), key)
        point, noise = process.warped(model.point(params, t)), model.draw_noise(jax.random.key(1), t)
        return bound_at(process, pixels, point, noise).total.mean()

    return bound


def value(arm, changes):
    """The bound with the initial schedule, and networks whose outputs are zero, as they are at initialisation."""
    model = tiny.model(configured(arm, changes))

    @jax.jit
    def bound(key):
        fresh = model.init(key)
        return bound_of(model)(jax.tree.map(jnp.zeros_like, fresh) | {"schedule": fresh["schedule"]})

    return float(bound(jax.random.key(0)))


@cache
def value_of_vdm():
    return value("vdm", {})


@pytest.mark.parametrize("name", [*SLOW, "mulan", "image"])
def test_each_starts_as_vdm(name):
    """At initialisation each is VDM, but for the cost of a code."""
    assert value(*PROCESSES[name]) - COST.get(name, 0.0) == pytest.approx(value_of_vdm(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), [("affine", "encoder"), ("mulan", "schedule code")])
def test_the_bound_trains_what_is_learned(name, part):
    """Each array of the learned parts has a gradient."""
    model = tiny.model(configured(*PROCESSES[name]))
    bound = bound_of(model, jax.random.key(2))
    params = tiny.drawn(model, scale=0.3)
    learned = {name: params[name] for name in part.split()}
    value, gradient = jax.jit(jax.value_and_grad(lambda learned: bound(params | learned)))(learned)
    assert np.isfinite(value)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.any(np.asarray(leaf) != 0), path


REFUSED = [
    ("diffenc", AFFINE | {"model.target": "encoded"}, "affine scales the noise as well; it needs model.target="),
    ("diffenc", {"model.schedule.kind": "polynomial"}, "has a γ per pixel, and an encoder's network takes only"),
    ("vdm", {"model.derivative_head": True}, "derivative_head=True is only for encoders with a network"),
    ("diffenc", {"model.target": "image", "loss.extrapolation": "exponential"}, "the encoder gives the drift"),
    ("diffenc", {"model.target": "image", "model.derivative_head": True}, "the encoder gives the drift"),
    ("diffenc", AFFINE | {"model.encoder.reach": 0.0}, "reach must be positive, not 0.0"),
    ("vdm", {"model.code": {**CODE, "active": 5}}, "model.code.active=5 of model.code.units=5 units makes no code"),
]


@pytest.mark.parametrize(("arm", "changes", "message"), REFUSED)
def test_parts_that_do_not_fit_together_are_refused_in_one_line(arm, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        tiny.model(configured(arm, changes))
    assert "\n" not in str(caught.value)


def test_each_image_has_the_levels_of_its_own_code():
    """Another code changes the bound of this image, and of no other."""
    model = tiny.model(configured(*PROCESSES["mulan"]))
    params, changed = tiny.drawn(model, scale=0.3), np.asarray([0, 1, 0, 0, 1, 0], bool)
    first = np.eye(5, dtype=np.float32)[[0, 1, 2, 3, 4, 0]] + np.eye(5, dtype=np.float32)[[1, 2, 3, 4, 0, 2]]

    @jax.jit
    def bound(codes):
        pixels, t = jnp.asarray(tiny.images(6)), jnp.linspace(0.05, 0.95, 6)
        process = model.bind(params, condition=model.condition(params, Batch(pixels), code=codes))
        return bound_at(process, pixels, process.point(t), model.draw_noise(jax.random.key(1), t)).total

    before, after = (np.asarray(bound(c)) for c in (first, np.where(changed[:, None], first[::-1], first)))
    np.testing.assert_allclose(after[~changed], before[~changed], rtol=1e-6)
    assert np.all(np.abs(after / before - 1)[changed] > 1e-3)


def test_the_codes_of_training_are_drawn_anew_and_those_of_evaluation_are_the_best():
    model = tiny.model(configured(*PROCESSES["code"]))
    params, pixels = tiny.drawn(model, scale=0.0), jax.device_put(tiny.images(6))
    params["code"]["logits"]["bias"] = np.float32([0.3, -0.2, 0.1, 0.5, 0.0])

    @jax.jit
    def codes(params, keys):
        return jax.vmap(lambda key: model.code_of(params, pixels, key))(keys), model.code_of(params, pixels)

    drawn, best = codes(params, jax.random.split(jax.random.key(0)))
    drawn = np.rint(drawn)
    assert np.all(drawn.sum(axis=2) == 2)
    assert not np.array_equal(*drawn)
    np.testing.assert_allclose(best, [[1, 0, 0, 1, 0]] * 6, atol=1e-6)

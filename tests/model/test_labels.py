"""Models that are conditioned on labels: what a label changes, and what it leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from diffenc_jax.core.errors import InputError
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.losses import bound_at
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.nets.network import ScoreNetwork
from tests import tiny

CLASSES = 3
SPEC = ImageSpec((4, 4, 1), tiny.LEVELS, CLASSES)
PIXELS, LABELS = jnp.asarray(tiny.images(6)), jnp.asarray([0, 2, 1, 1, 0, 2], jnp.int32)


def built(labels=True, **changes):
    return build(tiny.config(**{"small": True, "model__labels": labels, **changes}), SPEC)


def parameters(model):
    return tiny.away_from_zero(tiny.initial(model), 0.3)


def noise_of(model, ends=6):
    return model.draw_noise(jax.random.key(1), jnp.linspace(0.05, 0.95, 6), ends)


def terms(model, params, labels, noise, chosen=None):
    """The bound by term, of all images or with the end points of the `chosen` ones only."""

    @jax.jit
    def compute(params, labels, noise):
        batch = Batch(PIXELS, labels)
        process = model.bind(params, condition=model.condition(params, batch))
        ends = ()
        if chosen is not None:
            endpoints = jax.tree.map(lambda a: a[jnp.asarray(chosen)], batch)
            ends = endpoints.pixels, model.condition(params, endpoints)
        return bound_at(process, PIXELS, model.place(params, noise.t), noise, *ends)

    return compute(params, labels, noise)


def without_condition(params):
    """The parameters but for the kernels of the condition."""
    flat = flatten_dict(params, keep_empty_nodes=True)
    return unflatten_dict({path: leaf for path, leaf in flat.items() if "condition" not in path})


def test_without_the_kernels_of_the_condition_it_is_the_unconditional_model():
    model, plain = built(), built(False)
    jax.tree.map(np.testing.assert_array_equal, without_condition(tiny.initial(model)), tiny.initial(plain))
    params = parameters(model)
    flat = flatten_dict(params, keep_empty_nodes=True)
    kernels = {path for path in flat if "condition" in path}
    assert {path[0] for path in kernels} == {"score", "encoder"}
    zero = unflatten_dict({path: jnp.zeros_like(leaf) if path in kernels else leaf for path, leaf in flat.items()})
    noise = noise_of(model)
    expected = terms(plain, without_condition(params), None, noise)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), terms(model, zero, LABELS, noise), expected)
    conditioned = terms(model, params, LABELS, noise)
    assert np.all(np.abs(conditioned.diffusion / expected.diffusion - 1) > 1e-5)
    assert np.all(conditioned.latent != expected.latent)


def test_a_label_is_that_of_its_own_image():
    """Another label changes the terms of this image, in score network and encoder, and of no other."""
    model = built()
    params, noise = parameters(model), noise_of(model)
    before, after = (terms(model, params, labels, noise) for labels in (LABELS, LABELS.at[3].set(2)))
    for name in ("reconstruction", "latent", "diffusion"):
        changed = np.asarray(getattr(before, name)) != np.asarray(getattr(after, name))
        np.testing.assert_array_equal(changed, np.arange(6) == 3)


def test_networks_are_not_called_without_their_condition():
    model = built()
    params = parameters(model)
    process = model.bind(params)
    assert float(process.endpoints[0]) == pytest.approx(model.gamma_range[0])
    with pytest.raises(ValueError, match="the model is conditioned; bind it with the condition of a batch"):
        process.predict(jnp.zeros((6, *SPEC.shape)), jnp.zeros(6))
    with pytest.raises(ValueError, match="the model is conditioned"):
        process.encoder.mean(jnp.zeros((6, *SPEC.shape)), jnp.zeros(6))


class Unconditional(ScoreNetwork):
    """A network that takes no condition."""

    takes_condition = False


def test_what_cannot_be_conditioned_is_refused():
    config = tiny.config("vdm", small=True, model__labels=True)
    for classes in (0, 1):
        with pytest.raises(InputError, match=rf"needs images of two classes or more; these are of {classes}"):
            build(config, ImageSpec(SPEC.shape, tiny.LEVELS, classes))
    plain = config.replace({"model.score": {"kind": f"{__name__}:Unconditional"}})
    with pytest.raises(InputError, match=r"networks that take a condition, and that of model.score.kind takes none"):
        build(plain, SPEC)

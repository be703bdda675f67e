"""The published code's arrays, reproduced: losses, networks, one sampling step, the gradients' norms."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax import model as models
from diffenc_jax.diffusion import decoder, losses
from diffenc_jax.diffusion.encoders import NonTrainable
from diffenc_jax.diffusion.samplers import ancestral_step
from diffenc_jax.diffusion.steps import Step
from diffenc_jax.interop import published

FOLDER = Path(__file__).parent.parent / "reference"
LEVELS = 2  # of the published two-layer encoder


class Reference:
    """A file, and our model with its parameters."""

    def __init__(self, name):
        with np.load(FOLDER / f"{name}.npz") as archive:
            self.arrays = {name: a if a.dtype.kind == "U" else jnp.asarray(a) for name, a in archive.items()}
        meta = json.loads(str(self.arrays["meta"]))
        spec = models.ImageSpec(tuple(meta["shape"]), meta["vocab_size"])
        self.model = models.build(published.configuration(meta), spec)
        self.params = published.to_ours(self.prefixed("param:"), LEVELS)
        self.noise = losses.Noise(*(self.arrays[name] for name in ("t", "eps_0", "eps_t")))

    def prefixed(self, prefix):
        return {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}


@pytest.fixture(scope="module", params=["vdm", "trainable"])
def reference(request):
    return Reference(request.param)


def relative_error(ours, theirs):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def test_parameters_fit(reference):
    shapes = jax.eval_shape(reference.model.init, jax.random.key(0))
    assert jax.tree.map(lambda s: s.shape, shapes) == jax.tree.map(np.shape, reference.params)


def test_losses_and_gradients(reference):
    arrays, model = reference.arrays, reference.model

    def bpd(params):
        terms = model.terms(params, arrays["images"], reference.noise)
        return terms.total.mean() / (model.spec.dims * np.log(2)), terms

    (value, terms), grads = jax.jit(jax.value_and_grad(bpd, has_aux=True))(reference.params)
    assert relative_error(value, arrays["bpd"]) < 1e-5
    assert relative_error(terms.diffusion, arrays["loss_diffusion"]) < 1e-5
    # The published latent and reconstruction are what lost digits here: see losses.latent.
    for ours, theirs in ((terms.latent, "loss_latent"), (terms.reconstruction, "loss_recon")):
        np.testing.assert_allclose(ours, arrays[theirs], rtol=1e-4, atol=1e-7 * model.spec.dims)
    norms = published.to_ours(reference.prefixed("gradnorm:"), LEVELS)
    ours = jax.tree.map(np.linalg.norm, unstacked(grads))
    theirs = unstacked(norms)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    # With one channel a group some gradients vanish; both sides then show rounding alone.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=5e-4, atol=1e-6), ours, theirs)


def unstacked(tree):
    """Rows of the score network's stacks as lists, since the published norms are those of single blocks."""
    stacks = {
        way: jax.tree.map(list, tree["score"][way], is_leaf=lambda a: hasattr(a, "shape")) for way in ("down", "up")
    }
    return {**tree, "score": {**tree["score"], **stacks}}


def test_networks(reference):
    arrays, model = reference.arrays, reference.model
    v_hat = jax.jit(model.predict_v(reference.params))(arrays["z_in"], arrays["gamma_t"])
    assert relative_error(v_hat, arrays["v_hat"]) < 1e-5
    if "y" in arrays:
        encoder = model.encoder(reference.params)
        x = decoder.pixel_values(arrays["images"], 256)
        # Compiled, where constants are folded and products fused: dy/dγ shows a rounding of γ a thousandfold.
        y, dy = jax.jit(encoder.output_and_derivative)(x, arrays["gamma_t"])
        assert relative_error(y, arrays["y"]) < 1e-5
        assert relative_error(dy, arrays["dy_dgamma"]) < 1e-5
        assert relative_error(encoder.mean(x, arrays["gamma_t"]), arrays["x_t"]) < 1e-5


def test_ancestral_step(reference):
    arrays, model, schedule = reference.arrays, reference.model, reference.model.gamma(reference.params)
    i, depth, batch = int(arrays["step_i"]), int(arrays["step_T"]), len(arrays["t"])
    gamma_t, gamma_s = (schedule(jnp.full(batch, 1 - j / depth)) for j in (i, i + 1))
    at = Step(gamma_s, gamma_t, ratio=jnp.ones((batch, 1, 1, 1)), depth=jnp.asarray(float(depth)))
    z_s = ancestral_step(model.predict_v(reference.params), model.extrapolation, arrays["z_in"], at, arrays["step_eps"])
    assert relative_error(z_s, arrays["z_out"]) < 1e-5


def test_nontrainable_end_points():
    """Its parameters would make the tests' data too large; its diffusion loss has a closed form."""
    with np.load(FOLDER / "nontrainable.npz") as archive:
        arrays = {name: jnp.asarray(archive[name]) for name in ("images", "eps_0", "loss_latent", "loss_recon")}
    pixels = arrays["images"]
    x, ones = decoder.pixel_values(pixels, 256), jnp.ones(len(pixels))
    x_0, x_1 = (NonTrainable().mean(x, ones * gamma) for gamma in (-13.3, 5.0))
    latent = losses.latent(x_1, jnp.float32(5.0))
    reconstruction = losses.reconstruction(x_0, pixels, jnp.float32(-13.3), 256, arrays["eps_0"])
    dims = x[0].size
    np.testing.assert_allclose(latent, arrays["loss_latent"], rtol=1e-4, atol=1e-7 * dims)
    np.testing.assert_allclose(reconstruction, arrays["loss_recon"], rtol=1e-4, atol=1e-7 * dims)


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError):
        published.our_name("score_model/VDMUNet_0/down.block_0/conv3/kernel", LEVELS)

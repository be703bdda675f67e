"""The published code's arrays, reproduced: losses, networks, one sampling step, the gradients' norms."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.diffusion import decoder, losses
from diffenc_jax.diffusion.ancestral import ancestral_step
from diffenc_jax.diffusion.encoders import NonTrainable
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.steps import Step
from diffenc_jax.lab.interop import names, parity

FOLDER = Path(__file__).parents[2] / "reference"


class Reference:
    """A file, and our model with its parameters."""

    def __init__(self, name):
        with np.load(FOLDER / f"{name}.npz") as archive:
            self.arrays = {name: a if a.dtype.kind == "U" else jnp.asarray(a) for name, a in archive.items()}
        self.model, self.places = parity.model_of(self.arrays)
        self.params = names.to_ours(self.prefixed("param:"), self.places)
        self.noise = losses.Noise(*(self.arrays[name] for name in ("t", "eps_0", "eps_t")))

    def prefixed(self, prefix):
        return parity.prefixed(self.arrays, prefix)


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
        place = model.place(params, reference.noise.t)
        terms = losses.bound_at(model.bind(params), arrays["images"], place, reference.noise)
        return terms.total.mean() / (model.spec.dims * np.log(2)), terms

    (value, terms), grads = jax.jit(jax.value_and_grad(bpd, has_aux=True))(reference.params)
    assert relative_error(value, arrays["bpd"]) < 1e-5
    assert relative_error(terms.diffusion, arrays["loss_diffusion"]) < 1e-5
    # The published latent and reconstruction are what lost digits here: see losses.latent.
    for ours, theirs in ((terms.latent, "loss_latent"), (terms.reconstruction, "loss_recon")):
        np.testing.assert_allclose(ours, arrays[theirs], rtol=1e-4, atol=1e-7 * model.spec.dims)
    norms = reference.prefixed("gradnorm:")
    assert norms.keys() == reference.places.keys()
    ours = {name: np.linalg.norm(names.from_ours(grads, place)) for name, place in reference.places.items()}
    whole = np.linalg.norm(list(norms.values()))
    for name, norm in norms.items():
        # With one channel a group some gradients vanish; both sides then show rounding alone.
        np.testing.assert_allclose(ours[name], norm, rtol=5e-4, atol=max(1e-6, 1e-8 * whole), err_msg=name)


def test_networks(reference):
    arrays, process = reference.arrays, reference.model.bind(reference.params)
    v_hat = jax.jit(process.predict)(arrays["z_in"], arrays["gamma_t"]).v
    assert relative_error(v_hat, arrays["v_hat"]) < 1e-5
    if "y" in arrays:
        encoder, x = process.encoder, process.pixel_values(arrays["images"])
        # Compiled, where constants are folded and products fused: dy/dγ shows a rounding of γ a thousandfold.
        y, dy = jax.jit(encoder.output_and_derivative)(x, arrays["gamma_t"])
        assert relative_error(y, arrays["y"]) < 1e-5
        assert relative_error(dy, arrays["dy_dgamma"]) < 1e-5
        assert relative_error(encoder.mean(x, arrays["gamma_t"]), arrays["x_t"]) < 1e-5


def test_ancestral_step(reference):
    arrays, process = reference.arrays, reference.model.bind(reference.params)
    i, depth, batch = int(arrays["step_i"]), int(arrays["step_T"]), len(arrays["t"])
    gamma_t, gamma_s = (process.gamma(jnp.full(batch, 1 - j / depth)) for j in (i, i + 1))
    step = Step(gamma_s, gamma_t, ratio=Table(jnp.ones(batch)), depth=jnp.asarray(float(depth)))
    z_s = jax.jit(partial(ancestral_step, process))(arrays["z_in"], step, arrays["step_eps"])
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

"""The published code's arrays, reproduced: losses, networks, a sampling step, the gradients' norms; and the command."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.__main__ import main
from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.encoders import NonTrainable
from diffenc_jax.lab.interop import names, parity
from tests.lab.interop.published_file import REFERENCES, reference
from tests.refusals import refused


def test_all_outputs_are_reproduced():
    """Those of the model without an encoder too, by the command below."""
    errors = {error.name: error for error in parity.compare(reference("trainable"))}
    assert all(error.passes for error in errors.values())
    expected = {"bpd", "loss_diffusion", "v_hat", "z_out", "y", "dy_dgamma", "x_t"}
    assert all(errors[name].relative < 1e-5 for name in expected)


@pytest.mark.parametrize("name", ["vdm", pytest.param("trainable", marks=pytest.mark.slow)])
def test_gradients_have_the_published_norms(name):
    arrays = reference(name)
    model, locations = parity.model_of(arrays)
    params = names.to_ours(parity.prefixed(arrays, "param:"), locations)
    grads, _ = jax.jit(jax.grad(parity.bound_of(parity.anchored(model, arrays), arrays), has_aux=True))(params)
    grads, norms = jax.device_get(grads), parity.prefixed(arrays, "gradnorm:")
    assert norms.keys() == locations.keys()
    whole = np.linalg.norm(list(norms.values()))
    for name, norm in norms.items():
        ours = np.linalg.norm(names.from_ours(grads, locations[name]))
        # With one channel a group some gradients vanish; both sides then show rounding alone.
        np.testing.assert_allclose(ours, norm, rtol=5e-4, atol=max(1e-6, 1e-8 * whole), err_msg=name)


def test_nontrainable_end_points():
    """Its parameters would make the tests' data too large; its diffusion loss has a closed form."""
    arrays = reference("nontrainable")

    @jax.jit
    def terms(pixels, eps_0):
        decoder, ones = Levels(256), jnp.ones(len(pixels))
        x_0, x_1 = (NonTrainable().encode(decoder.values(pixels), ones * gamma) for gamma in (-13.3, 5.0))
        reconstruction = decoder.reconstruction(x_0, pixels, jnp.float32(-13.3), eps_0)
        return losses.latent(x_1.x_t, jnp.float32(5.0)), reconstruction

    latent, reconstruction = terms(arrays["images"], arrays["eps_0"])
    dims = arrays["images"][0].size
    np.testing.assert_allclose(latent, arrays["loss_latent"], rtol=1e-4, atol=1e-7 * dims)
    np.testing.assert_allclose(reconstruction, arrays["loss_recon"], rtol=1e-4, atol=1e-7 * dims)


def spoiled(tmp_path, **changes):
    arrays = reference("vdm") | changes
    np.savez(tmp_path / "spoiled.npz", **{name: array for name, array in arrays.items() if array is not None})
    return str(tmp_path / "spoiled.npz")


@pytest.mark.slow
def test_agreement_exits_with_0_and_a_difference_with_1(tmp_path, capsys):
    assert main(["parity", str(REFERENCES / "vdm.npz")]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("loss_recon", "loss_latent", "loss_diffusion", "bpd", "v_hat", "z_out"))
    v_hat = reference("vdm")["v_hat"] * np.float32(1.001)
    gradient = "grad:score_model/conv_out/bias"
    assert main(["parity", spoiled(tmp_path, **{"v_hat": v_hat, gradient: np.ones(3, np.float32)})]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if "beyond" in line]
    assert [line.split()[1] for line in failed] == ["v_hat", gradient]


SPOILED = [
    ({"meta": None}, "is no complete reference file of a known model: 'meta'"),
    ({"meta": np.array('["vdm"]')}, "is no complete reference file of a known model: "),
    ({"meta": np.array("[" * 9000)}, "is no complete reference file of a known model: "),
    ({"images": np.zeros((4, 8, 8, 3), np.uint8)}, "its images have another shape than it says"),
    ({"param:score_model/conv_in/bias": None}, "of a known model: 'score_model/conv_in/bias'"),
    ({"param:score_model/conv3/bias": np.ones(3)}, "of a known model: unknown parameters score_model/conv3/bias"),
    ({"grad:score_model/conv3/bias": np.ones(3)}, "of a known model: unknown parameters score_model/conv3/bias"),
]


@pytest.mark.parametrize(("changes", "message"), SPOILED)
def test_missing_and_unknown_arrays_are_named(tmp_path, capsys, changes, message):
    assert message in refused(main, ["parity", spoiled(tmp_path, **changes)], capsys)

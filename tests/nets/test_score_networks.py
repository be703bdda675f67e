"""Score networks: one function of their parameters however they are computed, and a derivative head apart from it."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from diffenc_jax.nets.compute import Compute
from tests import tiny
from tests.nets import contract
from tests.nets.contract import MLP, TIME, TRANSFORMER, UNET, X, assert_computed_alike

networks = pytest.mark.parametrize("net", [UNET, TRANSFORMER, MLP], ids=["unet", "transformer", "perceptron"])


COMPUTED = [
    (UNET.clone(layers=2, attention=True), dict(scan=True, remat="products")),
    (UNET.clone(levels=1), dict(remat="block")),
    (TRANSFORMER, dict(scan=True, remat="block")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("net", "options"), COMPUTED, ids=["unet", "pooled unet", "transformer"])
def test_scanned_and_rematerialised_equal_unrolled(net, options):
    assert_computed_alike(net, Compute(**options), Compute())


@pytest.mark.parametrize("levels", [0, 1])
def test_attention_after_every_block_is_what_is_added_to_the_others(levels):
    """A network whose blocks' attention adds nothing is the one without."""
    plain = UNET.clone(levels=levels)
    net = plain.clone(attention=True)
    params = tiny.drawn(net, X, TIME)
    flat = flatten_dict(params)
    own = {path for path in flat if "attention" in path[2:-2]}
    assert {path[1] for path in own} == ({"down", "up"} if levels == 0 else {"down_0_0", "up_0_0"})
    silent = unflatten_dict({path: 0 * leaf if path in own and "out" in path else leaf for path, leaf in flat.items()})
    without = unflatten_dict({path: leaf for path, leaf in flat.items() if path not in own})
    found, expected, other = jax.jit(
        lambda: (net.apply(silent, X, TIME), plain.apply(without, X, TIME), net.apply(params, X, TIME))
    )()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(other - expected).max() > 0.01


@networks
def test_outputs_depend_on_the_mask_and_little_on_how_they_are_computed(net):
    contract.assert_mask_matters_and_computation_does_not(net)


# The transformer starts at zero as an encoder, in tests/model/test_registry.py, and has the U-Net's heads.
@pytest.mark.parametrize("net", [UNET, pytest.param(TRANSFORMER, marks=pytest.mark.slow)], ids=["unet", "transformer"])
def test_outputs_are_zero_at_initialisation_and_heads_leave_the_other_parameters(net):
    contract.assert_zero_at_initialisation(net)


@pytest.mark.slow
@networks
def test_heads_leave_the_output_and_its_gradient(net):
    contract.assert_heads_leave_the_output(net)

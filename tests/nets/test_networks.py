"""Networks: how they are computed changes nothing, the transformer's patches and blocks, the gains per frequency."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from flax.traverse_util import flatten_dict, unflatten_dict

from diffenc_jax.diffusion.flow import Solver, likelihood_of
from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.dct import FrequencyGains, dct
from diffenc_jax.nets.transformer import Transformer, from_patches, to_patches
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


@pytest.mark.parametrize(("levels", "platform"), [(0, "cpu"), (1, "cpu"), (1, "tpu")])
def test_a_periodic_network_commutes_with_shifts_by_whole_pools(levels, platform):
    net = UNET.clone(levels=levels, padding="periodic", compute=Compute(platform=platform))
    params, x = tiny.drawn(net, X, TIME), jnp.roll(X, (2, -2), (1, 2))
    here, there, edged = jax.jit(
        lambda: (
            net.apply(params, X, TIME),
            net.apply(params, x, TIME),
            net.clone(padding="zero").apply(params, x, TIME),
        )
    )()
    np.testing.assert_allclose(there, jnp.roll(here, (2, -2), (1, 2)), atol=1e-5)
    assert np.abs(edged - there).max() > 0.01


@pytest.mark.slow
def test_log_p_of_a_periodic_model_is_that_of_a_shifted_image():
    periodic = dict.fromkeys(["model__score__padding", "model__encoder__padding"], "periodic")
    model = tiny.model(tiny.config("diffenc", model__derivative_head=True, **periodic))
    process, solver = model.bind(tiny.drawn(model)), Solver(rtol=1e-4, atol=1e-4)
    z = np.random.RandomState(0).normal(size=(1, *tiny.SPEC.shape)).astype(np.float32)
    log_p = jax.jit(lambda z: -likelihood_of(process, z, None, solver).total)
    here, there = log_p(z), log_p(jnp.roll(z, (2, -2), (1, 2)))
    np.testing.assert_allclose(there, here, atol=0.1)
    assert np.abs(log_p(z[:, ::-1]) - here) > 0.3


@networks
def test_outputs_depend_on_the_mask_and_little_on_how_they_are_computed(net):
    contract.assert_mask_matters_and_computation_does_not(net)


# The transformer starts at zero as an encoder, in tests/model/test_model.py, and has the U-Net's heads.
@pytest.mark.parametrize("net", [UNET, pytest.param(TRANSFORMER, marks=pytest.mark.slow)], ids=["unet", "transformer"])
def test_outputs_are_zero_at_initialisation_and_heads_leave_the_other_parameters(net):
    contract.assert_zero_at_initialisation(net)


@pytest.mark.slow
@networks
def test_heads_leave_the_output_and_its_gradient(net):
    contract.assert_heads_leave_the_output(net)


NET = Transformer(patch=2, width=8, layers=1, heads=2, dropout=0.0, fourier_bins=(), skip_connections=False)
IMAGES = np.random.RandomState(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
apply = jax.jit(NET.apply)


@pytest.fixture(scope="module")
def params():
    return tiny.drawn(NET, IMAGES, TIME, scale=0.3)


def test_patches_are_squares_row_by_row():
    there_and_back = jax.jit(lambda x: (to_patches(x, (2, 2)), from_patches(to_patches(x, (2, 2)), x.shape, (2, 2))))
    patches, again = map(np.asarray, there_and_back(IMAGES))
    for row in range(2):
        for column in range(3):
            square = IMAGES[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(patches[:, 3 * row + column], square.reshape(2, -1))
    np.testing.assert_array_equal(again, IMAGES)


def changed(params):
    """Pixels of the output, [H, W], that depend on the patch at row 1, column 2 of the input."""
    other = IMAGES.copy()
    other[:, 2:4, 4:6] += 1.0
    first, second = (np.asarray(apply(params, image, TIME)) for image in (IMAGES, other))
    return np.abs(first - second).max(axis=(0, 3)) > 1e-6


def test_without_attention_a_patch_depends_on_itself_alone(params):
    blocks = params["params"]["blocks"]["blocks"]
    zeros = jax.tree.map(np.zeros_like, blocks["attention"]["out"])
    without = blocks | {"attention": blocks["attention"] | {"out": zeros}}
    alone = {"params": params["params"] | {"blocks": {"blocks": without}}}
    itself = np.zeros((4, 6), bool)
    itself[2:4, 4:6] = True
    np.testing.assert_array_equal(changed(alone), itself)
    assert changed(params).all()


def test_patches_and_positions_permute_together(params):
    """Permuting patches and positions permutes the output; permuting patches alone does not."""
    order = np.random.RandomState(0).permutation(6)
    shuffle = jax.jit(lambda x: from_patches(to_patches(x, (2, 2))[:, order], x.shape, (2, 2)))
    moved = {"params": params["params"] | {"positions": np.asarray(params["params"]["positions"])[order]}}
    expected = shuffle(apply(params, IMAGES, TIME))
    np.testing.assert_allclose(apply(moved, shuffle(IMAGES), TIME), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(apply(params, shuffle(IMAGES), TIME), expected, atol=1e-2)


@pytest.mark.slow
def test_skip_connections_are_in_reverse_order():
    """Blocks that the output depends on if a joined block takes its skip alone, or its input alone."""
    net = NET.clone(layers=5, skip_connections=True, fourier_bins=(4.0,))
    params = tiny.drawn(net, IMAGES, TIME, scale=0.3)["params"]
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(net.apply({"params": params}, IMAGES, TIME)))))

    def used_blocks(keep_inputs, keep_skips):
        """Which of three plain and two joined blocks have a gradient if only these joined inputs are kept."""
        kernel = params["joined_blocks"]["blocks"]["shortcut"]["kernel"]
        kept = jnp.repeat(jnp.asarray([keep_inputs, keep_skips], kernel.dtype).T, NET.width, axis=1)
        changed = jax.tree.map(lambda a: a, params)
        changed["joined_blocks"]["blocks"]["shortcut"]["kernel"] = kernel * kept[..., None]
        gradients = gradient(changed)
        chains = [gradients[name]["blocks"]["dense_1"]["kernel"] for name in ("blocks", "joined_blocks")]
        return [bool(np.any(block)) for chain in chains for block in chain]

    assert used_blocks(keep_inputs=[1, 0], keep_skips=[1, 1]) == [True, False, False, False, True]
    assert used_blocks(keep_inputs=[0, 1], keep_skips=[1, 0]) == [True, True, False, True, True]
    assert used_blocks(keep_inputs=[1, 1], keep_skips=[1, 1]) == [True] * 5


SHAPE = (2, 3, 2)
GAINS = FrequencyGains(8)
PIXELS = (1, 2)  # the axes of the transform


def theirs(x):
    return scipy.fft.dctn(x, axes=PIXELS, norm="ortho")


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 5, 8, 3), (1, 28, 28, 1)])
def test_the_transform_is_scipys(x64, shape):
    x = np.random.RandomState(0).normal(size=shape)
    found, again = jax.jit(lambda x: (dct(x), dct(dct(x), inverse=True)))(x)
    np.testing.assert_allclose(found, theirs(x), atol=1e-12)
    np.testing.assert_allclose(again, x, atol=1e-12)


@pytest.fixture
def gains(x64):
    return tiny.drawn(GAINS, np.zeros((1, *SHAPE)), np.zeros(1))


def test_every_frequency_has_its_gain_and_offset(gains):
    """Gains and offsets are the same for every image, so the output is affine in it; they depend on the time."""
    time = np.asarray([0.1, 0.1, 0.1, 0.9])
    x = np.random.RandomState(1).normal(size=(4, *SHAPE))
    x[3] = x[2]
    apply = jax.jit(GAINS.apply)
    offsets = theirs(np.asarray(apply(gains, np.zeros_like(x), time)))
    gains = (theirs(np.asarray(apply(gains, x, time))) - offsets) / theirs(x)
    for images in (offsets, gains):
        np.testing.assert_allclose(images[:2], images[2:3].repeat(2, axis=0), rtol=1e-8)
        assert np.abs(images[3] - images[2]).min() > 1e-4
        assert len(np.unique(images[0].round(8))) == np.prod(SHAPE)

"""Published names of our parameters, for both families of files."""

import jax
import numpy as np
import pytest

from diffenc_jax.config.recipe import encoder_network, score_network
from diffenc_jax.lab.interop import names
from diffenc_jax.lab.interop.names import Dialect
from diffenc_jax.model import DataSpec, build
from tests import tiny

DIFFENC, VDM = Dialect(bare=False, numbered=False), Dialect(bare=True, numbered=False)


def shapes_of(arm="vdm", size=4, **changes):
    model = build(tiny.config(arm, **changes), DataSpec((size, size, 1), tiny.LEVELS))
    return jax.eval_shape(model.init, jax.random.key(0))


def test_the_encoders_blocks_count_from_the_coarsest_on_the_way_up():
    network = encoder_network(width=32, layers=4, levels=2)
    locations = names.locations(shapes_of("diffenc", 8, model__encoder=network), Dialect(bare=False, numbered=True))
    root = "encdec/inner_encoder/enc_model"
    path = locations[f"{root}/up_blocks_0/up_1_resnet_block1/conv2/bias"].path
    assert path == ("encoder", "up_1_1", "conv_1", "bias")
    assert locations[f"{root}/down_blocks_1/down_1_resnet_block0/conv1/bias"].shape == (64,)
    assert locations[f"{root}/up_blocks_1/conv_trans/kernel"].path == ("encoder", "unpool_0", "kernel")
    assert f"{root}/mid_resnet_2/cond_proj/kernel" in locations
    single = names.locations(shapes_of("diffenc"), DIFFENC)
    assert f"{root}/up_blocks_0/up_0_resnet_block/conv1/kernel" in single


def test_a_score_network_that_pools_is_named_as_unet_alt():
    locations = names.locations(shapes_of(model__score=score_network(width=32, layers=1, levels=1)), DIFFENC)
    assert "score_model/UNet_0/down_blocks_0/down_0_resnet_block/conv1/kernel" in locations
    assert "score_model/UNet_0/mid_attn_1/q/kernel" in locations


def test_attention_after_every_block_is_named_after_it():
    locations = names.locations(shapes_of(model__score__attention=True), VDM)
    path = locations["score_model/up.attn_1/proj_out/kernel"].path
    assert "/".join(path) == "score/up/blocks/attention/out/kernel"


@pytest.mark.parametrize("dialect", [DIFFENC, VDM, Dialect(bare=False, numbered=True)])
@pytest.mark.parametrize("arm", ["diffenc", "vdm"])
def test_there_and_back(arm, dialect):
    """Every one of our leaves from its published parameters, each known by its value; the dialect shows in names."""
    shapes = shapes_of(arm, model__schedule__kind="learned_linear")
    locations = names.locations(shapes, dialect)
    published = {name: np.full(at.shape, i, np.float32) for i, (name, at) in enumerate(locations.items())}
    ours = names.to_ours(published, locations)
    assert jax.tree.map(np.shape, ours) == jax.tree.map(lambda s: s.shape, shapes)
    for name, at in locations.items():
        np.testing.assert_array_equal(names.from_ours(ours, at), published[name], strict=True)
    numbered = dialect.numbered and arm == "diffenc"
    assert Dialect.of(published) == Dialect(dialect.bare, numbered)

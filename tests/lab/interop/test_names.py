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
NUMBERED = Dialect(bare=False, numbered=True)


def shapes_of(arm="vdm", size=4, **changes):
    model = build(tiny.config(arm, **changes), DataSpec((size, size, 1), tiny.LEVELS))
    return jax.eval_shape(model.init, jax.random.key(0))


POOLS, ATTENDS = {"model__score": score_network(width=32, layers=1, levels=1)}, {"model__score__attention": True}
FLAT = {"arm": "diffenc"}
DEEP = FLAT | {"size": 8, "model__encoder": encoder_network(width=32, layers=4, levels=2)}
ENCODER, SCORE = "encdec/inner_encoder/enc_model", "score_model/UNet_0"
# Model, family of files, published name, our name. On the way up, an encoder's blocks count from the coarsest.
NAMES = [
    (DEEP, NUMBERED, f"{ENCODER}/up_blocks_0/up_1_resnet_block1/conv2/bias", "encoder/up_1_1/conv_1/bias"),
    (DEEP, NUMBERED, f"{ENCODER}/down_blocks_1/down_1_resnet_block0/conv1/bias", "encoder/down_1_0/conv_0/bias"),
    (DEEP, NUMBERED, f"{ENCODER}/up_blocks_1/conv_trans/kernel", "encoder/unpool_0/kernel"),
    (DEEP, NUMBERED, f"{ENCODER}/mid_resnet_2/cond_proj/kernel", "encoder/mid_1/cond/kernel"),
    (FLAT, DIFFENC, f"{ENCODER}/up_blocks_0/up_0_resnet_block/conv1/kernel", "encoder/up_0_0/conv_0/kernel"),
    (POOLS, DIFFENC, f"{SCORE}/down_blocks_0/down_0_resnet_block/conv1/kernel", "score/down_0_0/conv_0/kernel"),
    (POOLS, DIFFENC, f"{SCORE}/mid_attn_1/q/kernel", "score/attention/query/kernel"),
    (ATTENDS, VDM, "score_model/up.attn_1/proj_out/kernel", "score/up/blocks/attention/out/kernel"),
]


@pytest.mark.parametrize(("model", "dialect", "published", "ours"), NAMES)
def test_parameters_have_their_published_names(model, dialect, published, ours):
    assert "/".join(names.locations(shapes_of(**model), dialect)[published].path) == ours


@pytest.mark.parametrize("dialect", [DIFFENC, VDM, NUMBERED])
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

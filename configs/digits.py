"""8x8 handwritten digits, 17 grey levels: the whole program in minutes on two CPU cores.

  python -m diffenc_jax.main --config=configs/digits.py

Reaches about 1.85 bits/dim on the 297 test images (uniform: 4.09) in two and a half minutes of
training on two cores. Arms: diffenc (default), nontrainable, vdm; and vdm with what diffenc has more of, either
diffenc's parameters (vdm-params, 2 layers deeper) or the FLOPs of its training (vdm-flops, 402 steps longer).
diffenc with another encoder than the U-Net: a transformer of about as many FLOPs (diffenc-transformer, 179 thousand
parameters to the U-Net's 120), and one that is linear in the image (diffenc-dct, 14 thousand).
"""

from diffenc_jax.config import (
    ARMS,
    choose_arm,
    dct_network,
    encoder_network,
    matched,
    recipe,
    score_network,
    transformer_network,
    with_changes,
)

SMALL = dict(width=32, groups=8, mid_groups=8, out_groups=8)
OTHER_ENCODERS = {
    "diffenc-transformer": {"model.encoder": transformer_network(width=32)},
    "diffenc-dct": {"model.encoder": dct_network(width=16)},
}
ALL_ARMS = ARMS | matched("vdm", ARMS["vdm"], layers=5, steps=1902) | OTHER_ENCODERS


def get_config(arm="diffenc"):
    config = recipe("digits", arm)
    changes = {
        "data.levels": 17,
        "data.stripes": 1,
        "model.score": score_network(layers=3, **SMALL),
        "model.encoder": encoder_network(layers=2, **SMALL | {"width": 16}),
        "train.steps": 1500,
        "train.batch_size": 64,
        "train.learning_rate": 3e-3,
        "train.ema_decay": 0.99,
        "log.every_steps": 50,
        "checkpoint.every_steps": 250,
        "checkpoint.keep_every_steps": 1500,
        "eval.every_steps": 500,
        "eval.batch_size": 64,
        "eval.passes": 8,
        "sample.depth": 250,
    }
    return choose_arm(with_changes(config, changes), ALL_ARMS)

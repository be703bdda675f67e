"""8x8 handwritten digits, 17 grey levels: the whole program in minutes on two CPU cores.

  python -m diffenc_jax.main --config=configs/digits.py

Reaches about 1.85 bits/dim on the 297 test images (uniform: 4.09) in two and a half minutes of
training on two cores.

Arms: diffenc (the default), nontrainable and vdm. With -published, such as vdm-published, an arm is trained with the
differences from the published training (docs/training.md) undone that keys can undo. With -fast, such as vdm-fast, it
is trained by Muon on 28 % of the images. With -pooled, such as vdm-pooled-fast, its score network has one pooling,
which takes a third off the time. With -T<depth>, such as diffenc-T10, it is trained and evaluated with that many steps.
configs/digits_matched.py has arms of equal cost, configs/digits_variants.py other networks, encoders and forward
processes.
"""

from diffenc_jax.config.recipe import ARMS, Fast, choose_arm, encoder_network, recipe, score_network, with_changes

SMALL = dict(width=32, groups=8, mid_groups=8, out_groups=8)
SMALL_ENCODER = dict(layers=2, **SMALL | {"width": 16})
# More steps of smaller batches; so few epochs need no dropout.
FAST_DIGITS = Fast(850 / 1500, {"train.batch_size": 32, "model.score.dropout": 0.0})


def base(arm):
    """The configuration of `diffenc`, with the name of an arm."""
    changes = {
        "data.pixel_levels": 17,
        "data.shuffle_shards": 1,
        "model.score": score_network(layers=3, **SMALL),
        "model.encoder": encoder_network(**SMALL_ENCODER),
        "train.steps": 1500,
        "train.batch_size": 64,
        "train.learning_rate": 3e-3,
        "train.ema_decay": 0.99,
        "log.every_steps": 50,
        "log.samples": 8,
        "checkpoint.every_steps": 250,
        "checkpoint.keep_every_steps": 1500,
        "eval.every_steps": 500,
        "eval.batch_size": 64,
        "eval.passes": 8,
        "sample.depth": 250,
        "sample.batch_size": 8,  # as log.samples, so that both share a compiled program
    }
    return with_changes(recipe("digits", arm), changes)


def choose(arm, arms):
    """The configuration of one of the `arms`."""
    return choose_arm(base(arm), arms, FAST_DIGITS)


def get_config(arm="diffenc"):
    return choose(arm, ARMS)

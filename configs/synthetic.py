"""An 8-bit swirl in two dimensions, as images of 1x1 pixel and two channels: the mathematics at a glance.

  python -m diffenc_jax.main --config=configs/synthetic.py

Reaches about 7.0 bits/dim in some minutes on two cores (the density itself: 6.27; uniform: 8). 2.8 M parameters.
Samples are drawn as a scatter plot. To compare at equal cost, vdm-flops (16 % more steps) has the FLOPs of diffenc's
training. No number of layers has its parameters: vdm has 6 % fewer with one layer, and 27 % more with two.
"""

from diffenc_jax.config.recipe import ARMS, choose_arm, encoder_network, recipe, score_network, with_changes

ALL_ARMS = ARMS | {"vdm-flops": ARMS["vdm"] | {"train.flops_of": "diffenc"}}


def get_config(arm="diffenc"):
    # One group per norm: a single pixel offers no other values for statistics. There is nothing to pool either.
    plain = dict(layers=1, levels=0, dropout=0.0, groups=1, mid_groups=1, out_groups=1)
    waves = (128.0, 64.0, 32.0, 16.0, 8.0)  # scales of the swirl, in bins; the published 2 and 1 suit images
    changes = {
        "data.shuffle_shards": 1,
        "model.score": score_network(width=128, fourier_bins=waves, **plain),
        "model.encoder": encoder_network(width=32, **plain),
        "train.steps": 5000,
        "train.batch_size": 128,
        "train.learning_rate": 2e-3,
        "train.ema_decay": 0.99,
        "log.every_steps": 100,
        "log.samples": 64,
        "checkpoint.every_steps": 1000,
        "checkpoint.keep_every_steps": 5000,
        "eval.every_steps": 1000,
        "eval.batch_size": 1000,
        "sample.num": 2000,
        "sample.depth": 250,
    }
    return choose_arm(with_changes(recipe("synthetic", arm), changes), ALL_ARMS)

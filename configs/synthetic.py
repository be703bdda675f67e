"""An 8-bit swirl in two dimensions, as images of 1x1 pixel and two channels: the mathematics at a glance.

  python -m diffenc_jax.main --config=configs/synthetic.py

REACHES
"""

from diffenc_jax.config import ARMS, choose_arm, encoder_network, recipe, score_network, with_changes


def get_config(arm="diffenc"):
    changes = {
        "model.score": score_network(width=128, layers=2, dropout=0.0, groups=8, mid_groups=8, out_groups=8),
        # Nothing to pool in a single pixel.
        "model.encoder": encoder_network(
            width=32, layers=1, levels=0, dropout=0.0, groups=8, mid_groups=8, out_groups=8
        ),
        "train.steps": 3000,
        "train.batch_size": 128,
        "train.learning_rate": 2e-3,
        "train.ema_decay": 0.999,
        "log.every_steps": 100,
        "checkpoint.every_steps": 1000,
        "checkpoint.keep_every_steps": 3000,
        "eval.every_steps": 1000,
        "eval.batch_size": 1000,
        "sample.num": 2000,
        "sample.depth": 250,
    }
    return choose_arm(with_changes(recipe("synthetic", arm), changes), ARMS)

"""Fashion-MNIST, 28x28, on two CPU cores: the networks of configs/digits.py.

  python -m diffenc_jax.main --config=configs/fashion_mnist_small.py

Reaches about 3.3 bits/dim on the 10,000 test images, of which the histogram of each pixel costs 4.59.

Cost: a quarter of an hour on one core, for a quarter of an epoch, after which it still improves: the 16,000 steps of
vdm-long and diffenc-long take an hour and a quarter and reach 2.92. With -fast, an arm is trained by Muon in 0.3 of the
steps: vdm-fast reaches 3.17 and vdm 3.25; vdm-long-fast reaches 2.90, and 2.77 in 24,000 steps of model.score.width=64,
which take one core 107 minutes. With -pooled, as in vdm-pooled-fast, the score network has one pooling. In a
quarter of an hour, batches of 8 reach far more than batches of 32. To compare at equal cost, vdm-params has diffenc's
parameters (2 layers deeper), and vdm-flops the FLOPs of its training.

Data: as in configs/fashion_mnist.py.
"""

from diffenc_jax.config.recipe import (
    ARMS,
    Fast,
    choose_arm,
    encoder_network,
    matched,
    recipe,
    score_network,
    with_changes,
)

SMALL = dict(width=32, groups=8, mid_groups=8, out_groups=8)
LONG = {"train.steps": 16_000}
ALL_ARMS = {
    **ARMS,
    **matched("vdm", ARMS["vdm"], "diffenc", layers=5),
    **{f"{arm}-long": ARMS[arm] | LONG for arm in ("vdm", "diffenc")},
}
FAST_FASHION = Fast(0.3, {"model.score.dropout": 0.0})  # so few epochs need no dropout


def get_config(arm="diffenc"):
    changes = {
        "data.source": "fashion_mnist",
        "model.score": score_network(layers=3, **SMALL),
        "model.encoder": encoder_network(layers=2, **SMALL | {"width": 16}),
        "train.steps": 2000,
        "train.batch_size": 8,
        "train.learning_rate": 2e-3,
        "train.ema_decay": 0.995,
        "log.every_steps": 50,
        "log.samples": 8,
        "checkpoint.every_steps": 250,
        "checkpoint.keep_every_steps": 2000,
        "eval.every_steps": 1000,
        "eval.batch_size": 32,
        "eval.passes": 1,
        "sample.depth": 100,
        "sample.batch_size": 8,  # as log.samples, so that both share a compiled program
    }
    return choose_arm(with_changes(recipe("fashion_mnist_small", arm), changes), ALL_ARMS, FAST_FASHION)

"""MNIST, 28x28: the 8-layer models at half the width.

  python -m diffenc_jax.main --config=configs/mnist.py

No figure is published for this model. Cost: 1.3 TFLOP per step (vdm 1.1), 2.5e17 FLOP in all, a few hours
on one GPU; 2.7 M parameters (vdm 2.2). To compare at equal cost, vdm-params has diffenc's parameters (2 layers deeper,
6 % more training FLOPs), and vdm-flops the FLOPs of its training (13 % more steps).

diffenc-8-2, nontrainable-8 and vdm-8 have the networks of CIFAR-10's 8-layer models and 2 M steps, as published (arXiv
2310.19789; the figures for MNIST are not known here). With -published, such as vdm-8-published, the differences in
training that keys can undo are undone.

Data: tensorflow-datasets downloads mnist on first use. A folder with its four files in IDX format
works too: --config.data.source=FOLDER.
"""

from diffenc_jax.config.recipe import (
    ARMS,
    choose_arm,
    encoder_network,
    matched,
    recipe,
    score_network,
    with_changes,
)

PUBLISHED_SIZE = {
    "model.score": score_network(layers=8),
    "model.encoder": encoder_network(layers=2, mid_groups=16),
    "train.steps": 2_000_000,
    "train.ema_decay": 0.9999,
}
PUBLISHED_ARMS = {
    "diffenc-8-2": PUBLISHED_SIZE,
    "nontrainable-8": PUBLISHED_SIZE | ARMS["nontrainable"],
    "vdm-8": PUBLISHED_SIZE | ARMS["vdm"],
}
ALL_ARMS = ARMS | matched("vdm", ARMS["vdm"], "diffenc", layers=10) | PUBLISHED_ARMS


def get_config(arm="diffenc"):
    changes = {
        "model.score": score_network(width=64, layers=8),
        "model.encoder": encoder_network(width=32, layers=2, groups=16, mid_groups=16),
        "train.steps": 200_000,
        "train.ema_decay": 0.999,
        "checkpoint.every_steps": 5_000,
        "checkpoint.keep_every_steps": 50_000,
        "eval.every_steps": 20_000,
    }
    return choose_arm(with_changes(recipe("mnist", arm), changes), ALL_ARMS)

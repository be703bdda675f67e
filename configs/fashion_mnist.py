"""Fashion-MNIST, 28x28, with the models of configs/mnist.py.

  python -m diffenc_jax.main --config=configs/fashion_mnist.py

No figure is published for this model. Cost: that of configs/mnist.py, a few hours on one GPU. To compare at equal
cost, vdm-params has diffenc's parameters (2 layers deeper, 6 % more training FLOPs), and vdm-flops the FLOPs of its
training (13 % more steps).

Data: tensorflow-datasets downloads fashion_mnist on first use. With Debian's package
dataset-fashion-mnist: --config.data.source=/usr/share/datasets/fashion-mnist.
"""

from diffenc_jax.config.recipe import ARMS, choose_arm, encoder_network, matched, recipe, score_network, with_changes

ALL_ARMS = ARMS | matched("vdm", ARMS["vdm"], "diffenc", layers=10)


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
    return choose_arm(with_changes(recipe("fashion_mnist", arm), changes), ALL_ARMS)

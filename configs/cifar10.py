"""DiffEnc-32-4 on CIFAR-10, the published recipe (arXiv 2310.19789): 8 M steps at batch 128.

  python -m diffenc_jax.main --config=configs/cifar10.py

Published test bits/dim (mean and standard error over seeds):
  diffenc        2.620 +- 0.006 (3 seeds)    vdm        2.641 +- 0.003 (3 seeds)
  diffenc-8-2    2.783 (5 seeds, 2 M steps)  vdm-8      2.783 (5 seeds, 2 M steps)
At 310 thousand steps, a vdm has 2.794.

Other arms:
  nontrainable, nontrainable-8    the encoder without a network
  vdm-params, vdm-8-params        vdm and vdm-8 with the parameters of diffenc and diffenc-8-2 (3 and 2 layers deeper)
  vdm-flops, vdm-8-flops          vdm and vdm-8 with the FLOPs of their trainings (7 and 13 % longer)
  vdm-transformer                 a transformer as score network: 4 % more parameters than vdm-8, an eighth of its FLOPs
  diffenc-transformer             a transformer as encoder network: the U-Net's parameters, two fifths of its FLOPs
  diffenc-dct                     an encoder that is linear in the image: 0.8 M parameters and very few FLOPs

Cost: 21 TFLOP per step (vdm 20, diffenc-8-2 6.5, vdm-8 5.8), so 1.7e20 FLOP in all: six days on
four TPU v5e chips at 40 % of their bfloat16 peak. 33.3 M parameters (vdm 30.6, diffenc-8-2 10.8, vdm-8 8.9).

Data: tensorflow-datasets downloads cifar10 on first use; --config.data.dir names the folder that keeps it.
"""

from diffenc_jax.config.recipe import (
    ARMS,
    choose_arm,
    dct_network,
    encoder_network,
    matched,
    recipe,
    score_network,
    score_transformer,
    transformer_network,
)

EIGHT_LAYERS = {"model.score": score_network(layers=8), "train.steps": 2_000_000}
EIGHT_LAYER_ARMS = {
    "diffenc-8-2": EIGHT_LAYERS | {"model.encoder": encoder_network(layers=2, mid_groups=16)},
    "nontrainable-8": EIGHT_LAYERS | ARMS["nontrainable"],
    "vdm-8": EIGHT_LAYERS | ARMS["vdm"],
}
OTHER_NETWORKS = {
    "vdm-transformer": EIGHT_LAYERS | ARMS["vdm"] | {"model.score": score_transformer()},
    "diffenc-transformer": {"model.encoder": transformer_network()},
    "diffenc-dct": {"model.encoder": dct_network()},
}
ALL_ARMS = {
    **ARMS,
    **matched("vdm", ARMS["vdm"], layers=35, steps=8_530_000),
    **EIGHT_LAYER_ARMS,
    **matched("vdm-8", EIGHT_LAYER_ARMS["vdm-8"], layers=10, steps=2_263_000),
    **OTHER_NETWORKS,
}


def get_config(arm="diffenc"):
    return choose_arm(recipe("cifar10", arm), ALL_ARMS)

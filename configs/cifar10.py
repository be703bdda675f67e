"""DiffEnc-32-4 on CIFAR-10 by the published recipe (arXiv 2310.19789): 8 M steps at batch 128.

  python -m diffenc_jax.main --config=configs/cifar10.py

DEVIATIONS in config/recipe.py, which docs/training.md shows, lists what differs from the publication.
Published test bits/dim (mean and standard error over seeds):
  diffenc        2.620 +- 0.006 (3 seeds)    vdm        2.641 +- 0.003 (3 seeds)
  diffenc-8-2    2.783 (5 seeds, 2 M steps)  vdm-8      2.783 (5 seeds, 2 M steps)
At 310 thousand steps, a vdm has 2.794.

Other arms:
  nontrainable, nontrainable-8    the encoder without a network
  diffenc-published, ...          any of these six, with the differences in training undone that keys can undo
  vdm-params                      vdm with the parameters of diffenc: 3 layers deeper, 2 % more training FLOPs
  vdm-8-params                    vdm-8 with the parameters of diffenc-8-2: 2 layers deeper, 6 % more training FLOPs
  vdm-flops                       vdm with the FLOPs of diffenc's training: 7 % more steps
  vdm-8-flops                     vdm-8 with the FLOPs of diffenc-8-2's training: 13 % more steps
  vdm-transformer                 a transformer as score network: 4 % more parameters than vdm-8, an eighth of its FLOPs
  diffenc-transformer             a transformer as encoder network: the U-Net's parameters, two fifths of its FLOPs
  diffenc-dct                     an encoder that is linear in the image: 0.8 M parameters and very few FLOPs
  diffenc-image                   x̂ estimates the image, and the encoder gives its drift (NFDM's prediction,
                                  arXiv 2404.12940)
  diffenc-affine                  mean and scale of z_t given the image, both learned (NFDM, arXiv 2404.12940)
  vdm-polynomial                  a learned noise schedule per pixel and channel (MuLAN without its latent code,
                                  arXiv 2312.13236)
  vdm-mulan                       a learned noise schedule per image, pixel and channel, by a latent code of 15 of 50
                                  units (MuLAN)
  vdm-code                        the same code for the score network alone
  vdm-matched, ...                vdm, vdm-polynomial, vdm-mulan, diffenc or diffenc-image with the parameters and the
                                  training FLOPs of diffenc-affine

Cost: 21 TFLOP per step (vdm 20, diffenc-8-2 6.5, vdm-8 5.8), so 1.7e20 FLOP in all: six days on
four TPU v5e chips at 40 % of their bfloat16 peak. 33.3 M parameters (vdm 30.6, diffenc-8-2 10.8, vdm-8 8.9).

Data: tensorflow-datasets downloads cifar10 on first use; --config.data.dir names the folder that keeps it.
"""

from diffenc_jax.config.recipe import (
    ARMS,
    affine_process,
    as_published,
    choose_arm,
    code_network,
    dct_network,
    encoder_network,
    equal_in_cost,
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
CODE = code_network(units=50, active=15)
PROCESSES = {
    "diffenc-image": {"model.target": "image"},
    "diffenc-affine": affine_process(encoder_network(kind="affine")),
    "vdm-polynomial": ARMS["vdm"] | {"model.schedule.kind": "polynomial"},
    "vdm-mulan": ARMS["vdm"] | {"model.schedule.kind": "polynomial", "model.code": CODE},
    "vdm-code": ARMS["vdm"] | {"model.code": CODE},
}
ALL_ARMS = {
    **ARMS,
    **matched("vdm", ARMS["vdm"], "diffenc", layers=35),
    **EIGHT_LAYER_ARMS,
    **matched("vdm-8", EIGHT_LAYER_ARMS["vdm-8"], "diffenc-8-2", layers=10),
    **as_published(ARMS | EIGHT_LAYER_ARMS),
    **OTHER_NETWORKS,
    **PROCESSES,
    **equal_in_cost(
        ARMS | PROCESSES,
        "diffenc-affine",
        layers={"vdm": 35, "vdm-polynomial": 35, "vdm-mulan": 30, "diffenc": 32, "diffenc-image": 32},
    ),
}


def get_config(arm="diffenc"):
    return choose_arm(recipe("cifar10", arm), ALL_ARMS)

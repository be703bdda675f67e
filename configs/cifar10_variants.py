"""Other networks and forward processes for CIFAR-10; see configs/cifar10.py.

  python -m diffenc_jax.main --config=configs/cifar10_variants.py

Arms besides diffenc (the default), nontrainable and vdm:
  vdm-transformer        a transformer as score network: 4 % more parameters than vdm-8, an eighth of its FLOPs
  diffenc-transformer    a transformer as encoder network: the U-Net's parameters, two fifths of its FLOPs
  diffenc-dct            an encoder that is linear in the image: 0.8 M parameters and very few FLOPs
  diffenc-image          x̂ estimates the image, and the encoder gives its drift (NFDM's prediction, arXiv 2404.12940)
  diffenc-affine         mean and scale of z_t given the image, both learned (NFDM, arXiv 2404.12940)
  vdm-polynomial         a learned noise schedule per pixel and channel (MuLAN without its latent code,
                         arXiv 2312.13236)
  vdm-mulan              a learned noise schedule per image, pixel and channel, by a latent code of 15 of 50 units
                         (MuLAN)
  vdm-code               the same code, read only by the score network
"""

from diffenc_jax.config.load import installed
from diffenc_jax.config.recipe import (
    ARMS,
    choose_arm,
    code_network,
    dct_network,
    encoder_network,
    forward_processes,
    recipe,
    score_transformer,
    transformer_network,
)

NETWORKS = {
    "vdm-transformer": installed("cifar10").EIGHT_LAYERS | ARMS["vdm"] | {"model.score": score_transformer()},
    "diffenc-transformer": {"model.encoder": transformer_network()},
    "diffenc-dct": {"model.encoder": dct_network()},
}
PROCESSES = forward_processes(
    encoder=encoder_network(kind="affine"),
    code=code_network(units=50, active=15),
)


def get_config(arm="diffenc"):
    return choose_arm(recipe("cifar10", arm), ARMS | NETWORKS | PROCESSES)

"""Other networks, encoders, forward processes and schedules for the digits; see configs/digits.py.

  python -m diffenc_jax.main --config=configs/digits_variants.py

Arms besides diffenc (the default), nontrainable and vdm:
  vdm-transformer        a transformer as score network: 0.73 M parameters to the U-Net's 0.28 M, a third of its FLOPs
  diffenc-transformer    a transformer as encoder network: 179 thousand parameters to the U-Net's 120, about its FLOPs
  diffenc-dct            an encoder that is linear in the image: 14 thousand parameters
  diffenc-unbounded      y = network(x, γ) instead of tanh(network(x, γ))
  diffenc-residual       y = x + network(x, γ), so that training starts on the path of vdm
  shrinking              x_t = (1 - σ_t²/2) x, half way from vdm to nontrainable
  diffenc-image          x̂ estimates the image, and the encoder gives its drift (NFDM's prediction, arXiv 2404.12940)
  diffenc-affine         mean and scale of z_t given the image, both learned (NFDM, arXiv 2404.12940)
  vdm-polynomial         a learned noise schedule per pixel (MuLAN without its latent code, arXiv 2312.13236)
  vdm-mulan              a learned noise schedule per image and pixel, by a latent code of 2 bits (MuLAN)
  vdm-code               the same code, read only by the score network
  vdm-schedule           vdm with a learned noise schedule: it learns where its steps lie, as an encoder can
  diffenc-schedule       diffenc with a learned noise schedule, and so diffenc-dct-schedule
"""

from diffenc_jax.config.load import installed
from diffenc_jax.config.recipe import (
    ARMS,
    code_network,
    dct_network,
    encoder_network,
    forward_processes,
    score_transformer,
    transformer_network,
)

digits = installed("digits")
NETWORKS = {
    "vdm-transformer": ARMS["vdm"] | {"model.score": score_transformer(width=64, layers=4, heads=4)},
    "diffenc-transformer": {"model.encoder": transformer_network(width=32)},
    "diffenc-dct": {"model.encoder": dct_network(width=16)},
}
ENCODERS = {
    "diffenc-unbounded": {"model.encoder": encoder_network(kind="unbounded", **digits.SMALL_ENCODER)},
    "diffenc-residual": {"model.encoder": encoder_network(kind="residual", **digits.SMALL_ENCODER)},
    "shrinking": {"model.encoder": {"kind": "shrinking", "amount": 0.5}},
}
PROCESSES = forward_processes(
    encoder=encoder_network(kind="affine", **digits.SMALL_ENCODER),
    code=code_network(units=4, active=1, **digits.SMALL_ENCODER),
)
SCHEDULES = {
    f"{arm}-schedule": (ARMS | NETWORKS)[arm] | {"model.schedule.kind": "monotone"}
    for arm in ("vdm", "diffenc", "diffenc-dct")
}


def get_config(arm="diffenc"):
    return digits.choose(arm, ARMS | NETWORKS | ENCODERS | PROCESSES | SCHEDULES)

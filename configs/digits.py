"""8x8 handwritten digits, 17 grey levels: the whole program in minutes on two CPU cores.

  python -m diffenc_jax.main --config=configs/digits.py

Reaches about 1.85 bits/dim on the 297 test images (uniform: 4.09) in two and a half minutes of
training on two cores.

Arms besides diffenc (the default), nontrainable and vdm:
  diffenc-published, ... any of these three, with the differences from the published training (DEVIATIONS in
                         config/recipe.py) undone that keys can undo
  vdm-params             vdm with the parameters of diffenc: 2 layers deeper, 13 % more training FLOPs
  vdm-flops              vdm with the FLOPs of diffenc's training: 27 % more steps
  vdm-transformer        a transformer as score network: 0.73 M parameters to the U-Net's 0.28 M, a third of its FLOPs
  diffenc-transformer    a transformer as encoder network: 179 thousand parameters to the U-Net's 120, about its FLOPs
  diffenc-dct            an encoder that is linear in the image: 14 thousand parameters
  diffenc-unbounded      y = network(x, γ) instead of tanh(network(x, γ))
  diffenc-residual       y = x + network(x, γ), so that training starts on the path of vdm
  diffenc-image          x̂ estimates the image, and the encoder gives its drift (NFDM's prediction, arXiv 2404.12940)
  diffenc-affine         mean and scale of z_t given the image, both learned (NFDM, arXiv 2404.12940)
  vdm-polynomial         a learned noise schedule per pixel (MuLAN without its latent code, arXiv 2312.13236)
  vdm-mulan              a learned noise schedule per image and pixel, by a latent code of 2 bits (MuLAN)
  vdm-code               the same code for the score network alone
  vdm-matched, ...       vdm, vdm-polynomial, vdm-mulan, diffenc or diffenc-image with the parameters and the
                         training FLOPs of diffenc-affine: 5 layers for vdm and vdm-polynomial, more steps for the rest
  shrinking              x_t = (1 - σ_t²/2) x, half way from vdm to nontrainable
  vdm-schedule           vdm with a learned noise schedule: it learns where its steps lie, as an encoder can
  diffenc-schedule       diffenc with a learned noise schedule, and so diffenc-dct-schedule

With -T<depth>, such as diffenc-T10, every arm is trained and evaluated with that many steps.
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
    with_changes,
)

SMALL = dict(width=32, groups=8, mid_groups=8, out_groups=8)
OTHER_NETWORKS = {
    "vdm-transformer": ARMS["vdm"] | {"model.score": score_transformer(width=64, layers=4, heads=4)},
    "diffenc-transformer": {"model.encoder": transformer_network(width=32)},
    "diffenc-dct": {"model.encoder": dct_network(width=16)},
}
OTHER_PATHS = {
    "diffenc-unbounded": {"model.encoder": encoder_network(layers=2, kind="unbounded", **SMALL | {"width": 16})},
    "diffenc-residual": {"model.encoder": encoder_network(layers=2, kind="residual", **SMALL | {"width": 16})},
    "shrinking": {"model.encoder": {"kind": "shrinking", "amount": 0.5}},
}
CODE = code_network(units=4, active=1, layers=2, **SMALL | {"width": 16})
PROCESSES = {
    "diffenc-image": {"model.target": "image"},
    "diffenc-affine": affine_process(encoder_network(layers=2, kind="affine", **SMALL | {"width": 16})),
    "vdm-polynomial": ARMS["vdm"] | {"model.schedule.kind": "polynomial"},
    "vdm-mulan": ARMS["vdm"] | {"model.schedule.kind": "polynomial", "model.code": CODE},
    "vdm-code": ARMS["vdm"] | {"model.code": CODE},
}
LEARNED_SCHEDULES = {
    f"{arm}-schedule": changes | {"model.schedule.kind": "monotone"}
    for arm, changes in (ARMS | OTHER_NETWORKS).items()
    if arm in ("vdm", "diffenc", "diffenc-dct")
}
ALL_ARMS = (
    ARMS
    | as_published(ARMS)
    | matched("vdm", ARMS["vdm"], "diffenc", layers=5)
    | OTHER_NETWORKS
    | OTHER_PATHS
    | PROCESSES
    | equal_in_cost(
        ARMS | PROCESSES,
        "diffenc-affine",
        layers={"vdm": 5, "vdm-polynomial": 5, "vdm-mulan": 3, "diffenc": 3, "diffenc-image": 3},
    )
    | LEARNED_SCHEDULES
)


def get_config(arm="diffenc"):
    config = recipe("digits", arm)
    changes = {
        "data.pixel_levels": 17,
        "data.shuffle_shards": 1,
        "model.score": score_network(layers=3, **SMALL),
        "model.encoder": encoder_network(layers=2, **SMALL | {"width": 16}),
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
    return choose_arm(with_changes(config, changes), ALL_ARMS)

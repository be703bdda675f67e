"""Arms for CIFAR-10 at equal cost; see configs/cifar10.py and configs/cifar10_variants.py.

  python -m diffenc_jax.main --config=configs/cifar10_matched.py

Arms besides those of configs/cifar10.py (default diffenc) and diffenc-affine:
  vdm-params          vdm with the parameters of diffenc: 3 layers deeper, 2 % more training FLOPs
  vdm-8-params        vdm-8 with the parameters of diffenc-8-2: 2 layers deeper, 6 % more training FLOPs
  vdm-flops           vdm with the FLOPs of diffenc's training: 7 % more steps
  vdm-8-flops         vdm-8 with the FLOPs of diffenc-8-2's training: 13 % more steps
  vdm-matched, ...    vdm, vdm-polynomial, vdm-mulan, diffenc or diffenc-image with the parameters and the training
                      FLOPs of diffenc-affine
"""

from diffenc_jax.config.load import installed
from diffenc_jax.config.recipe import choose_arm, equal_in_cost, matched, recipe

PUBLISHED = installed("cifar10").ALL_ARMS
PROCESSES = installed("cifar10_variants").PROCESSES
LAYERS = {"vdm": 35, "vdm-polynomial": 35, "vdm-mulan": 30, "diffenc": 32, "diffenc-image": 32}
ALL_ARMS = {
    **PUBLISHED,
    **matched("vdm", PUBLISHED["vdm"], "diffenc", layers=35),
    **matched("vdm-8", PUBLISHED["vdm-8"], "diffenc-8-2", layers=10),
    "diffenc-affine": PROCESSES["diffenc-affine"],
    **equal_in_cost(PUBLISHED | PROCESSES, "diffenc-affine", LAYERS),
}


def get_config(arm="diffenc"):
    return choose_arm(recipe("cifar10", arm), ALL_ARMS)

"""Arms for the digits at equal cost; see configs/digits.py and configs/digits_variants.py.

  python -m diffenc_jax.main --config=configs/digits_matched.py

Arms besides diffenc (the default), nontrainable, vdm and diffenc-affine:
  vdm-params          vdm with the parameters of diffenc: 2 layers deeper, 13 % more training FLOPs
  vdm-flops           vdm with the FLOPs of diffenc's training: 27 % more steps
  vdm-matched, ...    vdm, vdm-polynomial, vdm-mulan, diffenc or diffenc-image with the parameters and the training
                      FLOPs of diffenc-affine: 5 layers for vdm and vdm-polynomial, more steps for the others
"""

from diffenc_jax.config.load import installed
from diffenc_jax.config.recipe import ARMS, equal_in_cost, matched

PROCESSES = installed("digits_variants").PROCESSES
LAYERS = {"vdm": 5, "vdm-polynomial": 5, "vdm-mulan": 3, "diffenc": 3, "diffenc-image": 3}
ALL_ARMS = {
    **ARMS,
    **matched("vdm", ARMS["vdm"], "diffenc", layers=5),
    "diffenc-affine": PROCESSES["diffenc-affine"],
    **equal_in_cost(ARMS | PROCESSES, "diffenc-affine", LAYERS),
}


def get_config(arm="diffenc"):
    return installed("digits").choose(arm, ALL_ARMS)

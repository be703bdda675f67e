"""Cascades over the bands of the 8x8 digits at equal cost; see examples/cascade/README.md.

  diffenc significance --config=configs/cascade_digits.py --arms=vdm,vdm-matched,two-coarse+two-details \
      --seeds=0-2 --root=runs/cascade-digits
"""

from cascade.arms import SMALL, configuration

from diffenc_jax.config.load import installed


def get_config(arm="vdm"):
    base = installed("digits").base(arm)
    base.name = "cascade_digits"
    return configuration(base, "cascade.data:DIGITS", SMALL)

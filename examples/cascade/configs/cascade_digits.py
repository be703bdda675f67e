"""Cascades over the bands of the 8x8 digits at equal cost; see examples/cascade/README.md.

diffenc train --config=examples/cascade/configs/cascade_digits.py:two-coarse
"""

from cascade.arms import SMALL, configuration

from diffenc_jax.config.load import installed


def get_config(arm="vdm"):
    base = installed("digits").base(arm)
    base.name = "cascade_digits"
    return configuration(base, "cascade.data:DIGITS", SMALL)

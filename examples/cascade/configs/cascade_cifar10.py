"""Cascades over the bands of CIFAR-10 at equal cost; see examples/cascade/README.md.

  diffenc train --config=examples/cascade/configs/cascade_cifar10.py:two-coarse

Cost: each arm, and each cascade in all, has the training FLOPs and the parameters of vdm in configs/cifar10.py.
"""

from cascade.arms import configuration

from diffenc_jax.config.recipe import recipe

LAYERS = {
    "vdm-matched": 32,
    **{"two-coarse": 12, "two-details": 18},
    **{"three-coarse": 4, "three-details-2": 8, "three-details-1": 16},
    **{"pixels-coarse": 12, "pixels-details": 18},
}


def get_config(arm="vdm"):
    return configuration(recipe("cascade_cifar10", arm), "cascade.data:CIFAR10", LAYERS)

"""Cascades over the bands of Fashion-MNIST at equal cost; see examples/cascade/README.md.

  diffenc train --config=examples/cascade/configs/cascade_fashion.py:two-coarse \
      --config.data.dir=/usr/share/datasets/fashion-mnist
"""

from cascade.arms import SMALL, configuration

from diffenc_jax.config.load import installed


def get_config(arm="vdm"):
    small = installed("fashion_mnist_small")
    base = small.get_config("vdm")
    base.name, base.arm = "cascade_fashion", arm
    return configuration(base, "cascade.data:FASHION", SMALL, noises=(-10.0, -8.0, -6.0))

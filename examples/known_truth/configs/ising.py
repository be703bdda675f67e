"""The Ising model of examples/known_truth; see its README.md.

diffenc train --config=examples/known_truth/configs/ising.py:vdm-fast
"""

from known_truth.arms import configuration


def get_config(arm="diffenc"):
    return configuration("ising", 2, arm)

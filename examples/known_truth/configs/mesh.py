"""The Markov mesh of examples/known_truth; see its README.md.

diffenc train --config=examples/known_truth/configs/mesh.py:vdm-fast
"""

from known_truth.arms import configuration


def get_config(arm="diffenc"):
    return configuration("mesh", 16, arm)

"""The registered parts, over which the contract tests run."""

from diffenc_jax.core import parts


def registered(kind):
    """The parts of a kind by short name."""
    return {name: parts.load(kind, name) for name in sorted(parts.entries(kind))}


PREDICTIONS, EXTRAPOLATIONS = registered("prediction"), registered("extrapolation")
SCHEDULES, CODES, ENCODERS = registered("schedule"), registered("code"), registered("encoder")
SCORE_NETWORKS, SOURCES, ESTIMATORS = registered("score"), registered("data"), registered("estimator")

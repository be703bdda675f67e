"""The registered parts and the keys of the configuration, over which the contract tests run."""

from diffenc_jax.config import Config
from diffenc_jax.config.schema import sections_of
from diffenc_jax.config.sections import Options
from diffenc_jax.core import parts
from diffenc_jax.core.keys import join, keys_of


def every_key(of_parts=False, section=Config):
    """(path, definition) of every key; `of_parts` includes those of the sections of parts, such as their kinds."""
    yield from ((join(section.section, name), key) for name, key in keys_of(section).items())
    for nested in sections_of(section).values():
        if of_parts or not issubclass(nested, Options):
            yield from every_key(of_parts, nested)


def registered(kind):
    """The parts of a kind by short name."""
    return {name: parts.load(kind, name) for name in sorted(parts.entries(kind))}


PREDICTIONS, EXTRAPOLATIONS = registered("prediction"), registered("extrapolation")
SCHEDULES, CODES, ENCODERS = registered("schedule"), registered("code"), registered("encoder")
SCORE_NETWORKS, SOURCES, ESTIMATORS = registered("score"), registered("data"), registered("estimator")

"""Configurations of a data set with known truth: the networks and the arms of the digits at equal cost."""

from ml_collections import ConfigDict

from diffenc_jax.config.load import installed


def configuration(name: str, pixel_levels: int, arm: str) -> ConfigDict:
    """The configuration `name` of an arm, for the data NAME:8; --config.data.source=NAME:16 takes larger images.

    A learned schedule has times that are drawn uniformly, also by -fast, whose recipe it has otherwise.
    """
    config = installed("digits_matched").get_config(arm)
    config.name, config.data.source, config.data.pixel_levels = name, f"{name}:8", pixel_levels
    config.eval.passes, config.eval.batch_size = 2, 250
    if config.model.schedule.kind != "fixed_linear":
        config.train.time_sampling = "uniform"
    return config

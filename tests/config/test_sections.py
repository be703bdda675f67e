"""Sections: what each refuses, in one line, and what their properties give."""

import dataclasses
import math

import pytest

from diffenc_jax.config import Config
from diffenc_jax.config.schema import Section, keys_of, sections_of
from diffenc_jax.config.sections import EvalConfig, LossConfig, SampleConfig
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError
from tests import tiny

REFUSED = {
    "unknown key": ({"train.stepz": 1}, "unknown configuration key 'train.stepz', perhaps train.steps; train has the"),
    "unknown section": (
        {"other": {"a": 1}},
        "unknown configuration key 'other', perhaps checkpoint.other_parts; the",
    ),
    "unknown key of a section": ({"mesh": {"fdsp": 1}}, "unknown configuration keys ['fdsp'] in mesh; known: fsdp"),
    "missing keys": ({"loss": {}}, "keys ['depth', 'extrapolation', 'times', 'variance_ratio'] are missing in loss"),
    "not a section": ({"mesh": 3}, "mesh must be a section of keys, not 3"),
    "network without kind": ({"model.encoder": {}}, "configuration keys ['kind'] are missing in model.encoder"),
    "kind": ({"model.score.kind": 1}, "model.score.kind must be text, not 1"),
    "no network": ({"model.score": "unet"}, "model.score must be a section of keys, not 'unet'"),
    "integer": ({"train.steps": 1.5}, "train.steps must be a whole number, not 1.5"),
    "truth value as integer": ({"train.steps": True}, "train.steps must be a whole number, not True"),
    "number": ({"train.b1": "0.9"}, "train.b1 must be a number, not '0.9'"),
    "text": ({"data.source": None}, "data.source must be text, not None"),
    "truth value": ({"model.derivative_head": "yes"}, "model.derivative_head must be True or False, not 'yes'"),
    "optional truth value": ({"model.scan": 1}, "model.scan must be True or False, or None for a loop on accelerators"),
    "steps": ({"train.steps": 0}, "train.steps must be at least 1, not 0"),
    "batch": ({"train.batch_size": 0}, "train.batch_size must be at least 1, not 0"),
    "parts": ({"train.accumulate": 0}, "train.accumulate must be at least 1, not 0"),
    "end points": ({"train.ends_every": 0}, "train.ends_every must be at least 1, not 0"),
    "learning rate": ({"train.learning_rate": 0.0}, "train.learning_rate must be positive, not 0.0"),
    "infinite": ({"train.learning_rate": math.inf}, "train.learning_rate must be positive, not inf"),
    "no number": ({"train.weight_decay": math.nan}, "train.weight_decay must be at least 0, not nan"),
    "warm-up": ({"train.warmup_steps": -1}, "train.warmup_steps must be at least 0, not -1"),
    "decay rate": ({"train.b2": 1.0}, "train.b2 must lie in [0, 1), not 1.0"),
    "moving average": ({"train.ema_decay": -0.1}, "train.ema_decay must lie in [0, 1), not -0.1"),
    **{
        f"augment={value}": (
            {"train.augment": value},
            f"train.augment={value} must name some of flip, rotate, colors, each once, separated by commas, or be None",
        )
        for value in ("shear", "flip,shear", "flip,flip", "flip,", "")
    },
    "augmentation that is none": ({"train.augment": False}, "train.augment must be text, or None for no augmentation"),
    "conditioned on no augmentation": (
        {"model.augmentation": True},
        "model.augmentation=True conditions on an augmentation, and there is none; give train.augment, such as",
    ),
    "times in training": (
        {"train.time_sampling": "best"},
        "train.time_sampling must be one of importance, uniform, not 'best'",
    ),
    "reaction": ({"train.on_nonfinite": "go"}, "train.on_nonfinite must be one of skip, stop, not 'go'"),
    "log": ({"log.every_steps": 0}, "log.every_steps must be at least 1, not 0"),
    "checkpoint": ({"checkpoint.keep_every_steps": 0}, "checkpoint.keep_every_steps must be at least 1, not 0"),
    "failure": ({"checkpoint.on_failure": "cry"}, "checkpoint.on_failure must be one of go_on, stop, not 'cry'"),
    "pixel levels": ({"data.pixel_levels": 1}, "data.pixel_levels must lie in 2 .. 256, not 1"),
    "shards": ({"data.shuffle_shards": 0}, "data.shuffle_shards must be at least 1, not 0"),
    "devices": ({"mesh.fsdp": 0}, "mesh.fsdp must be at least 1, not 0"),
    "depth": ({"loss.depth": 0}, "loss.depth must be at least 1, or None for infinite depth, not 0"),
    "times": ({"loss.times": "late"}, "loss.times must be one of optimal, uniform, not 'late'"),
    "times at infinite depth": ({"loss.times": "optimal"}, "loss.times=optimal needs a finite loss.depth"),
    "ratio at infinite depth": ({"loss.variance_ratio": 0.9}, "at infinite depth the ratio must be 1, which"),
    "learned at infinite depth": ({"loss.variance_ratio": "learned"}, "variance_ratio=learned needs a finite loss.dep"),
    "fitted at infinite depth": ({"loss.variance_ratio": "optimal_pixel"}, "=optimal_pixel needs a finite loss.depth"),
    "ratio": ({"loss.depth": 5, "loss.variance_ratio": 0.0}, "loss.variance_ratio must be positive, not 0.0"),
    "unknown ratio": (
        {"loss.depth": 5, "loss.variance_ratio": "best"},
        "loss.variance_ratio must be a number or one of learned, learned_error, optimal, optimal_channel, "
        "optimal_pixel, optimal_estimate, not 'best'",
    ),
    "truth value as ratio": ({"loss.depth": 5, "loss.variance_ratio": True}, "loss.variance_ratio must be a number or"),
    "evaluation": ({"eval.every_steps": 0}, "eval.every_steps must be at least 1, not 0"),
    "passes": ({"eval.passes": 0}, "eval.passes must be at least 1, not 0"),
    "draws": ({"eval.num_draws": 0}, "eval.num_draws must be at least 1, not 0"),
    "unused draws": (
        {"eval.num_draws": 5},
        "eval.num_draws=5 is read by eval.estimator=importance_weighted alone, and this is bound",
    ),
    "which checkpoints": (
        {"eval.checkpoints": "last"},
        "eval.checkpoints='last' must be newest, all, or steps such as",
    ),
    "tolerance": ({"ode.rtol": 0.0}, "ode.rtol must lie between 0 and 1, not 0.0"),
    "probes": ({"ode.probes": 0}, "ode.probes must be at least 1, not 0"),
    "probes of the exact divergence": (
        {"ode.divergence": "exact", "ode.probes": 2},
        "ode.probes=2 is read by ode.divergence=hutchinson alone, and this is exact",
    ),
    "dequantisation draws": ({"ode.dequantisation_draws": 0}, "ode.dequantisation_draws must be at least 1, not 0"),
    "weights of estimated likelihoods": (
        {"ode.dequantisation_draws": 4},
        "ode.dequantisation_draws=4 needs ode.divergence=exact: the exponential of an estimated log-likelihood is too "
        "large on average, so that its importance-weighted mean would be no bound",
    ),
    "fitting images": (
        {"fit.images": 0},
        "fit.images must be at least 1, or None for 64, or all training images if there are fewer, not 0",
    ),
    "fitting grid": ({"fit.grid": 15}, "fit.grid must be at least 16, not 15"),
    "samples": ({"sample.num": 0}, "sample.num must be at least 1, not 0"),
    "sampler": ({"sample.sampler": "ddim"}, "unknown sample.sampler 'ddim'; known: ancestral, flow"),
    "dtype": ({"eval.dtype": "float16"}, "eval.dtype must be one of bfloat16, float32, or None for model.dtype"),
    "output": ({"sample.output": "mean"}, "sample.output must be one of argmax, softmax, not 'mean'"),
    "depth of learned ratios": (
        {"loss.depth": 4, "loss.variance_ratio": "learned"},
        "sample.depth=3 must be loss.depth=4, since one ratio per step is learned",
    ),
    **{
        f"{key}={value}": ({key: value}, f"{key} must lie in 0 .. 2^32 - 1, not {value}")
        for key in ("seed", "eval.seed", "fit.seed", "sample.seed")
        for value in (-1, 2**32)
    },
    "beyond the largest float": ({"train.steps": 10**400}, "train.steps must be at least 1, not 1000"),
    "set": ({"loss.variance_ratio": {1, 2}}, "loss.variance_ratio must be a number or one of learned, learned_error"),
    "set as option": ({"model.score.width": {1, 2}}, "model.score.width must be a number, text, truth value, None or"),
    "nested bytes": ({"model.score.fourier_bins": (1, (2, b"3"))}, "model.score.fourier_bins must be a number, text"),
    "number as key": ({"loss": {1: 2}}, "unknown configuration keys [1] in loss; known: depth"),
    "number as option": (
        {"model.score": {"kind": "unet", 1: 2}},
        "model.score.1 is not a configuration key, which must be text",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses_in_one_line(changes, message):
    with pytest.raises(InputError) as caught:
        tiny.config("vdm").replace(changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_learned_ratio_does_not_bind_the_flow_sampler():
    changes = {"loss__depth": 4, "loss__variance_ratio": "learned", "sample__sampler": "flow"}
    assert tiny.config("vdm", **changes).sample.depth == 3


def test_values_take_the_type_of_their_key():
    """Whole numbers become floats, so that equal configurations have equal hashes."""
    config = tiny.config(train__learning_rate=1, loss__variance_ratio=1)
    assert list(map(type, (config.train.learning_rate, config.loss.variance_ratio))) == [float] * 2
    assert config.hash == tiny.config(train__learning_rate=1.0).hash


def test_names_of_losses_say_what_differs():
    losses = {
        "continuous": LossConfig(),
        "depth50": LossConfig(50),
        "depth50-exponential-optimal_pixel-times": LossConfig(50, "exponential", "optimal_pixel", "optimal"),
        "depth4-ratio0.5": LossConfig(4, variance_ratio=0.5),
    }
    assert {name: loss.name for name, loss in losses.items()} == {name: name for name in losses}


def test_what_is_fitted():
    ratios = (1.0, 0.5, "learned", "optimal", "optimal_channel", "optimal_pixel")
    fitted = [LossConfig(4, variance_ratio=ratio).is_fitted for ratio in ratios]
    assert fitted == [False, False, False, True, True, True]
    assert LossConfig(4, times="optimal").is_fitted


def test_file_suffixes_say_what_differs():
    suffixes = {SampleConfig(output=o, seed=s).file_suffix for o in ("argmax", "softmax") for s in (0, 1)}
    assert suffixes == {"-seed0", "-seed1", "-softmax-seed0", "-softmax-seed1"}


def test_chosen_steps():
    available = [2, 4, 6]
    chosen = {text: EvalConfig(checkpoints=text).chosen_steps(available) for text in ("newest", "all", "4, 8")}
    assert chosen == {"newest": [6], "all": available, "4, 8": [4, 8]}
    assert EvalConfig().chosen_steps([]) == []


def every_key(section: type[Section] = Config):
    """(section, name, definition) of every key."""
    yield from ((section, name, key) for name, key in keys_of(section).items())
    for nested in sections_of(section).values():
        yield from every_key(nested)


EVERY_KEY = list(every_key())


@pytest.mark.parametrize(("section", "name", "key"), EVERY_KEY, ids=[f"{s.__name__} {n}" for s, n, _ in EVERY_KEY])
def test_every_key_is_documented(section, name, key):
    """A sentence each, what None means, and for a name the allowed ones or where they are listed."""
    assert key.doc.endswith(".")
    assert (type(None) in key.types) == bool(key.none)
    if key.choices and key.types == (str,):
        assert key.default in key.choices
    if key.part and key.default is not dataclasses.MISSING:
        assert key.default in parts.names(key.part)


def test_the_augmentation_is_described_in_one_order():
    config = tiny.config(train__augment="colors, flip")
    assert config.train.augmentations == ("flip", "colors")
    assert config.augmentation == "flip,colors"
    assert config.replace({"model.augmentation": True}).augmentation == "flip,colors, conditioned"
    assert tiny.config().augmentation is None

"""Configurations by path and by name, with overrides as the command line takes them; and what sections refuse."""

import dataclasses
import math
import re

import pytest

from diffenc_jax.config import Config, flatten, installed_configs, load_config
from diffenc_jax.config.schema import every_key
from diffenc_jax.config.sections import EvalConfig, LossConfig
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError
from tests import shipped, tiny

DIGITS = str(shipped.CONFIGS / "digits.py")


def refusal(spec, *overrides):
    """The one line with which `load_config` refuses."""
    with pytest.raises(InputError) as caught:
        load_config(spec, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_works_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("cifar10:vdm-8") == shipped.config("cifar10", "vdm-8")
    assert load_config("digits") == load_config(DIGITS)


def test_names_are_listed():
    assert set(installed_configs()) == set(shipped.ARMS)


CHANGES = [
    ("train.steps=3", "train.steps", 3),
    ("train.learning_rate=1", "train.learning_rate", 1.0),
    ("model.scan=true", "model.scan", True),
    ("model.remat=None", "model.remat", None),
    ("loss.depth=None", "loss.depth", None),
    ("data.dir=a b", "data.dir", "a b"),
    ("train.augment=flip,rotate", "train.augment", "flip,rotate"),
    ("mesh={'fsdp':2}", "mesh.fsdp", 2),
    ("model.score.dropout=0", "model.score.dropout", 0.0),
    ("loss.variance_ratio=1", "loss.variance_ratio", 1.0),  # a number or a name
]


@pytest.mark.parametrize(("override", "key", "value"), CHANGES)
def test_changes_by_text_and_by_value(override, key, value):
    config = load_config(DIGITS, [override])
    assert flatten(config.to_dict())[key] == value
    assert config == load_config(DIGITS, {key: value})


REFUSED_SPECS = [
    (f"{DIGITS}:diffusion", "", "unknown arm 'diffusion'; known: diffenc, "),
    ("cifar10:vdm-9", "", "unknown arm 'vdm-9', perhaps vdm-8; known: diffenc, "),
    (DIGITS, "sed=1", "unknown configuration key 'sed', perhaps seed; see `diffenc config-keys`"),
    (DIGITS, "batch_size=1", "'batch_size', perhaps eval.batch_size or sample.batch_"),
    (DIGITS, "train.lr=1", "unknown configuration key 'train.lr'; train has the keys"),
    (f"{DIGITS}:vdm", "model.encoder.width=8", "unknown configuration key 'model.encoder.width'"),
    (DIGITS, "train.steps", "train.steps must be a whole number, not ''"),
    (DIGITS, "loss.variance_ratio=b'learned'", "not b'learned'"),
    (DIGITS, "loss={'depth':{2:3}}", "keys ['extrapolation', 'times', 'variance_ratio'] are missing in loss"),
    (DIGITS, "model.labels=maybe", "model.labels must be True or False, not 'maybe'"),
    (DIGITS, "arm=vdm", "would change only the arm's name; choose an arm by --config="),
    (str(shipped.CONFIGS.parent / "README.md"), "", "README.md is no configuration; give one of arrays, cifar10, "),
]


@pytest.mark.parametrize(("spec", "override", "message"), REFUSED_SPECS)
def test_unknown_files_arms_and_keys_are_refused_in_one_line(spec, override, message):
    assert message in refusal(spec, *filter(None, [override]))


FAILING_FILES = [
    ("", "module 'diffenc_jax_configuration' has no attribute 'get_config'"),
    ("def get_config():\n    raise RuntimeError('not\\ntoday')", "mine.py: today"),
    ("raise SystemExit", "mine.py: it ends the program by SystemExit()"),
    ("def get_config(:", "invalid syntax (mine.py, line 1)"),
    ("from ml_collections import ConfigDict\nget_config = ConfigDict", "'sample', 'seed', 'train'"),
    ("def get_config():\n    return 3", "'int' object has no attribute 'to_dict'"),
]


@pytest.mark.parametrize(("text", "message"), FAILING_FILES)
def test_a_file_that_fails_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text + "\n")
    assert message in refusal(str(tmp_path / "mine.py"))


@pytest.mark.parametrize("arm", ["vdm", "vdm-fast", "vdm-few", "diffenc-series-few-fast", "vdm-fields-few-fast"])
def test_arms_of_arrays_are_evaluated_ten_times_and_keep_the_best(arm):
    config = load_config(f"arrays:{arm}")
    assert config.train.steps // config.eval.every_steps >= 10
    assert config.checkpoint.every_steps == config.eval.every_steps


@pytest.mark.parametrize("name", shipped.ARMS)
def test_every_shipped_configuration_is_valid(name):
    """Each opens with its command, and each arm is parsed under its own name."""
    assert f"--config=configs/{name}.py\n" in shipped.load(name).__doc__
    for arm in shipped.ARMS[name]:
        config = shipped.config(name, arm)
        assert (config.name, config.arm) == (re.sub("_(matched|variants)$", "", name), arm)


REFUSED_VALUES = [
    ({"name": "a/../../../b"}, "name='a/../../../b' names a folder; it must neither hold '/' nor"),
    ({"name": ""}, "name='' names a folder; it must not be empty"),
    ({"arm": "../vdm"}, "arm='../vdm' names a folder"),
    ({"train.steps.more": 1}, "unknown configuration key 'train.steps.more'"),
    ({"mesh": {"fdsp": 1}}, "unknown configuration keys ['fdsp'] in mesh; known: fsdp"),
    ({"mesh": 3}, "mesh must be a section of keys, not 3"),
    ({"model.score": "unet"}, "model.score must be a section of keys, not 'unet'"),
    ({"model.encoder": {}}, "model.encoder.kind must be text, not None"),
    ({"model.score": {"kind": "unet", 1: 2}}, "model.score.1 must be a number, text, truth value"),
    ({"model.score.fourier_bins": (1, (2, b"3"))}, "model.score.fourier_bins must be a number, text"),
    ({"train.steps": 1.5}, "train.steps must be a whole number, not 1.5"),
    ({"train.steps": True}, "train.steps must be a whole number, not True"),
    ({"train.steps": 10**400}, "train.steps must be at least 1, not 1000"),
    ({"eval.passes": 2**31}, "eval.passes=2147483648 is too large; take less than 2^31"),
    ({"train.learning_rate": "0.9"}, "train.learning_rate must be a number, not '0.9'"),
    ({"train.ema_decay": 1.0}, "train.ema_decay must lie in [0, 1), not 1.0"),
    ({"train.learning_rate": math.inf}, "train.learning_rate must be positive, not inf"),
    ({"ode.rtol": math.nan}, "ode.rtol must lie between 1e-07, the precision of float32, and 1, not nan"),
    ({"data.source": None}, "data.source must be text, not None"),
    ({"model.scan": 1}, "model.scan must be True or False, not 1"),
    ({"train.augment": "flip,shear"}, "train.augment=flip,shear must name flip, rotate, colors, separated by commas"),
    ({"model.augmentation": True}, "model.augmentation=True needs train.augment; give that too, such as"),
    ({"data.pixel_levels": None}, "log.samples=4 draws pictures; for real numbers, give log.samples=0"),
    ({"data.pixel_levels": 1}, "data.pixel_levels must lie in 2 .. 256, or None for real numbers"),
    ({"loss.depth": 0}, "loss.depth must be at least 1, or None for infinite depth, not 0"),
    ({"loss.times": "late"}, "loss.times must be one of optimal, uniform, not 'late'"),
    ({"loss.times": "optimal"}, "loss.times=optimal needs a finite loss.depth"),
    ({"loss.variance_ratio": "learned"}, "variance_ratio=learned needs a finite loss.depth"),
    ({"loss.variance_ratio": 0.9}, "at infinite depth the bound diverges with any ratio but 1"),
    ({"loss.depth": 5, "loss.variance_ratio": "best"}, "loss.variance_ratio must be a number or one of learned, "),
    ({"loss.depth": 5, "loss.variance_ratio": "learned_error"}, "needs the error head; train with model.error"),
    ({"loss.depth": 4, "loss.variance_ratio": "learned"}, "sample.depth=3 must be loss.depth=4, since one ratio per"),
    ({"eval.num_draws": 5}, "eval.num_draws=5 is read only by eval.estimator=importance_weighted, and this is bound"),
    ({"eval.checkpoints": "last"}, "eval.checkpoints='last' must be newest, all, or steps such as"),
    ({"ode.divergence": "exact", "ode.probes": 2}, "ode.probes=2 needs ode.divergence=hutchinson"),
    ({"ode.dequantisation_draws": 4}, "ode.dequantisation_draws=4 needs ode.divergence=exact: with an estimated div"),
    ({"sample.sampler": "ddim"}, "unknown sample.sampler 'ddim'; known: ancestral, flow"),
    ({"sample.label": 1}, "sample.label=1 needs a model with labels; train with model.labels=True"),
    ({"eval.seed": -1}, "eval.seed must lie in 0 .. 2^32 - 1, not -1"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED_VALUES, ids=range(len(REFUSED_VALUES)))
def test_values_that_a_key_does_not_allow_are_refused_in_one_line(changes, message):
    with pytest.raises(InputError) as caught:
        tiny.config("vdm").replace(changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_learned_ratio_does_not_bind_the_flow_sampler():
    changes = {"loss__depth": 4, "loss__variance_ratio": "learned", "sample__sampler": "flow"}
    assert tiny.config("vdm", **changes).sample.depth == 3


def test_values_take_the_type_of_their_key():
    """Lists become tuples and whole numbers floats, so that equal configurations have equal hashes."""
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


def test_optimal_ratios_and_times_are_fitted_and_others_are_not():
    ratios = (1.0, 0.5, "learned", "optimal", "optimal_channel", "optimal_pixel")
    fitted = [LossConfig(4, variance_ratio=ratio).is_fitted for ratio in ratios]
    assert fitted == [False, False, False, True, True, True]
    assert LossConfig(4, times="optimal").is_fitted


def test_checkpoints_to_evaluate_are_chosen_by_step_or_word():
    available = [2, 4, 6]
    chosen = {text: EvalConfig(checkpoints=text).chosen_steps(available) for text in ("newest", "all", "4, 8")}
    assert chosen == {"newest": [6], "all": available, "4, 8": [4, 8]}
    assert EvalConfig().chosen_steps([]) == []


def test_every_key_is_documented():
    """A sentence each, what None means, and for a name the allowed ones or where they are listed."""
    for path, key in every_key(Config):
        assert key.doc.endswith("."), path
        assert (type(None) in key.types) == bool(key.none)
        if key.choices and key.types == (str,):
            assert key.default in key.choices
        if key.part and key.default is not dataclasses.MISSING:
            names = key.default if isinstance(key.default, tuple) else (key.default,)
            assert set(names) <= set(parts.entries(key.part))


def test_the_augmentation_is_described_in_one_order():
    config = tiny.config(train__augment="colors, flip")
    assert config.train.augmentations == ("flip", "colors")
    assert config.augmentation == "flip,colors"
    assert config.replace({"model.augmentation": True}).augmentation == "flip,colors, conditioned"
    assert tiny.config().augmentation is None

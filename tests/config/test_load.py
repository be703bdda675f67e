"""Configurations by path and by name, with overrides as the command line takes them."""

import re

import pytest

from diffenc_jax.config import flatten, installed_configs, load_config
from diffenc_jax.core.errors import InputError
from tests import shipped

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


REFUSED = [
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


@pytest.mark.parametrize(("spec", "override", "message"), REFUSED)
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

"""Configurations by path and by name, with overrides as the command line takes them."""

import pytest

from diffenc_jax.config import installed_configs, load_config
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
    assert refusal("nothing").startswith("unknown configuration 'nothing'; known: cifar10, digits, fashion_mnist,")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.steps=3", ("train", "steps", 3)),
        ("train.learning_rate=1", ("train", "learning_rate", 1.0)),
        ("loss.depth=10", ("loss", "depth", 10)),
        ("model.scan=true", ("model", "scan", True)),
        ("model.remat=block", ("model", "remat", "block")),
        ("data.dir=a b", ("data", "dir", "a b")),
        ("eval.dtype=None", ("eval", "dtype", None)),
        ("sample.reconstruct=(0.5,1)", ("sample", "reconstruct", (0.5, 1.0))),
        ("eval={}", None),
        ("mesh={'fsdp':2}", ("mesh", "fsdp", 2)),
    ],
)
def test_overrides(override, expected):
    if expected is None:
        assert "are missing in eval" in refusal(DIGITS, override)
    else:
        section, key, value = expected
        assert getattr(getattr(load_config(DIGITS, [override]), section), key) == value


@pytest.mark.parametrize("ratio", ["0.5", "learned", "optimal"])
def test_a_variance_ratio_is_a_number_or_a_name(ratio):
    config = load_config(DIGITS, ["loss.depth=250", f"loss.variance_ratio={ratio}"])
    assert str(config.loss.variance_ratio) == ratio


@pytest.mark.parametrize(
    ("spec", "overrides", "message"),
    [
        (f"{DIGITS}:diffusion", (), "unknown arm 'diffusion'; known: diffenc, diffenc-dct, diffenc-published"),
        ("cifar10:vdm-9", (), "unknown arm 'vdm-9'; known: diffenc, diffenc-8-2, diffenc-8-2-published, diffenc-dct"),
        (DIGITS, ("sed=1",), "unknown configuration key 'sed'; known: arm, name, seed"),
        (DIGITS, ("train.stepz=1",), "unknown configuration key 'train.stepz'; known: train.accumulate, train.b1"),
        (f"{DIGITS}:vdm", ("model.encoder.width=8",), "unknown configuration key 'model.encoder.width'"),
        (DIGITS, ("train.steps.more=1",), "unknown configuration key 'train.steps.more'"),
        (DIGITS, ("train.steps=many",), "flag --config.train.steps=many: invalid literal for int()"),
        (DIGITS, ("train.steps",), "Missing value for flag --config.train.steps"),
        (DIGITS, ("train.steps=0",), "train.steps must be at least 1, not 0"),
        (DIGITS, ("loss.variance_ratio={1,2}",), "loss.variance_ratio must be a number or one of learned, optimal"),
        (DIGITS, ("loss.variance_ratio=b'learned'",), "not b'learned'"),
        (DIGITS, ("loss.variance_ratio=1j",), "not 1j"),
        (DIGITS, ("loss={'depth':{2:3}}",), "keys ['extrapolation', 'times', 'variance_ratio'] are missing in loss"),
        ("configs/nothing.py", (), "No such file or directory: 'configs/nothing.py'"),
        ("./nothing", (), "No such file or directory: './nothing'"),
    ],
)
def test_refuses_in_one_line(spec, overrides, message):
    assert message in refusal(spec, *overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.py: module 'config_config' has no attribute 'get_config'"),
        ("def get_config():\n    raise RuntimeError('not\\ntoday')", "mine.py: today"),
        ("def get_config():\n    return undefined", "name 'undefined' is not defined"),
        ("def get_config(:", "invalid syntax (mine.py, line 1)"),
        (
            "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict()",
            "'sample', 'seed', 'train'",
        ),
        ("def get_config():\n    return 3", "get_config() must return a ConfigDict, not 3"),
    ],
)
def test_a_file_that_fails_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text + "\n")
    assert message in refusal(str(tmp_path / "mine.py"))


@pytest.mark.parametrize("name", shipped.ARMS)
def test_every_shipped_configuration_is_valid(name):
    """Each opens with its command, and each arm is parsed under its own name."""
    assert f"--config=configs/{name}.py\n" in shipped.load(name).__doc__
    for arm in shipped.ARMS[name]:
        config = shipped.config(name, arm)
        assert (config.name, config.arm) == (name, arm)
        assert (config.model.encoder.kind not in ("identity", "nontrainable")) == arm.startswith("diffenc")

"""Configurations by path and by name, with overrides as the command line takes them."""

import re

import pytest

from diffenc_jax.config import installed_configs, load_config
from diffenc_jax.core.errors import InputError
from tests import shipped

DIGITS = str(shipped.CONFIGS / "digits.py")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    """Paths such as README.md are relative to the repository."""
    monkeypatch.chdir(shipped.CONFIGS.parent)


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
    assert "give one of cifar10, cifar10_matched," in refusal("nothing")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.steps=3", ("train", "steps", 3)),
        ("train.learning_rate=1", ("train", "learning_rate", 1.0)),
        ("loss.depth=10", ("loss", "depth", 10)),
        ("model.scan=true", ("model", "scan", True)),
        ("model.remat=block", ("model", "remat", "block")),
        ("model.remat=None", ("model", "remat", None)),
        ("loss.depth=None", ("loss", "depth", None)),
        ("data.dir=a b", ("data", "dir", "a b")),
        ("train.augment=flip,rotate", ("train", "augment", "flip,rotate")),
        ("train.augment=None", ("train", "augment", None)),
        ("eval.dtype=None", ("eval", "dtype", None)),
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
        (f"{DIGITS}:diffusion", (), "unknown arm 'diffusion'; known: diffenc, nontrainable, vdm"),
        (
            "cifar10:vdm-9",
            (),
            "unknown arm 'vdm-9', perhaps vdm-8; known: diffenc, diffenc-8-2, nontrainable, ",
        ),
        (DIGITS, ("sed=1",), "unknown configuration key 'sed', perhaps seed; the sections are checkpoint, compress, "),
        (
            DIGITS,
            ("train.stepz=1",),
            "unknown configuration key 'train.stepz', perhaps train.steps; train has the keys accumulate,",
        ),
        (f"{DIGITS}:vdm", ("model.encoder.width=8",), "unknown configuration key 'model.encoder.width'"),
        (DIGITS, ("train.steps.more=1",), "unknown configuration key 'train.steps.more'"),
        (DIGITS, ("train.steps=many",), "train.steps must be a whole number, not 'many'"),
        (DIGITS, ("train.steps",), "train.steps must be a whole number, not ''"),
        (DIGITS, ("train.steps=0",), "train.steps must be at least 1, not 0"),
        (
            DIGITS,
            ("loss.variance_ratio={1,2}",),
            "loss.variance_ratio must be a number or one of learned, learned_error",
        ),
        (DIGITS, ("loss.variance_ratio=b'learned'",), "not b'learned'"),
        (DIGITS, ("loss.variance_ratio=1j",), "not 1j"),
        (DIGITS, ("loss={'depth':{2:3}}",), "keys ['extrapolation', 'times', 'variance_ratio'] are missing in loss"),
        (DIGITS, ("model.score.width=abc",), "model.score.width must be a whole number, not 'abc'"),
        (DIGITS, ("model.labels=maybe",), "model.labels must be True or False, not 'maybe'"),
        (
            DIGITS,
            ("seed=1", "loss.depth=1.5"),
            "loss.depth must be a whole number, or None for infinite depth, not 1.5",
        ),
        (DIGITS, ("train=5",), "train must be a section of keys, not 5"),
        (DIGITS, ("eval.passes=3000000000",), "eval.passes=3000000000 is too large; take less than 2^31"),
        (
            DIGITS,
            ("foo=1",),
            "key 'foo'; the sections are checkpoint, compress, data, eval, fit, log, loss, mesh, ",
        ),
        (
            DIGITS,
            ("batch_size=1",),
            "'batch_size', perhaps compress.batch_size or eval.batch_size or sample.batch_",
        ),
        (DIGITS, ("train.learning_rte=1",), "'train.learning_rte', perhaps train.learning_rate; train has the keys"),
        (DIGITS, ("arm=vdm",), "would change only the arm's name; choose an arm by --config="),
        (DIGITS, ("name=a/b",), "name='a/b' and arm='diffenc' are parts of a folder's name; take words without '/'"),
        ("configs", (), "--config=configs is a folder, not a configuration; give one of cifar10, "),
        (
            "README.md",
            (),
            "--config=README.md is no configuration, which is a file of Python (.py); give one of cifar10",
        ),
        ("configs/nothing.py", (), "--config=configs/nothing.py is neither an installed configuration nor a file"),
        (
            "./nothing",
            (),
            "--config=./nothing is neither an installed configuration nor a file; give one of cifar10, ",
        ),
    ],
)
def test_refuses_in_one_line(spec, overrides, message):
    assert message in refusal(spec, *overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.py: it defines no get_config(), so it is no configuration; give one of cifar10,"),
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
        assert (config.name, config.arm) == (re.sub("_(matched|variants)$", "", name), arm)
        assert (config.model.encoder.kind not in ("identity", "nontrainable", "shrinking")) == arm.startswith("diffenc")

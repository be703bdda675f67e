"""The configuration and the data source of one's own in docs/extending.md."""

import jax
import numpy as np
import pytest

from diffenc_jax.config import load_config
from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.parts import Allowed
from diffenc_jax.data.dataset import load_dataset
from diffenc_jax.model import DataSpec, build
from tests.examples.extending_page import shown


def test_the_deeper_arm_has_the_parameters_of_the_encoder_and_the_others_those_of_vdm(tmp_path):
    (tmp_path / "mine.py").write_text(shown("My images"))
    parameters = {}
    for arm in ("vdm", "diffenc", "nontrainable", "half", "vdm-deeper", "vdm-longer"):
        model = build(load_config(f"{tmp_path / 'mine.py'}:{arm}", ["model.scan=True"]), DataSpec((32, 32, 3), 256))
        parameters[arm] = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0))))
    assert parameters.pop("vdm-deeper") == pytest.approx(parameters.pop("diffenc"), rel=0.02)
    assert len(set(parameters.values())) == 1


def test_coins_have_a_bit_per_pixel(tmp_path, monkeypatch):
    (tmp_path / "coins.py").write_text(shown("Fair coins"))
    monkeypatch.syspath_prepend(tmp_path)
    dataset = load_dataset(DataConfig(Allowed("coins:COINS"), pixel_levels=2), "train", "test")
    np.testing.assert_allclose(dataset.split("test").true_bits, np.ones(1000))

"""The configuration of one's own in docs/extending.md: its arms can be built, and the deeper one has the parameters."""

import jax
import pytest

from diffenc_jax.config import load_config
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

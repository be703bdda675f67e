"""The configuration of one's own in docs/extending.md: its arms can be built, and the deeper one has the parameters."""

import jax
import pytest

from diffenc_jax.config import load_config
from diffenc_jax.model import ImageSpec, build
from tests.examples.test_own_parts import shown


@pytest.fixture(scope="module")
def parameters(tmp_path_factory):
    """Number of parameters by arm."""
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(shown("My images"))
    numbers = {}
    for arm in ("vdm", "diffenc", "nontrainable", "half", "vdm-deeper", "vdm-longer"):
        model = build(load_config(f"{path}:{arm}", ["model.scan=True"]), ImageSpec((32, 32, 3), 256))
        numbers[arm] = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0))))
    return numbers


def test_the_deeper_arm_has_the_parameters_of_the_encoder(parameters):
    assert parameters["vdm-deeper"] == pytest.approx(parameters["diffenc"], rel=0.02)


def test_other_arms_without_a_network_as_encoder_have_those_of_vdm(parameters):
    assert len({parameters[arm] for arm in ("vdm", "nontrainable", "half", "vdm-longer")}) == 1

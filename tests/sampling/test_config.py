"""What `config.sample` refuses, in a line."""

import pytest

from diffenc_jax.errors import InputError
from diffenc_jax.sampling.config import SampleConfig
from tests import tiny


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num": 0}, "sample.num must be at least 1, not 0"),
        ({"batch_size": -1}, "sample.batch_size must be at least 1, not -1"),
        ({"sampler": "ddim"}, "unknown sample.sampler 'ddim'; known: ancestral, flow"),
        ({"output": "mean"}, "unknown sample.output 'mean'; known: argmax, softmax"),
        ({"reconstruct": (0.5, 0.0)}, r"sample.reconstruct must hold times above 0 and at most 1, not 0\.0"),
        ({"reconstruct": (1.5,)}, r"above 0 and at most 1, not 1\.5"),
        ({"reconstruct": ("half",)}, "above 0 and at most 1, not 'half'"),
        ({"reconstruct": (True,)}, "above 0 and at most 1, not True"),
        ({"sampler": "flow", "path": True}, "sample.path=True would show the steps of sample.sampler=ancestral; flow"),
        (
            {"sampler": "flow", "path": True, "reconstruct": (0.5,)},
            "sample.path=True and sample.reconstruct would show the steps",
        ),
    ],
)
def test_refuses_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        SampleConfig.of(tiny.config("vdm", **{f"sample__{key}": value for key, value in changes.items()}))
    assert "\n" not in str(caught.value)


def test_a_learned_ratio_binds_the_steps_alone():
    learned = {"loss__depth": 4, "loss__variance_ratio": "learned"}
    with pytest.raises(InputError, match=r"sample\.depth=3 must be loss\.depth=4"):
        SampleConfig.of(tiny.config("vdm", **learned))
    assert SampleConfig.of(tiny.config("vdm", sample__sampler="flow", **learned)).sampler == "flow"


def test_file_names_say_what_differs():
    names = {
        SampleConfig.of(tiny.config("vdm", sample__output=output, sample__seed=seed)).file_name
        for output in ("argmax", "softmax")
        for seed in (0, 1)
    }
    assert names == {"-seed0", "-seed1", "-softmax-seed0", "-softmax-seed1"}

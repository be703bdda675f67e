"""FLOPs of a step, counted by hand and in other ways, and the arms whose cost matches that of another arm."""

import re

import pytest

from diffenc_jax.config import load_config
from diffenc_jax.core.errors import InputError
from diffenc_jax.model import DataSpec
from diffenc_jax.train import flops as counted
from diffenc_jax.train.program import TrainingProgram
from tests import shipped, tiny


def test_flops_and_parameters_are_those_of_the_products():
    """A multiply-add is two, and the gradient by inputs and by weights costs twice the forward pass."""
    batch, side, width, bins = 16, 8, 64, 2
    config = tiny.config("vdm", model__score__width=width, train__batch_size=batch)
    taps = (3 * side - 2) ** 2  # of a 3x3 convolution that do not fall into the padding
    pixels = side**2
    down, mid, up = 1, 2, 2  # blocks
    convolutions = 2 * (down + mid) * width**2 + up * (2 * width * width + width**2)
    convolutions += (1 + 2 * bins) * width + width  # in, with the Fourier features, and out
    by_pixel = up * 2 * width * width + 4 * width**2  # the shortcuts; query, key, value and output
    attention = 2 * pixels**2 * width
    time = 4 * width * 4 * width + width * 4 * width + (down + mid + up) * 4 * width * width
    forward = 2 * batch * (taps * convolutions + pixels * by_pixel + attention + time)
    counts = counted.count(config, DataSpec((side, side, 1), tiny.LEVELS))
    assert counts.flops_per_step == pytest.approx(3 * forward, rel=0.03)
    assert counts.total_params == pytest.approx(9 * convolutions + by_pixel + time, rel=0.01)  # and biases


def installed(config):
    """Counts of an installed configuration."""
    return counted.count(config)


CASES = [("digits_matched", "diffenc", "vdm"), ("cifar10_matched", "diffenc-8-2", "vdm-8")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reference", "arm"), CASES)
def test_matched_arms_cost_what_their_reference_does(name, reference, arm):
    """In parameters, or FLOPs to a step; and the file says what they get besides."""
    theirs, params, flops = (counted.load_config(f"{name}:{of}") for of in (reference, f"{arm}-params", f"{arm}-flops"))
    their_counts, params_counts, flops_counts = map(installed, (theirs, params, flops))
    assert params_counts.total_params == pytest.approx(their_counts.total_params, rel=0.03)
    assert params.train.steps == theirs.train.steps
    whole = their_counts.flops_per_step * theirs.train.steps
    assert abs(flops_counts.flops_per_step * flops.train.steps - whole) <= flops_counts.flops_per_step
    text = shipped.load(name).__doc__
    more = params_counts.flops_per_step / their_counts.flops_per_step, flops.train.steps / theirs.train.steps
    for share, what in zip(more, (r"training\sFLOPs", "steps"), strict=True):
        assert re.search(rf"\b{abs(100 * (share - 1)):.0f}\s%\smore\s{what}", text)


@pytest.mark.long
@pytest.mark.slow
def test_an_arm_of_equal_cost_has_the_parameters_and_the_flops_of_its_reference():
    theirs = counted.load_config("digits_matched:diffenc-affine")
    their_counts = installed(theirs)
    whole = their_counts.flops_per_step * theirs.train.steps
    for arm in shipped.EQUAL:
        ours = counted.load_config(f"digits_matched:{arm}")
        counts = installed(ours)
        assert counts.total_params == pytest.approx(their_counts.total_params, rel=0.03)
        assert abs(counts.flops_per_step * ours.train.steps - whole) <= counts.flops_per_step


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "-fast"])
def test_the_flops_match_under_every_override(suffix):
    """To a step, by text as on the command line and by value; train.steps is the reference's."""
    changes = {"train.accumulate": 2, "loss.depth": 10, "model.score.layers": 1, "train.steps": 300}
    spec, texts = f"digits_matched:vdm-flops{suffix}", [f"{key}={value}" for key, value in changes.items()]
    ours = counted.load_config(spec, texts)
    theirs = load_config(f"digits:diffenc{suffix}").replace(changes)
    flops = [installed(config).flops_per_step for config in (theirs, ours)]
    assert abs(flops[1] * ours.train.steps - flops[0] * theirs.train.steps) <= flops[1]
    changed = changes | {"train.flops_of": None, "train.steps": ours.train.steps}
    assert ours == load_config(spec).replace(changed)
    assert ours == counted.load_config(spec, changes)


def test_an_arm_without_a_length_of_its_own_is_refused():
    message = "must name an arm with a length of its own, and vdm-flops has the length of diffenc"
    with pytest.raises(InputError, match=message):
        counted.load_config("digits_matched:vdm", ("train.flops_of=vdm-flops",))


def test_a_length_that_is_left_open_is_refused():
    """A run is never trained for the reference's steps by mistake."""
    config = tiny.config("vdm", train__flops_of="diffenc")
    with pytest.raises(InputError, match=r"train\.flops_of=diffenc leaves train\.steps open; load the configuration"):
        TrainingProgram(tiny.model(config), config)

"""Costs of a step: counted by hand, in other ways, and measured."""

import jax
import numpy as np
import pytest

from diffenc_jax.config import load_config
from diffenc_jax.core import versions
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.dataset import image_shape
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.studies.costs.measure import count, measure_costs
from diffenc_jax.train.step import StepFunction
from tests import tiny

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)


def tree_bytes(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def test_parameters_are_those_of_an_initialised_model():
    config = tiny.config("diffenc", loss__depth=5, loss__variance_ratio="learned", sample__depth=5)
    params = jax.jit(build(config, SPEC).init)(jax.random.key(0))
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in params.items()}
    counts = count(config, SPEC)
    assert counts.params == sizes
    assert counts.params["ratio"] == 5
    assert counts.total_params == sum(sizes.values())


def test_flops_are_those_of_the_products():
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
    assert count(config, ImageSpec((side, side, 1), tiny.LEVELS)).flops_per_step == pytest.approx(3 * forward, rel=0.03)


@pytest.mark.slow
def test_every_layer_counts_alike_however_it_is_computed():
    flops = [count(tiny.config("vdm", model__score__layers=layers), SPEC).flops_per_step for layers in (1, 2, 3)]
    assert flops[2] - flops[1] == pytest.approx(flops[1] - flops[0], rel=1e-3)
    assert flops[1] > 1.3 * flops[0]
    looped = tiny.config("vdm", model__score__layers=3, model__scan=True, model__remat="block")
    assert count(looped, SPEC).flops_per_step == flops[2]
    assert looped.model.scan


def test_flops_are_proportional_to_the_batch():
    """All but those of the optimizer, a few per parameter."""
    small, large = (count(tiny.config("vdm", train__batch_size=size), SPEC) for size in (64, 128))
    assert large.flops_per_step == pytest.approx(2 * small.flops_per_step, rel=0.01)
    rest = 2 * small.flops_per_step - large.flops_per_step
    assert 5 * small.total_params < rest < 40 * small.total_params


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(InputError, match=r"train\.steps must be at least 1"):
        count(tiny.config(train__steps=0), SPEC)


@pytest.fixture(scope="module")
def costs(tmp_path_factory):
    """Costs of one model at two batch sizes: (configuration, costs)."""
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, train=tiny.images(20), test=tiny.images(13, seed=1))
    configs = [tiny.config("vdm", data__source=str(path), train__batch_size=size) for size in (8, 32)]
    return [(config, measure_costs(config, timed_steps=4)) for config in configs]


@pytest.mark.slow
def test_memory_is_the_state_and_temporaries_that_grow_with_the_batch(costs):
    for config, cost in costs:
        state = jax.eval_shape(StepFunction(build(config, SPEC), config).init)
        arguments = tree_bytes(state) + config.train.batch_size * SPEC.dims
        assert arguments <= cost["memory_of_state"] < 1.02 * arguments
        assert cost["memory_per_step"] == cost["memory_of_state"] + cost["memory_of_temporaries"]
    small, large = (cost["memory_of_temporaries"] for _, cost in costs)
    assert 1.5 < large / small < 4.5


def test_costs_say_what_was_measured(costs):
    for config, cost in costs:
        counts = count(config, SPEC)
        assert (cost["params"], cost["params_by_part"]) == (counts.total_params, counts.params)
        assert cost["flops_per_step"] == counts.flops_per_step
        assert cost["train_flops"] == 8 * counts.flops_per_step
        lower, upper = cost["seconds_per_step_quartiles"]
        assert 0 < lower <= cost["seconds_per_step"] <= upper < cost["compile_seconds"]
        assert cost["config_hash"] == config.hash
        assert (cost["config"], cost["arm"], cost["dtype"]) == ("tiny", "vdm", "float32")
        assert (cost["batch_size"], cost["steps"], cost["timed_steps"]) == (config.train.batch_size, 8, 4)
        assert cost["device"] == versions.device() == f"{jax.device_count()} x cpu"
        assert cost["software"]["jax"] == jax.__version__


def installed(name, arm):
    """An installed configuration and its images."""
    config = load_config(f"{name}:{arm}")
    return config, ImageSpec(image_shape(config.data), config.data.pixel_levels)


def params_of(name, arm):
    shapes = jax.eval_shape(build(*installed(name, arm)).init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def train_flops_of(name, arm):
    config, spec = installed(name, arm)
    return count(config, spec).flops_per_step * config.train.steps


@pytest.mark.parametrize(
    ("name", "reference", "arm"),
    [
        ("digits", "diffenc", "vdm"),
        pytest.param("cifar10", "diffenc-8-2", "vdm-8", marks=pytest.mark.slow),
        *[
            pytest.param(name, "diffenc", "vdm", marks=pytest.mark.slow)
            for name in ("mnist", "fashion_mnist", "cifar10", "imagenet32", "imagenet64")
        ],
    ],
)
def test_matched_arms_cost_what_their_reference_does(name, reference, arm):
    assert params_of(name, f"{arm}-params") == pytest.approx(params_of(name, reference), rel=0.03)
    assert train_flops_of(name, f"{arm}-flops") == pytest.approx(train_flops_of(name, reference), rel=1e-3)


def test_the_swirls_longer_vdm_costs_what_diffenc_does():
    assert train_flops_of("synthetic", "vdm-flops") == pytest.approx(train_flops_of("synthetic", "diffenc"), rel=1e-3)

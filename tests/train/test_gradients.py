"""A step that accumulates its gradient in parts against a step on the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from diffenc_jax.data.images import Batch
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.train.step import StepFunction
from tests import tiny

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)


def stepped(parts, scan):
    """State and report after a step; the same images, times and noise whatever the parts, and no dropout."""
    layers = {"model__score__layers": 2, "model__score__dropout": 0.0, "model__scan": scan}
    config = tiny.config("vdm", small=True, **layers, train__accumulate=parts, train__ends_every=2)
    step = StepFunction(build(config, SPEC), config, AbstractMesh((2, 1), ("data", "fsdp")))
    return jax.jit(step)(jax.jit(step.init)(), Batch(jnp.asarray(tiny.images(8))))


@pytest.mark.slow
def test_parts_make_the_step_of_the_whole_batch():
    (whole, report), (parts, other) = stepped(1, False), stepped(4, True)
    for name, value in report.meter.scalars().items():
        assert other.meter.scalars()[name] == pytest.approx(value, rel=1e-5), name
    assert bool(other.finite)
    # Adam's first step is a quotient of a gradient and its size, so the gradients' rounding shows in the smallest ones.
    for a, b in zip(*(jax.tree.leaves(state.opt_state) for state in (whole, parts)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-7)

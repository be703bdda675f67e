"""JAX's double precision: training, evaluation and sampling stay in float32."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.sections import SOFTMAX
from diffenc_jax.core.streams import stream
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.ancestral import ancestral
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.estimator import Estimator, Pass
from diffenc_jax.sampling.samplers import first_noise, step_noise
from diffenc_jax.sampling.sampling import draw_data
from diffenc_jax.train.program import TrainingProgram
from tests import tiny
from tests.evaluation import subject

CASES = {
    "diffenc": {"model__derivative_head": True, "eval__estimator": "ode"},
    "vdm": {"model__schedule__kind": "monotone"},
    "nontrainable": {
        "model__score__levels": 1,
        "loss__depth": 5,
        "loss__variance_ratio": "learned",
        "sample__depth": 5,
        "train__time_sampling": "importance",
        "eval__estimator": "importance_weighted",
    },
}


def doubles(jaxpr):
    """The equations of a program that compute arrays in float64.

    Scalars are allowed, such as optax's correction of bias, and constants that take the type of their operand.
    """
    found = []
    for equation in jaxpr.eqns:
        arrays = [v.aval for v in equation.outvars if v.aval.ndim > 0]
        found += [str(equation) for aval in arrays if aval.dtype == np.float64 and not aval.weak_type]
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            found += doubles(inner) if hasattr(inner, "eqns") else []
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "small"), [("diffenc", True), ("vdm", False), ("nontrainable", False)])
def test_programs_stay_in_float32(x64, arm, small):
    """A training step, an evaluation and a sampling are float32 programs in x64 too, and the state keeps its types."""
    run = subject.run_with(arm, small, **CASES[arm])
    model, step, batch = run.model, TrainingProgram(run.model, run.config), Batch(jnp.asarray(tiny.images(8)))
    program, state = jax.make_jaxpr(step.init, return_shape=True)(np.uint32(0))
    assert not doubles(program.jaxpr)
    program, (after, _) = jax.make_jaxpr(step.train_step, return_shape=True)(state, batch, np.uint32(0))
    assert not doubles(program.jaxpr)
    types = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)  # noqa: E731
    assert types(after) == types(state)
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype("float32"), jnp.dtype("int32")}

    estimator = Estimator.of(run)
    loss = dataclasses.replace(model.loss, depth=model.loss.depth or 3)
    steps = jax.eval_shape(partial(model.steps, loss=loss), state.params)
    tables = jax.eval_shape(Steps.to_arrays, steps) | {"mass": jax.ShapeDtypeStruct((4,), jnp.float32)}
    estimate = lambda params, tables: estimator.estimate(Pass(params, tables, batch, jnp.arange(8), np.int32(1)))  # noqa: E731
    program, values = jax.make_jaxpr(estimate, return_shape=True)(state.params, tables)
    assert not doubles(program.jaxpr)
    assert {values[term].dtype for term in estimator.terms} == {jnp.dtype("float32")}

    def sample(params, steps):
        process, keys = model.bind(params), jax.random.split(stream(0, "sample"), 2)
        z_0 = ancestral(process, steps, first_noise(keys, tiny.SPEC.shape), step_noise(keys, tiny.SPEC.shape))
        return draw_data(process, keys, z_0, SOFTMAX)

    assert not doubles(jax.make_jaxpr(sample)(state.params, steps).jaxpr)

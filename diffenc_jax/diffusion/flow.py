"""The probability-flow ODE and its solution (arXiv 2011.13456, section 4.3; the encoder's part is derived here).

The path z_γ = α x_t + σ ε has α² = sigmoid(-γ), σ² = sigmoid(γ), so that dα/dγ = -½ α σ², dσ/dγ = ½ σ α², and

  u(z, γ) = E[d/dγ (α x_t + σ ε) | z_γ = z] = ½ α σ E[v_t | z] + α E[dx_t/dγ | z]

is the velocity of a flow dz/dγ = u with the path's marginals. γ itself is the time of the integration, so that only
the end points of the schedule matter. A model that gives û instead of u defines a flow of its own from N(0, I) at γ_1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion.arrays import Images, PerExample, Scalar
from diffenc_jax.diffusion.gaussian import align, alpha, sigma
from diffenc_jax.diffusion.process import Process

# (z [B, ...], γ [B]) -> dz/dγ.
Flow = Callable[[Images, PerExample], Images]
# γ where the integration starts and where it ends.
Endpoints = tuple[Scalar, Scalar]

# Third order: methods of fifth order need more evaluations for the same error of networks that are not very smooth.
METHOD = "Bosh3"
MAX_STEPS = 10_000
# Length of the first step in γ; the second may be ten times as long.
FIRST_STEP = 0.01


class Solver(NamedTuple):
    """Settings of the ODE solver.

    Attributes:
      rtol, atol: relative and absolute tolerance of a step.
      max_steps: an example that needs more steps has no solution.
      method: name of a Runge-Kutta method of diffrax whose last stage is the next step's first.
      reverse_mode: whether gradients by reverse-mode differentiation can pass through the solution. The steps that the
        solver takes are then differentiated as they are, from about sqrt(2 max_steps) states that are kept per example.
    """

    rtol: float
    atol: float
    max_steps: int = MAX_STEPS
    method: str = METHOD
    reverse_mode: bool = False


class Solution(NamedTuple):
    """The solution for one example.

    Attributes:
      state: state at the end.
      evaluations: number of evaluations of the rates.
      reached: whether the end was reached within the allowed number of steps.
    """

    state: Any
    evaluations: Int[Array, ""]
    reached: Bool[Array, ""]


def flow_of(process: Process) -> Flow:
    """dz/dγ = ½ α σ [v̂ + σ (ŝ - f)], where ŝ estimates the slope (dx_t/dγ) / σ_t² given z_t.

    The loss of `steps.Instant` teaches v̂ - σ f to be E[v_t + σ slope | z_t], where f is the assumed correction
    (reverse.py), such as k x̂, and

      u = ½ α σ E[v_t | z] + α σ² E[slope | z] = ½ α σ (E[v_t + σ slope | z] + σ E[slope | z]).

    ŝ comes from the derivative head, or follows from x̂ where that determines it. An encoder that scales the noise adds
    dρ/dγ (z - α x̂_t), with dρ/dγ = -½ (e^(-2 ρ) - 1) - ℓ of the assumed encoding (affine.py). Where each dimension has
    a γ_i(γ) of its own, α, σ and u are those at γ_i, and dz_i/dγ = u_i dγ_i/dγ. The flow raises InputError if the
    process estimates no slope.
    """

    def flow(z, gamma):
        if process.warp is None:
            return along(z, gamma)
        gammas, rate = jax.jvp(process.warp, (gamma,), (jnp.ones_like(gamma),))
        return rate * along(z, gammas)

    def along(z, gamma):
        estimate = process.estimate(z, gamma)
        slope = process.slope(estimate, gamma)
        if slope is None:
            raise InputError("the slope of this encoder is unknown; a flow needs a derivative head")
        a, s, assumed = align(alpha(gamma), z), align(sigma(gamma), z), process.assumed_at(estimate, gamma)
        u = 0.5 * a * s * (estimate.v + s * (slope - assumed.correction))
        x_t, _, scale = assumed.encoding
        return u if scale is None else u - (0.5 * jnp.expm1(-2.0 * scale.log_std) + scale.lag) * (z - a * x_t)

    return flow


def by_example(compute: Callable[..., Any], process: Process, *arrays: Float[Array, "b ..."]) -> Any:
    """compute(process, *arrays), where `compute` follows the flow of each example of the arrays [B, ...] by itself.

    A process with a condition is for its own batch, so each example then has the process of its own condition.
    """
    if process.condition is None:
        return compute(process, *arrays)

    def one(condition, *arrays):
        found = compute(process.with_condition(condition[None]), *(array[None] for array in arrays))
        return jax.tree.map(lambda array: array[0], found)

    return jax.vmap(one)(process.condition, *arrays)


def solve(rates: Callable[[Any, Any], Any], state: Any, endpoints: Endpoints, solver: Solver) -> Solution:
    """Solution of d state/dγ = rates(γ, state) between two γ, in either direction.

    The error of a step is held below atol + rtol |value|, by its root mean square over each part of the state.

    Args:
      rates: derivative of a state.
      state: state of one example, an array or a tuple of arrays.
      endpoints: γ at the start and at the end.
    """
    import diffrax  # half a second of import time

    method = getattr(diffrax, solver.method)()
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda gamma, state, _: rates(gamma, state)),
        method,
        t0=endpoints[0],
        t1=endpoints[1],
        dt0=FIRST_STEP * jnp.sign(endpoints[1] - endpoints[0]),
        y0=state,
        stepsize_controller=diffrax.PIDController(solver.rtol, solver.atol, norm=_largest_rms),
        adjoint=diffrax.RecursiveCheckpointAdjoint() if solver.reverse_mode else diffrax.ForwardMode(),
        max_steps=solver.max_steps,
        throw=False,
    )
    end = jax.tree.map(lambda saved: saved[0], found.ys)
    # The first stage of a step is the last stage of the step before, and is kept when a step is tried again.
    evaluations = 1 + (method.tableau.num_stages - 1) * jnp.asarray(found.stats["num_steps"])
    return Solution(end, evaluations, diffrax.is_successful(found.result))


def carry(flow: Flow, z: Images, endpoints: Endpoints, solver: Solver) -> Images:
    """z [B, ...] at the second of two γ, following the flow from the first; NaN where the solver gave up.

    Every example takes steps of its own size, so that its result does not depend on its batch.
    """

    def carry_one(z):
        found = solve(lambda gamma, z: flow(z[None], gamma[None])[0], z, endpoints, solver)
        return jnp.where(found.reached, found.state, jnp.nan)

    return jax.vmap(carry_one)(z)


def _largest_rms(error):
    """The largest root mean square among the parts of the state."""
    return jnp.max(jnp.stack([jnp.sqrt(jnp.mean(jnp.square(part))) for part in jax.tree.leaves(error)]))

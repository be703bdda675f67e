"""The probability-flow ODE, its solution and its likelihood (arXiv 2011.13456, section 4.3).

The path z_γ = α x_t + σ ε has α² = sigmoid(-γ), σ² = sigmoid(γ), so that dα/dγ = -½ α σ², dσ/dγ = ½ σ α², and

  u(z, γ) = E[d/dγ (α x_t + σ ε) | z_γ = z] = ½ α σ E[v_t | z] + α E[dx_t/dγ | z]

is the velocity of a flow dz/dγ = u with the path's marginals. γ itself is the time of the integration, so that only
the end points of the schedule matter. A model that gives û instead of u defines another flow, from N(0, I) at γ_1.
Its likelihood is exact, up to the solver's error.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion.arrays import Images, PerExample, Scalar
from diffenc_jax.diffusion.gaussian import align, alpha, sigma, sum_dims
from diffenc_jax.diffusion.process import Process

# (z [B, ...], γ [B]) -> dz/dγ.
Flow = Callable[[Images, PerExample], Images]
# γ where the integration starts and where it ends.
Endpoints = tuple[Scalar, Scalar]

MAX_STEPS = 10_000
# Length in γ of a step below which the solver gives up, about the spacing of float32 at the ends. A rate that is not
# finite ends the solution so.
LEAST_STEP = 1e-6
GAVE_UP = (
    f"the solver needs more than {MAX_STEPS:,} steps, or some too short for float32; give larger ode.rtol, ode.atol"
)
# Length of the first step in γ; the second may be ten times as long.
FIRST_STEP = 0.01
# Number of directional derivatives computed at once for an exact divergence; it bounds the memory.
DIRECTIONS = 64


class Solver(NamedTuple):
    """Settings of the ODE solver.

    Attributes:
      rtol, atol: relative and absolute tolerance of a step.
      method: name of a Runge-Kutta method of diffrax: Bosh3 of third order, for networks that are not very smooth,
        Tsit5 of fifth order or Dopri8 of eighth.
      max_steps: number of steps after which the solver gives up.
      reverse: whether the solution is differentiable by `jax.grad`, rather than by `jax.jvp`.
    """

    rtol: float
    atol: float
    method: str = "Bosh3"
    max_steps: int = MAX_STEPS
    reverse: bool = False


def flow_of(process: Process) -> Flow:
    """dz/dγ = ½ α σ [v̂ + σ (ŝ - f)], where ŝ estimates the slope (dx_t/dγ) / σ_t² given z_t.

    The loss of `steps.Instant` teaches v̂ - σ f to be E[v_t + σ slope | z_t], where f is the assumed correction
    (reverse.py), such as k x̂, and

      u = ½ α σ E[v_t | z] + α σ² E[slope | z] = ½ α σ (E[v_t + σ slope | z] + σ E[slope | z]).

    ŝ comes from the derivative head, or follows from x̂ where that determines it. An encoder that scales the noise adds
    dρ/dγ (z - α x̂_t), with dρ/dγ = -½ (e^(-2 ρ) - 1) - ℓ of the assumed encoding (`Affine`). Where each dimension has
    its own γ_i(γ), α, σ and u are taken at γ_i, and dz_i/dγ = u_i dγ_i/dγ. The flow raises InputError if the
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
        x_t, _, log_std, lag = assumed.encoding
        return u if log_std is None or lag is None else u - (0.5 * jnp.expm1(-2.0 * log_std) + lag) * (z - a * x_t)

    return flow


def by_example(compute: Callable[..., Any], process: Process, *arrays: Float[Array, "b ..."] | None) -> Any:
    """Call compute(process, *arrays), which follows the flow of each example of the arrays [B, ...] separately.

    A process with a condition belongs to its batch, so each example gets a process with its own condition.
    """
    if process.condition is None:
        return compute(process, *arrays)

    def one(condition, *arrays):
        values = compute(process.with_condition(condition[None]), *jax.tree.map(lambda array: array[None], arrays))
        return jax.tree.map(lambda array: array[0], values)

    return jax.vmap(one)(process.condition, *arrays)


def solve(
    rates: Callable[[Any, Any], Any], state: Any, endpoints: Endpoints, solver: Solver
) -> tuple[Any, Int[Array, ""]]:
    """Solution of d state/dγ = rates(γ, state) between two γ, in either direction.

    The error of a step is held below atol + rtol |value|, by its root mean square over each part of the state.

    Args:
      rates: derivative of a state.
      state: state of one example, an array or a tuple of arrays.
      endpoints: γ at the start and at the end.

    Returns:
      The state at the end, NaN where the solver gave up, and the number of evaluations of the rates.
    """
    import diffrax  # half a second of import time

    method = getattr(diffrax, solver.method)()
    control = diffrax.PIDController(solver.rtol, solver.atol, norm=_largest_rms, dtmin=LEAST_STEP, force_dtmin=False)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda gamma, state, _: rates(gamma, state)),
        method,
        t0=endpoints[0],
        t1=endpoints[1],
        dt0=FIRST_STEP * jnp.sign(endpoints[1] - endpoints[0]),
        y0=state,
        stepsize_controller=control,
        adjoint=diffrax.RecursiveCheckpointAdjoint() if solver.reverse else diffrax.ForwardMode(),
        max_steps=solver.max_steps,
        throw=False,
    )
    reached = diffrax.is_successful(solution.result)
    end = jax.tree.map(lambda saved: jnp.where(reached, saved[0], jnp.nan), solution.ys)
    # The first stage of a step is the last stage of the step before, and is kept when a step is tried again.
    return end, 1 + (method.tableau.num_stages - 1) * jnp.asarray(solution.stats["num_steps"])


def carry(flow: Flow, z: Images, endpoints: Endpoints, solver: Solver) -> Images:
    """z [B, ...] at the second of two γ, following the flow from the first; NaN where the solver gave up.

    Every example takes steps of its own size, so that its result does not depend on its batch.
    """
    return jax.vmap(lambda z: solve(lambda gamma, z: flow(z[None], gamma[None])[0], z, endpoints, solver)[0])(z)


def _largest_rms(error):
    """The largest root mean square among the parts of the state."""
    return jnp.max(jnp.stack([jnp.sqrt(jnp.mean(jnp.square(part))) for part in jax.tree.leaves(error)]))


# Signs ±1 [B, n, ...] of n probes per example; None for the exact divergence.
Signs = Float[Array, "b n *d"] | None


def exact_divergence(field: Callable, z: Float[Array, "*d"]) -> tuple[Float[Array, "*d"], Float[Array, " 1"]]:
    """u(z) and div u = Σ_i ∂u_i/∂z_i [1], by d directional derivatives.

    The field is linearised once, and `DIRECTIONS` derivatives are taken at a time.
    """
    u, derivative = jax.linearize(field, z)

    def diagonal(i):
        direction = jax.nn.one_hot(i, z.size, dtype=z.dtype).reshape(z.shape)
        return jnp.sum(derivative(direction) * direction)

    return u, jnp.sum(jax.lax.map(diagonal, jnp.arange(z.size), batch_size=DIRECTIONS))[None]


def hutchinson(
    field: Callable, z: Float[Array, "*d"], probes: Float[Array, "n *d"]
) -> tuple[Float[Array, "*d"], Float[Array, " n"]]:
    """u(z) and probeᵀ (∂u/∂z) probe, whose mean over probes of independent signs is div u (arXiv 1810.01367).

    Its variance comes from the Jacobian's symmetric part off the diagonal. Probes stay the same along a path, so the
    integral is unbiased too, and its integrand is smooth. All probes share one evaluation of u.
    """

    def along(probe):
        u, derivative = jax.jvp(field, (z,), (probe,))
        return u, jnp.sum(probe * derivative)

    return jax.vmap(along, out_axes=(None, 0))(probes)


class PathLikelihood(NamedTuple):
    """-log p(z_0) = prior + divergence, nats per example, [B]; NaN where the solver gave up.

    Attributes:
      prior: -log N(z_1; 0, I).
      divergence: -∫ div u dγ from γ_0 to γ_1, the mean over probes.
      evaluations: number of evaluations of the flow for each example.
    """

    prior: PerExample
    divergence: PerExample
    evaluations: Int[Array, " b"]

    @property
    def total(self) -> PerExample:
        """-log p(z_0)."""
        return self.prior + self.divergence


def path_likelihood(
    flow: Flow, z_0: Images, ends: Endpoints, signs: Signs, solver: Solver
) -> tuple[Images, PathLikelihood]:
    """z_1 at the end of the path dz/dγ = u from z_0, and log p(z_0) = log N(z_1; 0, I) + ∫ div u dγ.

    Every example takes steps of its own size, so that its value does not depend on its batch. The solver holds two
    errors of a step below atol + rtol |value|: the root mean square over the dimensions of z, and the root mean square
    over the probes of the integrated divergence in nats per dimension. In a single norm the dimensions of z would hide
    the divergence. The mean over the probes has at most the second error, so several probes take about as many steps as
    one.

    Args:
      z_0: [B, ...].
      ends: (γ_0, γ_1).
      signs: n probes per example, signs ±1 [B, n, ...], for `hutchinson`; None for `exact_divergence`.
    """
    count = 1 if signs is None else signs.shape[1]

    def follow(z, signs):
        def rates(gamma, state):
            field = lambda z: flow(z[None], gamma[None])[0]  # noqa: E731
            u, div = exact_divergence(field, state[0]) if signs is None else hutchinson(field, state[0], signs)
            return u, div / z.size

        return solve(rates, (z, jnp.zeros(count, z.dtype)), ends, solver)

    (z_1, per_dim), evaluations = jax.vmap(follow)(z_0, signs)
    dims = z_0[0].size
    prior = 0.5 * (sum_dims(jnp.square(z_1)) + dims * math.log(2 * math.pi))
    divergence = -dims * per_dim.mean(axis=1)
    prior = jnp.where(jnp.isnan(divergence), jnp.nan, prior)
    return z_1, PathLikelihood(prior, divergence, evaluations)


def likelihood_of(process: Process, z_0: Images, signs: Signs, solver: Solver) -> PathLikelihood:
    """`path_likelihood` under the flow of a process, each example with its own condition.

    A code's cost is in the prior. Raises InputError if the process estimates no slope, see `flow_of`.
    """

    def one(process, z_0, signs):
        return path_likelihood(flow_of(process), z_0, process.endpoints, signs, solver)[1]

    path = by_example(one, process, z_0, signs)
    return path._replace(prior=path.prior + process.code_nats)

"""The probability-flow ODE and its solution (arXiv 2011.13456, section 4.3; with an encoder, derived here).

The path z_γ = α x_t + σ ε has α² = sigmoid(-γ), σ² = sigmoid(γ), so dα/dγ = -½ α σ², dσ/dγ = ½ σ α², and

  u(z, γ) = E[d/dγ (α x_t + σ ε) | z_γ = z] = ½ α σ E[v_t | z] + α E[dx_t/dγ | z]

is the velocity of a flow dz/dγ = u with the path's marginals. γ itself is the time of the integration: of the
schedule only its ends matter. A model that gives û instead of u defines a flow of its own from N(0, I) at γ_1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from diffenc_jax.diffusion.gaussian import align, alpha, image_from_velocity, sigma

# (z [B, ...], γ [B]) -> dz/dγ.
Flow = Callable[[Float[Array, "b *d"], Float[Array, " b"]], Float[Array, "b *d"]]
Ends = tuple[Float[Array, ""], Float[Array, ""]]

# Of third order: the fifth needs more evaluations for the same error, of networks that are not very smooth.
SOLVER = "Bosh3"
MAX_STEPS = 10_000
# In γ; where more is allowed, the second step is ten times as long.
FIRST_STEP = 0.01


def velocity(
    z_t: Float[Array, "b *d"],
    v_hat: Float[Array, "b *d"],
    slope_hat: Float[Array, "b *d"],
    k: float,
    gamma: Float[Array, " b"],
) -> Float[Array, "b *d"]:
    """û = ½ α σ [v̂ + σ (ŝ - k x̂)], where ŝ estimates the slope (dx_t/dγ) / σ_t² given z_t.

    The bound's loss (`losses.continuous`) teaches v̂ - k σ x̂ to be E[v_t + σ slope | z_t], with x̂ = α z_t - σ v̂, and
    u = ½ α σ E[v_t | z] + α σ² E[slope | z] = ½ α σ (E[v_t + σ slope | z] + σ E[slope | z]).
    k = 0 for the identity and 1 for an encoder that drifts, as there.
    """
    a, s = align(alpha(gamma), z_t), align(sigma(gamma), z_t)
    x_hat = image_from_velocity(z_t, v_hat, gamma)
    return 0.5 * a * s * (v_hat + s * (slope_hat - k * x_hat))


class Solution(NamedTuple):
    """Of one example.

    Attributes:
      state: at the end.
      evaluations: of the rates on the way.
      reached: whether the end was, in as many steps as are allowed.
    """

    state: Any
    evaluations: Int[Array, ""]
    reached: Bool[Array, ""]


def solve(
    rates: Callable[[Float[Array, ""], Any], Any],
    state: Any,
    ends: Ends,
    rtol: float,
    atol: float,
    max_steps: int = MAX_STEPS,
    solver: str = SOLVER,
) -> Solution:
    """Follows d state/dγ = rates(γ, state) from γ = ends[0] to ends[1], upwards or downwards.

    A step's error is held below atol + rtol |value|, by its root mean square over each part of the state.

    Args:
      rates: gives the derivative of a state.
      state: one example's, an array or a tuple of arrays.
      ends: γ where to start and where to arrive.
      rtol, atol: relative and absolute tolerance of a step.
      max_steps: who needs more of them gives up.
      solver: name of a Runge-Kutta method of diffrax whose last stage is the next step's first.
    """
    import diffrax  # half a second that nothing else has to wait for

    method = getattr(diffrax, solver)()
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda gamma, state, _: rates(gamma, state)),
        method,
        t0=ends[0],
        t1=ends[1],
        dt0=FIRST_STEP * jnp.sign(ends[1] - ends[0]),
        y0=state,
        stepsize_controller=diffrax.PIDController(rtol, atol, norm=_worst_part),
        adjoint=diffrax.ForwardMode(),
        max_steps=max_steps,
        throw=False,
    )
    arrived = jax.tree.map(lambda saved: saved[0], found.ys)
    # The first stage of a step is the last one of the step before, and is kept for another, shorter trial.
    evaluations = 1 + (method.tableau.num_stages - 1) * found.stats["num_steps"]
    return Solution(arrived, evaluations, diffrax.is_successful(found.result))


def carry(
    flow: Flow, z: Float[Array, "b *d"], ends: Ends, rtol: float, atol: float, max_steps: int = MAX_STEPS
) -> Float[Array, "b *d"]:
    """Each z along the flow from γ = ends[0] to ends[1]; NaN where the solver gave up. See `solve`.

    Every example takes steps of its own size, so that where it arrives does not depend on its batch.
    """

    def one(z):
        found = solve(lambda gamma, z: flow(z[None], gamma[None])[0], z, ends, rtol, atol, max_steps)
        return jnp.where(found.reached, found.state, jnp.nan)

    return jax.vmap(one)(z)


def _worst_part(error):
    """The larger of the root mean squares of the state's parts."""
    return jnp.max(jnp.stack([jnp.sqrt(jnp.mean(jnp.square(part))) for part in jax.tree.leaves(error)]))

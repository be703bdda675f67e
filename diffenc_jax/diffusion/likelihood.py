"""The likelihood of the probability-flow ODE dz/dγ = u (arXiv 2011.13456, section 4.3); see flow.py.

It is exactly that of the flow which the model defines, but for the solver's error.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffenc_jax.diffusion.flow import MAX_STEPS, SOLVER, Ends, Flow, solve
from diffenc_jax.diffusion.gaussian import alpha, sigma, sum_dims

# So many directions of an exact divergence are followed at once: bounds its memory.
DIRECTIONS = 64

# (field u of one z [...], z, probe [...]) -> u(z) and its divergence, or an unbiased estimate of it.
Divergence = Callable[
    [Callable[[Float[Array, "*d"]], Float[Array, "*d"]], Float[Array, "*d"], Float[Array, "*d"]],
    tuple[Float[Array, "*d"], Float[Array, ""]],
]


def exact_divergence(
    field: Callable, z: Float[Array, "*d"], probe: Float[Array, "*d"]
) -> tuple[Float[Array, "*d"], Float[Array, ""]]:
    """u(z) and div u = Σ_i ∂u_i/∂z_i, by d directional derivatives; the probe is not looked at.

    The field is linearised once, and its derivatives are taken `DIRECTIONS` at a time.
    """
    u, derivative = jax.linearize(field, z)

    def diagonal(i):
        direction = jax.nn.one_hot(i, z.size, dtype=z.dtype).reshape(z.shape)
        return jnp.sum(derivative(direction) * direction)

    return u, jnp.sum(jax.lax.map(diagonal, jnp.arange(z.size), batch_size=DIRECTIONS))


def hutchinson(
    field: Callable, z: Float[Array, "*d"], probe: Float[Array, "*d"]
) -> tuple[Float[Array, "*d"], Float[Array, ""]]:
    """u(z) and probeᵀ (∂u/∂z) probe, whose mean over probes of independent signs is div u (arXiv 1810.01367).

    Its variance comes from the Jacobian's symmetric part off the diagonal. The probe is fixed along a path: the
    integral is then unbiased too, and its integrand smooth.
    """
    u, along = jax.jvp(field, (z,), (probe,))
    return u, jnp.sum(probe * along)


DIVERGENCES: dict[str, Divergence] = {"exact": exact_divergence, "hutchinson": hutchinson}


class PathLikelihood(NamedTuple):
    """-log p(z_0) = prior + divergence, nats an example, [B]; NaN where the solver gave up.

    Attributes:
      prior: -log N(z_1; 0, I).
      divergence: -∫ div u dγ from γ_0 to γ_1.
      evaluations: how often the flow was evaluated on the way, by its own steps alone.
    """

    prior: Float[Array, " b"]
    divergence: Float[Array, " b"]
    evaluations: Int[Array, " b"]


def ode_likelihood(
    flow: Flow,
    z_0: Float[Array, "b *d"],
    ends: Ends,
    probe: Float[Array, "b *d"],
    divergence: Divergence,
    rtol: float,
    atol: float,
    max_steps: int = MAX_STEPS,
    solver: str = SOLVER,
) -> PathLikelihood:
    """log p(z_0) = log N(z_1; 0, I) + ∫ div u dγ, with dz/dγ = u from z_0 at γ_0 to z_1 at γ_1.

    Every example takes steps of its own size, so that its value does not depend on its batch. Their error is held
    below atol + rtol |value| twice over: in z by its root mean square over the dimensions, and in the integral of
    the divergence in nats a dimension, which would be lost among the dimensions of z.

    Args:
      flow: u.
      z_0: where to start.
      ends: (γ_0, γ_1).
      probe: signs ±1, for `hutchinson`.
      divergence: one of `DIVERGENCES`.
      rtol, atol, max_steps, solver: see `solve`; an example that needs more steps gets NaN.
    """

    def follow(z_0, probe):
        def rates(gamma, state):
            u, div = divergence(lambda z: flow(z[None], gamma[None])[0], state[0], probe)
            return u, div / z_0.size

        return solve(rates, (z_0, jnp.zeros((), z_0.dtype)), ends, rtol, atol, max_steps, solver)

    (z_1, per_dim), evaluations, reached = jax.vmap(follow)(z_0, probe)
    dims = z_0[0].size
    prior = 0.5 * (sum_dims(jnp.square(z_1)) + dims * math.log(2 * math.pi))
    return PathLikelihood(jnp.where(reached, prior, jnp.nan), jnp.where(reached, -dims * per_dim, jnp.nan), evaluations)


def uniform(
    x: Float[Array, "b *d"], levels: int, gamma_0: Float[Array, ""], u: Float[Array, "b *d"]
) -> tuple[Float[Array, "b *d"], Float[Array, ""]]:
    """z_0 = α_0 x̃ with x̃ uniform on the pixel's bin, and the nats an example that go with it; see `DEQUANTISATIONS`."""
    width = 2.0 / levels
    z_0 = alpha(gamma_0) * (x + width * (u - 0.5))
    return z_0, -x[0].size * (0.5 * jax.nn.log_sigmoid(-gamma_0) + math.log(width))


def truncated_normal(
    x: Float[Array, "b *d"], levels: int, gamma_0: Float[Array, ""], u: Float[Array, "b *d"]
) -> tuple[Float[Array, "b *d"], Float[Array, ""]]:
    """z_0 = α_0 x + σ_0 ε, ε normal within ±τ = ±e^(-γ_0/2) / V, half a bin (arXiv 2305.03935).

    This is what the model was trained on at γ_0, but for the tails. The nats that go with it: see `DEQUANTISATIONS`.
    """
    tau = jnp.exp(-0.5 * gamma_0) / levels
    # From the middle outwards: the distribution function would lose its digits in the upper tail.
    eps = math.sqrt(2.0) * jax.scipy.special.erfinv((2.0 * u - 1.0) * jax.scipy.special.erf(tau / math.sqrt(2.0)))
    z_0 = alpha(gamma_0) * x + sigma(gamma_0) * jnp.clip(eps, -tau, tau)
    return z_0, -x[0].size * (0.5 * jax.nn.log_sigmoid(gamma_0) + truncated_entropy(tau))


def truncated_entropy(tau: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """½ ln(2πe) + ln Z - τ φ(τ) / Z with Z = erf(τ/√2): nats, of a standard normal within ±τ.

    ½ ln(2πe) - 0.01522 at the published γ_0 = -13.3 and V = 256, as in arXiv 2305.03935. At small τ it is ln 2τ.
    """
    inside = jax.scipy.special.erf(tau / math.sqrt(2.0))
    density = jnp.exp(-0.5 * jnp.square(tau)) / math.sqrt(2.0 * math.pi)
    return 0.5 * math.log(2.0 * math.pi * math.e) + jnp.log(inside) - tau * density / inside


# (x, the centres of the pixels' bins [B, ...], V, γ_0, u ~ U(0, 1) [B, ...]) -> z_0 = α_0 x̃ and a number [] of nats:
# x̃ ~ q lies within the bins, and P(pixels) = ∫ p(x̃) dx̃ >= exp E_q ln(p/q) with p(x̃) = α_0^d p(z_0), so that
#
#   -log P(pixels) <= E[-log p(z_0)] + nats,  nats = -d ln α_0 - entropy of q.
DEQUANTISATIONS = {"uniform": uniform, "truncated_normal": truncated_normal}

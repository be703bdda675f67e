"""The likelihood under the probability-flow ODE dz/dγ = u (arXiv 2011.13456, section 4.3; flow.py).

It is exact for the flow that the model defines, up to the solver's error.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from diffenc_jax.diffusion.arrays import AnyShape, Images, PerExample, Scalar
from diffenc_jax.diffusion.flow import Endpoints, Flow, Solver, solve
from diffenc_jax.diffusion.gaussian import alpha, sigma, sum_dims

# Number of directional derivatives computed at once for an exact divergence; it bounds the memory.
DIRECTIONS = 64

# (field u of one z [...], z, probe [...]) -> u(z) and its divergence, or an unbiased estimate of it.
Divergence = Callable[
    [Callable[[Float[Array, "*d"]], Float[Array, "*d"]], Float[Array, "*d"], Float[Array, "*d"]],
    tuple[Float[Array, "*d"], Scalar],
]


def exact_divergence(
    field: Callable, z: Float[Array, "*d"], probe: Float[Array, "*d"]
) -> tuple[Float[Array, "*d"], Scalar]:
    """u(z) and div u = Σ_i ∂u_i/∂z_i, by d directional derivatives; the probe is not used.

    The field is linearised once, and `DIRECTIONS` derivatives are taken at a time.
    """
    u, derivative = jax.linearize(field, z)

    def diagonal(i):
        direction = jax.nn.one_hot(i, z.size, dtype=z.dtype).reshape(z.shape)
        return jnp.sum(derivative(direction) * direction)

    return u, jnp.sum(jax.lax.map(diagonal, jnp.arange(z.size), batch_size=DIRECTIONS))


def hutchinson(field: Callable, z: Float[Array, "*d"], probe: Float[Array, "*d"]) -> tuple[Float[Array, "*d"], Scalar]:
    """u(z) and probeᵀ (∂u/∂z) probe, whose mean over probes of independent signs is div u (arXiv 1810.01367).

    Its variance comes from the Jacobian's symmetric part off the diagonal. The probe is fixed along a path, so that the
    integral is unbiased too and its integrand is smooth.
    """
    u, along = jax.jvp(field, (z,), (probe,))
    return u, jnp.sum(probe * along)


DIVERGENCES: dict[str, Divergence] = {"exact": exact_divergence, "hutchinson": hutchinson}


class PathLikelihood(NamedTuple):
    """-log p(z_0) = prior + divergence, nats per example, [B]; NaN where the solver gave up.

    Attributes:
      prior: -log N(z_1; 0, I).
      divergence: -∫ div u dγ from γ_0 to γ_1.
      evaluations: number of evaluations of the flow that the example's own steps took.
    """

    prior: PerExample
    divergence: PerExample
    evaluations: Int[Array, " b"]


def ode_likelihood(
    flow: Flow, z_0: Images, endpoints: Endpoints, probe: Images, divergence: Divergence, solver: Solver
) -> PathLikelihood:
    """log p(z_0) = log N(z_1; 0, I) + ∫ div u dγ, with dz/dγ = u from z_0 at γ_0 to z_1 at γ_1.

    Every example takes steps of its own size, so that its value does not depend on its batch. The error of a step is
    held below atol + rtol |value| twice: in z by its root mean square over the dimensions, and in the integral of the
    divergence in nats per dimension, which would be lost among the dimensions of z.

    Args:
      z_0: [B, ...] at the data.
      endpoints: (γ_0, γ_1).
      probe: signs ±1 [B, ...], for `hutchinson`.
      divergence: one of `DIVERGENCES`.
    """

    def follow(z_0, probe):
        def rates(gamma, state):
            u, div = divergence(lambda z: flow(z[None], gamma[None])[0], state[0], probe)
            return u, div / z_0.size

        return solve(rates, (z_0, jnp.zeros((), z_0.dtype)), endpoints, solver)

    (z_1, per_dim), evaluations, reached = jax.vmap(follow)(z_0, probe)
    dims = z_0[0].size
    prior = 0.5 * (sum_dims(jnp.square(z_1)) + dims * math.log(2 * math.pi))
    return PathLikelihood(jnp.where(reached, prior, jnp.nan), jnp.where(reached, -dims * per_dim, jnp.nan), evaluations)


def uniform(x: Images, pixel_levels: int, gamma_0: Scalar, u: Images) -> tuple[Images, Scalar]:
    """Dequantisation by x̃ uniform on the pixel's bin: z_0 = α_0 x̃ and its nats (`DEQUANTISATIONS`)."""
    width = 2.0 / pixel_levels
    z_0 = alpha(gamma_0) * (x + width * (u - 0.5))
    return z_0, -x[0].size * (0.5 * jax.nn.log_sigmoid(-gamma_0) + math.log(width))


def truncated_normal(x: Images, pixel_levels: int, gamma_0: Scalar, u: Images) -> tuple[Images, Scalar]:
    """Dequantisation by z_0 = α_0 x + σ_0 ε, ε normal within ±τ = ±e^(-γ_0/2) / V, half a bin (arXiv 2305.03935).

    Up to the tails this is the distribution that the model was trained on at γ_0. For its nats see `DEQUANTISATIONS`.
    """
    tau = jnp.exp(-0.5 * gamma_0) / pixel_levels
    # From the middle outwards: the distribution function would lose its digits in the upper tail.
    eps = math.sqrt(2.0) * jax.scipy.special.erfinv((2.0 * u - 1.0) * jax.scipy.special.erf(tau / math.sqrt(2.0)))
    z_0 = alpha(gamma_0) * x + sigma(gamma_0) * jnp.clip(eps, -tau, tau)
    return z_0, -x[0].size * (0.5 * jax.nn.log_sigmoid(gamma_0) + truncated_entropy(tau))


def truncated_entropy(tau: AnyShape) -> AnyShape:
    """Entropy in nats of a standard normal within ±τ: ½ ln(2πe) + ln Z - τ φ(τ) / Z with Z = erf(τ/√2).

    It is ½ ln(2πe) - 0.01522 at the published γ_0 = -13.3 and V = 256 (arXiv 2305.03935), and ln 2τ at small τ.
    """
    inside = jax.scipy.special.erf(tau / math.sqrt(2.0))
    density = jnp.exp(-0.5 * jnp.square(tau)) / math.sqrt(2.0 * math.pi)
    return 0.5 * math.log(2.0 * math.pi * math.e) + jnp.log(inside) - tau * density / inside


# (x, the centres of the pixels' bins [B, ...], V, γ_0, u ~ U(0, 1) [B, ...]) -> z_0 = α_0 x̃ and a number [] of nats:
# x̃ ~ q lies within the bins, and P(pixels) = ∫ p(x̃) dx̃ >= exp E_q ln(p/q) with p(x̃) = α_0^d p(z_0), so that
#
#   -log P(pixels) <= E[-log p(z_0)] + nats,  nats = -d ln α_0 - entropy of q.
DEQUANTISATIONS = {"uniform": uniform, "truncated_normal": truncated_normal}

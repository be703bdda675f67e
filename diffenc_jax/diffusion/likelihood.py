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
from diffenc_jax.diffusion.flow import Endpoints, Flow, Solver, by_example, flow_of, solve
from diffenc_jax.diffusion.gaussian import alpha, sigma, sum_dims
from diffenc_jax.diffusion.process import Process

# Number of directional derivatives computed at once for an exact divergence; it bounds the memory.
DIRECTIONS = 64

# (field u of one z [...], z, probes [n, ...]) -> u(z), and its divergence or an unbiased estimate of it per probe, [n].
Divergence = Callable[
    [Callable[[Float[Array, "*d"]], Float[Array, "*d"]], Float[Array, "*d"], Float[Array, "n *d"]],
    tuple[Float[Array, "*d"], Float[Array, " n"]],
]


def exact_divergence(
    field: Callable, z: Float[Array, "*d"], probes: Float[Array, "n *d"]
) -> tuple[Float[Array, "*d"], Float[Array, " n"]]:
    """u(z) and div u = Σ_i ∂u_i/∂z_i, by d directional derivatives, repeated for each probe, which is not used.

    The field is linearised once, and `DIRECTIONS` derivatives are taken at a time.
    """
    u, derivative = jax.linearize(field, z)

    def diagonal(i):
        direction = jax.nn.one_hot(i, z.size, dtype=z.dtype).reshape(z.shape)
        return jnp.sum(derivative(direction) * direction)

    trace = jnp.sum(jax.lax.map(diagonal, jnp.arange(z.size), batch_size=DIRECTIONS))
    return u, jnp.broadcast_to(trace, len(probes))


def hutchinson(
    field: Callable, z: Float[Array, "*d"], probes: Float[Array, "n *d"]
) -> tuple[Float[Array, "*d"], Float[Array, " n"]]:
    """u(z) and probeᵀ (∂u/∂z) probe, whose mean over probes of independent signs is div u (arXiv 1810.01367).

    Its variance comes from the Jacobian's symmetric part off the diagonal. Probes are fixed along a path, so that the
    integral is unbiased too and its integrand is smooth. All of them share one evaluation of u.
    """

    def along(probe):
        u, derivative = jax.jvp(field, (z,), (probe,))
        return u, jnp.sum(probe * derivative)

    return jax.vmap(along, out_axes=(None, 0))(probes)


DIVERGENCES: dict[str, Divergence] = {"exact": exact_divergence, "hutchinson": hutchinson}


class PathLikelihood(NamedTuple):
    """-log p(z_0) = prior + divergence, nats per example, [B]; NaN where the solver gave up.

    Attributes:
      prior: -log N(z_1; 0, I).
      divergence: -∫ div u dγ from γ_0 to γ_1, the mean over probes.
      evaluations: number of evaluations of the flow that the example's own steps took.
      probe_variance: unbiased estimate, from the differences between probes, of the variance of `divergence` that the
        choice of the probes causes; None for a single probe.
    """

    prior: PerExample
    divergence: PerExample
    evaluations: Int[Array, " b"]
    probe_variance: PerExample | None

    @property
    def total(self) -> PerExample:
        """-log p(z_0)."""
        return self.prior + self.divergence


class Probes(NamedTuple):
    """How the divergence of the flow is computed along a path.

    Attributes:
      divergence: one of `DIVERGENCES`.
      signs: n probes per example, signs ±1 [B, n, ...], for `hutchinson`; for `exact_divergence` any array with n = 1.
    """

    divergence: Divergence
    signs: Float[Array, "b n *d"]


def ode_likelihood(flow: Flow, z_0: Images, endpoints: Endpoints, probes: Probes, solver: Solver) -> PathLikelihood:
    """log p(z_0) = log N(z_1; 0, I) + ∫ div u dγ, with dz/dγ = u from z_0 at γ_0 to z_1 at γ_1.

    Args:
      z_0: [B, ...] at the data.
      endpoints: (γ_0, γ_1).
    """
    return _path(flow, z_0, endpoints, probes, solver)[1]


def ode_sample(
    flow: Flow, z_1: Images, endpoints: Endpoints, probes: Probes, solver: Solver
) -> tuple[Images, PathLikelihood]:
    """z_0, following the flow from z_1 at γ_1 to γ_0, and its likelihood, the divergence being integrated on the way.

    Up to the solver's error and the choice of the probes, the likelihood is that of `ode_likelihood` at z_0.

    Args:
      z_1: [B, ...] at the noise.
      endpoints: (γ_0, γ_1).
    """
    return _path(flow, z_1, endpoints[::-1], probes, solver, down=True)


def _path(
    flow: Flow, z: Images, ends: Endpoints, probes: Probes, solver: Solver, *, down: bool = False
) -> tuple[Images, PathLikelihood]:
    """The other end of the path from z, and the likelihood of z_0, the end at which `down` arrives.

    Every example takes steps of its own size, so that its value does not depend on its batch. The error of a step is
    held below atol + rtol |value| twice: in z by its root mean square over the dimensions, and in the integrals of the
    divergence in nats per dimension, which would be lost among the dimensions of z, by its root mean square over the
    probes. The error of their mean is at most that, so that more probes take about as many steps as one.
    """

    def follow(z, signs):
        def rates(gamma, state):
            u, div = probes.divergence(lambda z: flow(z[None], gamma[None])[0], state[0], signs)
            return u, div / z.size

        found = solve(rates, (z, jnp.zeros(len(signs), z.dtype)), ends, solver)
        return jax.tree.map(lambda value: jnp.where(found.reached, value, jnp.nan), found.state), found.evaluations

    (end, per_dim), evaluations = jax.vmap(follow)(z, probes.signs)
    z_1 = z if down else end
    dims, count = z[0].size, probes.signs.shape[1]
    prior = 0.5 * (sum_dims(jnp.square(z_1)) + dims * math.log(2 * math.pi))
    divergence = (dims if down else -dims) * per_dim.mean(axis=1)
    variance = dims**2 * per_dim.var(axis=1, ddof=1) / count if count > 1 else None
    prior = jnp.where(jnp.isnan(divergence), jnp.nan, prior)
    return end, PathLikelihood(prior, divergence, evaluations, variance)


def likelihood_of(process: Process, z_0: Images, probes: Probes, solver: Solver) -> PathLikelihood:
    """`ode_likelihood` under the flow of a process, each example with its own condition; a code's cost is in the prior.

    Raises InputError if the process estimates no slope, see `flow.flow_of`.
    """

    def one(process, z_0, signs):
        return ode_likelihood(flow_of(process), z_0, process.endpoints, probes._replace(signs=signs), solver)

    return _with_code(process, by_example(one, process, z_0, probes.signs))


def sample_of(process: Process, z_1: Images, probes: Probes, solver: Solver) -> tuple[Images, PathLikelihood]:
    """`ode_sample` along the flow of a process, as `likelihood_of` is `ode_likelihood`."""

    def one(process, z_1, signs):
        return ode_sample(flow_of(process), z_1, process.endpoints, probes._replace(signs=signs), solver)

    z_0, path = by_example(one, process, z_1, probes.signs)
    return z_0, _with_code(process, path)


def _with_code(process: Process, path: PathLikelihood) -> PathLikelihood:
    return path._replace(prior=path.prior + process.code_nats)


class Dequantised(NamedTuple):
    """A draw x̃ ~ q(x̃ | pixels) within the pixels' bins, placed on the flow's path: z_0 = α_0 x̃.

    With p(x̃) = α_0^d p(z_0), P(pixels) = ∫ p(x̃) dx̃ over the bins is E p(x̃) / q(x̃) = E p(z_0) / q(z_0), so that

      -log P(pixels) <= E[-log p(z_0)] + nats,   nats = E ln q(z_0) = -entropy of z_0,
      -log P(pixels) <= -E ln[1/k Σ_j p(z_0j) / q(z_0j)] for k draws (arXiv 1509.00519; arXiv 2305.03935),

    and the second right side falls with k from the first one towards -log P. It needs log p(z_0) itself: the
    exponential of an unbiased estimate of log p is above p on average (Jensen's inequality), so that the weights of
    `hutchinson` are too large on average, and their right side need not be a bound.

    Attributes:
      z_0: [B, ...].
      nats: [] the mean of `log_density`.
      log_density: [B] ln q(z_0).
    """

    z_0: Images
    nats: Scalar
    log_density: PerExample


def bin_nats(dims: int, pixel_levels: int, gamma_0: Scalar) -> Scalar:
    """Nats to add to -log p(z_0) for -log of the density of z_0 / α_0 on the axis on which a pixel's bin has width 1.

    -d ln(2 α_0 / V). With it, densities are in the units of the pixels' probabilities, and so are bits/dim.
    """
    return -dims * (0.5 * jax.nn.log_sigmoid(-gamma_0) + math.log(2.0 / pixel_levels))


def uniform(x: Images, pixel_levels: int, gamma_0: Scalar, u: Images) -> Dequantised:
    """Dequantisation by x̃ uniform on the pixel's bin."""
    z_0 = alpha(gamma_0) * (x + 2.0 / pixel_levels * (u - 0.5))
    nats = bin_nats(x[0].size, pixel_levels, gamma_0)
    return Dequantised(z_0, nats, jnp.broadcast_to(nats, len(x)))


def truncated_normal(x: Images, pixel_levels: int, gamma_0: Scalar, u: Images) -> Dequantised:
    """Dequantisation by z_0 = α_0 x + σ_0 ε, ε normal within ±τ = ±e^(-γ_0/2) / V, half a bin (arXiv 2305.03935).

    Up to the tails this is the distribution that the model was trained on at γ_0. Per dimension
    ln q(z_0) = -½ ε² - ½ ln 2π - ln Z - ln σ_0 with Z = erf(τ/√2).
    """
    tau = jnp.exp(-0.5 * gamma_0) / pixel_levels
    # From the middle outwards: the distribution function would lose its digits in the upper tail.
    inside = jax.scipy.special.erf(tau / math.sqrt(2.0))
    eps = jnp.clip(math.sqrt(2.0) * jax.scipy.special.erfinv((2.0 * u - 1.0) * inside), -tau, tau)
    log_sigma, dims = 0.5 * jax.nn.log_sigmoid(gamma_0), x[0].size
    log_density = -0.5 * sum_dims(jnp.square(eps)) - dims * (
        0.5 * math.log(2.0 * math.pi) + jnp.log(inside) + log_sigma
    )
    return Dequantised(
        alpha(gamma_0) * x + sigma(gamma_0) * eps, -dims * (log_sigma + truncated_entropy(tau)), log_density
    )


def truncated_entropy(tau: AnyShape) -> AnyShape:
    """Entropy in nats of a standard normal within ±τ: ½ ln(2πe) + ln Z - τ φ(τ) / Z with Z = erf(τ/√2).

    It is ½ ln(2πe) - 0.01522 at the published γ_0 = -13.3 and V = 256 (arXiv 2305.03935), and ln 2τ at small τ.
    """
    inside = jax.scipy.special.erf(tau / math.sqrt(2.0))
    density = jnp.exp(-0.5 * jnp.square(tau)) / math.sqrt(2.0 * math.pi)
    return 0.5 * math.log(2.0 * math.pi * math.e) + jnp.log(inside) - tau * density / inside


# (x, the centres of the pixels' bins [B, ...], V, γ_0, u ~ U(0, 1) [B, ...]) -> a draw within the bins.
DEQUANTISATIONS: dict[str, Callable[[Images, int, Scalar, Images], Dequantised]] = {
    "uniform": uniform,
    "truncated_normal": truncated_normal,
}

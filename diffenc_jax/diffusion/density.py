"""Likelihoods of real-valued images x, and their gradients with respect to x, for which pixels must not be integers.

Both functions are in nats per example and smooth in x, the pixels' values in [-1, 1]:

`ode` is -log p(x) under the probability flow, with the density p(x) = α_0^d p(z_0) at z_0 = α_0 x.

`bound` leaves out the reconstruction term, which is defined for whole pixels. What is left,

  latent + diffusion = KL(q(z_0 .. z_1 | x) ‖ p(z_0 .. z_1)),

is with the entropy of q(z_0 | x) = N(α_0 x_0, σ_0² e^(2 ρ_0)) a bound on the density of z_0 under the generative model:

  E_q(z_0|x) [-log p(z_0)] <= latent + diffusion + d/2 ln(2πe σ_0²) + Σ ρ_0,

since -log p(z_0) <= E_r ln[r(z) / p(z_0, z)] for every distribution r of the later z, such as q(z | z_0, x). ρ is 0
unless the encoder scales the noise (affine.py). A γ of its own per dimension is γ_0 at the data for all of them, and
a code's cost is in the latent term, since p(z_0) >= p(c) p(z_0 | c).
So it bounds -log p at x, averaged over the noise that the data have at γ_0; the published γ_0 = -13.3 is a noise of
0.166 of a bin. The bound differs from `ode` by d ln α_0 and by the models: that of the generative steps, and the flow.
At infinite depth, for x_t = x, the exact denoiser and q(z_1) = N(0, I) it is an equality, with p(z_0) = q(z_0).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffenc_jax.core.streams import gaussian, signs, uniform
from diffenc_jax.diffusion.arrays import Images, PerExample
from diffenc_jax.diffusion.flow import Solver
from diffenc_jax.diffusion.gaussian import alpha, sum_dims
from diffenc_jax.diffusion.likelihood import DIVERGENCES, Probes, likelihood_of
from diffenc_jax.diffusion.losses import errors_at, latent
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.steps import Place, Steps
from diffenc_jax.diffusion.times import antithetic

SOLVER = Solver(1e-4, 1e-4)


class Gradient(NamedTuple):
    """Nats per example [B], and their gradient with respect to each image [B, ...]."""

    nats: PerExample
    gradient: Images


def bound(process: Process, x: Images, key: jax.Array, steps: Steps | None = None) -> PerExample:
    """One unbiased estimate of the bound on -log p(z_0) for each image, with times and noise drawn from `key`.

    Args:
      x: values [B, ...] of the pixels.
      steps: the steps at finite depth; None for infinite depth.
    """
    key_t, key_eps = jax.random.split(key)
    t = antithetic(uniform(key_t), len(x))
    return bound_at(process, x, process.place(t, steps), gaussian(key_eps, x.shape))


def bound_at(process: Process, x: Images, place: Place, eps: Images) -> PerExample:
    """`bound` at given places on the path and with given noise [B, ...] of z_t."""
    gamma_0, gamma_1 = process.endpoints
    data_end, noise_end = (process.encoder.encode(x, jnp.full(len(x), gamma)) for gamma in process.endpoints)
    entropy = 0.5 * x[0].size * (math.log(2.0 * math.pi * math.e) + jax.nn.log_sigmoid(gamma_0))
    if data_end.log_std is not None:
        entropy += sum_dims(data_end.log_std)
    at_noise = latent(noise_end.x_t, gamma_1, noise_end.log_std, process.code_nats)
    return at_noise + place.loss(errors_at(process, place, x, eps)) + entropy


def ode(
    process: Process,
    x: Images,
    key: jax.Array,
    *,
    divergence: str = "hutchinson",
    num_probes: int = 1,
    solver: Solver = SOLVER,
) -> PerExample:
    """-log p(x) under the probability flow; an unbiased estimate with `hutchinson`, with probes drawn from `key`.

    NaN where the solver gave up. Raises InputError if the process estimates no slope, see `flow.flow_of`. It can be
    differentiated in forward mode, and in reverse mode if `solver.reverse_mode` is set, as `ode_gradient` does.

    Args:
      x: values [B, ...] of the pixels.
      divergence: a name in `likelihood.DIVERGENCES`.
      num_probes: number of probes per image.
    """
    drawn = signs(key, (len(x), num_probes, *x.shape[1:])).astype(x.dtype)
    gamma_0, _ = process.endpoints
    found = likelihood_of(process, alpha(gamma_0) * x, Probes(DIVERGENCES[divergence], drawn), solver)
    return found.total - 0.5 * x[0].size * jax.nn.log_sigmoid(-gamma_0)


def bound_gradient(process: Process, x: Images, key: jax.Array, steps: Steps | None = None) -> Gradient:
    """`bound` and its gradient with respect to x, an unbiased estimate of that of the bound."""
    return _gradient(partial(bound, process, key=key, steps=steps), x)


def ode_gradient(
    process: Process,
    x: Images,
    key: jax.Array,
    *,
    divergence: str = "hutchinson",
    num_probes: int = 1,
    solver: Solver = SOLVER,
) -> Gradient:
    """`ode` and its gradient with respect to x, by reverse-mode differentiation through the solver's steps.

    With `hutchinson` it is an unbiased estimate of the gradient of -log p(x). Memory is that of the gradient of one
    step with its divergence, and of about 140 kept states z per image (`Solver.reverse_mode`). The solver need not have
    `reverse_mode` set. Raises InputError as `ode` does.
    """
    solver = solver._replace(reverse_mode=True)
    return _gradient(partial(ode, process, key=key, divergence=divergence, num_probes=num_probes, solver=solver), x)


def _gradient(nats: Callable[[Images], PerExample], x: Images) -> Gradient:
    """The value and the gradient of each example, none of which depends on another's x."""
    value, pull_back = jax.vjp(nats, x)
    return Gradient(value, pull_back(jnp.ones_like(value))[0])

"""log p of given data, as a function for samplers and optimisers."""

import jax.numpy as jnp

from diffenc_jax.diffusion.arrays import Images, PerExample
from diffenc_jax.diffusion.flow import Solver, likelihood_of
from diffenc_jax.diffusion.process import Process

SOLVER = Solver(1e-5, 1e-5, reverse=True)


def log_prob(process: Process, x: Images, solver: Solver = SOLVER) -> PerExample:
    """log p(x), nats per example [B], of the density of the probability flow at γ_0, mapped back by 1/α_0.

    It has no noise, and is differentiable by `jax.grad`: the gradient is that of the solver's steps. An example's value
    depends on its batch only through the size of the compiled program, by less than the solver's error. It is NaN where
    the solver gave up. The divergence takes one derivative per dimension.

    Args:
      process: a process with a decoder of real numbers, bound to a condition if it has one.
      x: [B, ...] in the units of the data.

    Raises:
      ValueError: the decoder is for whole numbers.
      InputError: x is not of the process's shape, or has not as many examples as the process has conditions; or the
        process estimates no slope, see `flow.flow_of`.
    """
    process.check(x)
    decoder = process.decoder
    if not decoder.takes_reals:
        raise ValueError("only real numbers have a density; evaluate whole numbers with Run.log_prob")
    point = decoder.on_flow(jnp.asarray(decoder.standard.apply(x)), process.endpoints[0], "", x)
    return -likelihood_of(process, point.z_0, None, solver).total - point.nats

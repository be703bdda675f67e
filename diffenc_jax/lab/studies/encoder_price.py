"""The price of an encoder's drift: the cost of a moving mean x_t in the bound of a Markov model at infinite depth.

With exact denoisers the bound along any path q(z_t | x) = N(α_t x_t, σ_t² I) exceeds the entropy of the data by two
terms at the ends of the path and by

  ∫ ½ e^(-γ) E tr Cov(dx_t/dγ | z_γ) dγ  nats per example.

The trace is the smallest squared error of any prediction of dx_t/dγ from z_γ, so every predictor gives an upper bound
on the price. With slope = (dx_t/dγ) / σ_t² and its prediction ŝ(z_γ) the rate per unit of γ is

  ½ e^(-γ) σ_t⁴ ‖slope - ŝ‖² = ½ α_t² σ_t² ‖slope - ŝ‖².

The output of the derivative head is ŝ. For a run without this head, a head is trained while all else is frozen.
"""

import dataclasses
import math
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffenc_jax.api import TrainedRun
from diffenc_jax.core.streams import at_step, gaussian, stream, uniform
from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.arrays import Images, PerExample
from diffenc_jax.diffusion.gaussian import diffuse, sum_dims
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.times import antithetic
from diffenc_jax.lab.studies.study import UNWATCHED, Watch
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.model.model import DERIVATIVE
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.parallel.sharding import check_batch, replicated

# The highest learning rate, after a warm-up over the first tenth of the steps; it falls to 0 as a cosine.
LEARNING_RATE = 1e-3


def model_rate(process: Process, x: Images, gamma: PerExample, eps: Images) -> PerExample:
    """The rate [B] of the model's own estimate of the slope at z_γ = α_t x_t + σ_t ε, nats per example."""
    x_t, slope, *_ = process.encoder.mean_and_slope(x, gamma)
    estimate = process.estimate(diffuse(x_t, gamma, eps)[0], gamma)
    error = slope - cast(jax.Array, process.slope(estimate, gamma))
    return 0.5 * jax.nn.sigmoid(-gamma) * jax.nn.sigmoid(gamma) * sum_dims(jnp.square(error))


def with_head(run: TrainedRun, steps: int, watch: Watch = UNWATCHED) -> TrainedRun:
    """`run` with a derivative head, trained for `steps` steps with all else frozen; `run` itself if it needs none.

    Args:
      steps: 0 trains no head and returns `run`.
      watch: context manager around the training, if there is any.
    """
    if run.model.estimates_slope or not steps:
        return run
    score = run.model.score.clone(extra_heads=(*run.model.score.extra_heads, DERIVATIVE))
    run = run.changed(model=dataclasses.replace(run.model, score=score))
    return run.changed(params=_joined(run.params, _trained(run, steps, watch)))


def _trained(run: TrainedRun, steps: int, watch: Watch) -> Params:
    """The head's parameters, which minimise the price in bits/dim by AdamW, without dropout."""
    seed = run.config.seed
    check_batch(run.mesh, run.config.train.batch_size, "train.batch_size")
    rate = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, steps // 10, steps)
    optimizer = optax.adamw(rate, b2=0.99, weight_decay=0.01)  # as published

    @jax.jit
    def step(head, state, params, batch, number):
        grads = jax.grad(partial(_loss, run.model, seed))(head, params, batch, number)
        updates, state = optimizer.update(grads, state, head)
        return optax.apply_updates(head, updates), state

    # Placed like the results of `step`, which is compiled again for arguments in another place.
    placed = partial(jax.jit, out_shardings=replicated(run.mesh))
    head = placed(lambda key: run.model.init(key)["score"][DERIVATIVE])(stream(seed, "head"))
    state = placed(optimizer.init)(head)
    batches = Batches(run.dataset.split(TRAIN).examples, run.config, run.mesh)
    with watch("derivative head", steps) as on_step:
        for number in range(steps):
            head, state = step(head, state, run.params, batches(number), np.int32(number))
            jax.block_until_ready(head)
            on_step()
    return head


def _loss(model: Model, seed: int, head: Params, params: Params, batch: Batch, number: jax.Array) -> jax.Array:
    """An unbiased estimate of the price in bits/dim, with γ spread evenly over the batch."""
    keys = [at_step(seed, name, number) for name in ("head time", "head noise")]
    process, pixels = bind_to(model, _joined(params, head), batch), batch.data
    low, high = process.endpoints
    gamma = low + (high - low) * antithetic(uniform(keys[0]), len(pixels))
    rates = model_rate(process, process.decoder.values(pixels), gamma, gaussian(keys[1], pixels.shape))
    return (high - low) * jnp.mean(rates) / (model.spec.dims * math.log(2))


def _joined(params: Params, head: Params) -> Params:
    return {**params, "score": {**params["score"], DERIVATIVE: head}}

"""The gradient of a batch, all at once or in parts that follow each other."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffenc_jax.diffusion.losses import Terms
from diffenc_jax.model import Model, Params
from diffenc_jax.train.draws import Draw


class Looked(NamedTuple):
    """What was seen of a batch on the way.

    Attributes:
      objective: [] what is minimised: bits/dim, and the second head's mean squared error.
      terms: nats by term, [B]; [E] at the end points.
      derivative: the second head's squared errors [B], summed over the dimensions; None without one.
      t: [B] the times, in the order of the terms, and
      weight: [B] that of each diffusion term and of the second head's error.
    """

    objective: jax.Array
    terms: Terms
    derivative: jax.Array | None
    t: jax.Array
    weight: jax.Array


def gradient(
    model: Model, params: Params, draw: Draw, dropout_key: jax.Array | None, parts: int, devices: int
) -> tuple[Looked, Params]:
    """The gradient of the mean bits/dim of a batch, as the mean over `parts` equal parts of the batch.

    Parts follow each other, so that the memory of one is enough. But for dropout, whose masks are drawn part by part,
    they change nothing but the order of summation. The batch is divided over `devices` in blocks, and a part takes as
    much of each block, so that every device works on every part.
    """
    if parts == 1:
        return _of_part(model, params, draw, dropout_key)

    def split(x):
        blocks = math.gcd(devices, len(x) // parts)
        return x.reshape(blocks, parts, -1, *x.shape[1:]).swapaxes(0, 1).reshape(parts, -1, *x.shape[1:])

    def add(total, part):
        draw, number = part
        looked, grads = _of_part(model, params, draw, jax.random.fold_in(dropout_key, number))
        return jax.tree.map(jnp.add, total, grads), looked

    # A loop's convolutions run on one thread of a CPU; where layers are unrolled for that, so are parts.
    unroll = 1 if model.score.scan else parts
    each = jax.tree.map(split, draw), jnp.arange(parts)
    total, looked = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), each, unroll=unroll)
    objective = looked.objective.mean()
    looked = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), looked._replace(objective=objective[None, None]))
    return looked._replace(objective=objective), jax.tree.map(lambda x: x / parts, total)


def _of_part(model: Model, params: Params, draw: Draw, dropout_key: jax.Array | None) -> tuple[Looked, Params]:
    pixels, noise, weight, at_ends = draw

    def loss(params: Params, at: Any = None):
        terms, derivative = model.terms_and_derivative(params, pixels, noise, dropout_key, at, at_ends)
        objective = terms.weighted(weight).means().total / (model.spec.dims * math.log(2))
        if derivative is not None:
            objective += jnp.mean(weight * derivative) / model.spec.dims
        return objective, Looked(objective, terms, derivative, noise.t, weight)

    if model.loss.depth is None and model.schedule.interior:
        return _with_interior_on_variance(model, loss, params, noise.t)
    (_, looked), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return looked, grads


def _with_interior_on_variance(model: Model, loss: Callable, params: Params, t: jax.Array) -> tuple[Looked, Params]:
    """The loss and its gradient, with that of E[diffusion²] for the schedule's interior.

    arXiv 2107.00630, appendix I.2.
    The bound at infinite depth does not depend on the interior, so its square's mean tells its
    variance. An example's loss ℓ sees the schedule through its own γ_t and γ'(t) alone, so the
    cotangents of those serve both: times 2 ℓ they are those of ℓ², and the networks are run and
    differentiated once.
    """
    at, pull = jax.vjp(lambda schedule: model.at(params | {"schedule": schedule}, t), params["schedule"])
    (_, looked), (grads, by_place) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, at)
    weight = 2.0 * looked.terms.diffusion / (model.spec.dims * math.log(2))
    (on_bound,), (on_variance,) = pull(by_place), pull(jax.tree.map(lambda cotangent: cotangent * weight, by_place))
    schedule = jax.tree.map(jnp.add, grads["schedule"], on_bound)
    schedule |= {name: on_variance[name] for name in model.schedule.interior}
    return looked, grads | {"schedule": schedule}

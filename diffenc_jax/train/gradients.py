"""The random inputs of a training step, and the gradient of the objective, at once or accumulated over parts."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.losses import EndpointData, Noise, Terms, bound_at
from diffenc_jax.model import Model, Params, bind_to


class StepInputs(NamedTuple):
    """A batch of images and everything random about it.

    Attributes:
      batch: the images.
      noise: times and Gaussian noise; its `eps_0` belongs to the end points.
      weight: [B] weight of the diffusion terms and of the slope errors: 1/q(t) for times drawn with density q.
      dropout_key: key of the dropout masks, by which additional heads know that they are trained; None switches
        dropout off.
      endpoints: the E images whose end-point terms are evaluated; None stands for all images.
    """

    batch: Batch
    noise: Noise
    weight: jax.Array
    dropout_key: jax.Array | None
    endpoints: Batch | None = None

    def split(self, parts: int, blocks: int) -> "StepInputs":
        """`parts` equal parts of the batch, stacked along a new leading axis, each with its own dropout key.

        The batch lies in `blocks` contiguous blocks, one per device. Each part takes the same share of every block, so
        that all devices work on all parts.
        """

        def split_rows(x):
            shared = math.gcd(blocks, len(x) // parts)
            return x.reshape(shared, parts, -1, *x.shape[1:]).swapaxes(0, 1).reshape(parts, -1, *x.shape[1:])

        assert self.dropout_key is not None
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self.dropout_key, jnp.arange(parts))
        return jax.tree.map(split_rows, self._replace(dropout_key=None))._replace(dropout_key=keys)


def every_kth(batch: Batch, k: int, first: jax.Array) -> Batch | None:
    """Rows `first`, `first` + k, ... of a batch; None, which stands for all rows, if k is 1. k divides B."""
    if k == 1:
        return None

    def rows(x):
        return jax.lax.dynamic_index_in_dim(x.reshape(-1, k, *x.shape[1:]), first, axis=1, keepdims=False)

    return jax.tree.map(rows, batch)


class StepOutputs(NamedTuple):
    """Values computed on the way to a gradient.

    Attributes:
      objective: [] the minimised value: bits/dim, plus the losses of additional heads in nats per dimension.
      terms: the bound in nats per example, [B] or, for the two end-point terms, [E].
      t: [B] the times, in the order of `terms`.
      weight: [B] the weight of each diffusion term and loss of a head.
    """

    objective: jax.Array
    terms: Terms
    t: jax.Array
    weight: jax.Array


def learns_interior(model: Model) -> bool:
    """Whether the schedule has parameters that are trained on the variance of the loss."""
    return model.loss.depth is None and bool(model.schedule.interior)


def gradient(model: Model, params: Params, inputs: StepInputs) -> tuple[StepOutputs, Params]:
    """Gradient of the objective of a batch (see `StepOutputs.objective`), except for the schedule's interior.

    At infinite depth the schedule's interior gets the gradient of the loss's second moment instead.
    """

    def loss(params: Params, point: Any) -> tuple[jax.Array, StepOutputs]:
        process = bind_to(model, params, inputs.batch, inputs.dropout_key)
        ends = inputs.endpoints and EndpointData(inputs.endpoints.data, model.condition(params, inputs.endpoints))
        terms = bound_at(process, inputs.batch.data, process.warped(point), inputs.noise, ends)
        means = jax.tree.map(jnp.mean, terms.weighted(inputs.weight))
        objective = means.total / (model.spec.dims * math.log(2))
        for name in model.separate_losses:
            objective += means.head_losses[name] / model.spec.dims
        return objective, StepOutputs(objective, terms, inputs.noise.t, inputs.weight)

    if learns_interior(model):
        return _gradient_with_interior(model, loss, params, inputs.noise.t)
    value_and_grad = jax.value_and_grad(lambda params: loss(params, model.point(params, inputs.noise.t)), has_aux=True)
    (_, outputs), grads = value_and_grad(params)
    return outputs, grads


def accumulated_gradient(model: Model, params: Params, parts: StepInputs) -> tuple[StepOutputs, Params]:
    """Mean of `gradient` over parts of a batch, computed one after another, see `StepInputs.split`.

    The result is the gradient of the whole batch, except for the dropout masks and the order of summation. The outputs
    cover the whole batch, in the order of the parts.
    """

    def add(total, part):
        outputs, grads = gradient(model, params, part)
        return jax.tree.map(jnp.add, total, grads), outputs

    count = len(parts.batch.data)
    zeros = jax.tree.map(jnp.zeros_like, params)
    total, outputs = jax.lax.scan(add, zeros, parts, unroll=1 if model.score.compute.scan else count)
    joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs._replace(objective=None))
    return joined._replace(objective=outputs.objective.mean()), jax.tree.map(lambda x: x / count, total)


def _gradient_with_interior(model: Model, loss: Callable, params: Params, t: jax.Array) -> tuple[StepOutputs, Params]:
    """Gradient of `loss`, and of the mean of diffusion² for the schedule's interior.

    arXiv 2107.00630, appendix I.2. The bound at infinite depth does not depend on the interior, so the second moment
    of the loss has the gradient of its variance. The loss ℓ of an example depends on the interior only through its own
    γ_t and γ'(t). Their cotangents therefore serve both gradients: the cotangents of ℓ² are 2 ℓ times the cotangents of
    ℓ, and the networks are run and differentiated once.
    """
    point, pull_back = jax.vjp(lambda schedule: model.point(params | {"schedule": schedule}, t), params["schedule"])
    (_, outputs), (grads, cotangents) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, point)
    scale = 2.0 * outputs.terms.diffusion / (model.spec.dims * math.log(2))
    (of_bound,) = pull_back(cotangents)
    (of_variance,) = pull_back(jax.tree.map(lambda cotangent: cotangent * scale, cotangents))
    schedule = jax.tree.map(jnp.add, grads["schedule"], of_bound)
    schedule |= {name: of_variance[name] for name in model.schedule.interior}
    return outputs, grads | {"schedule": schedule}

"""`Model`: a generative model with its encoder, as pure functions of parameters."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from diffenc_jax.config.sections import IMAGE, LEARNED, LEARNED_ERROR, LossConfig
from diffenc_jax.core.errors import require
from diffenc_jax.core.streams import gaussian
from diffenc_jax.data.images import Batch
from diffenc_jax.data.spec import DataSpec
from diffenc_jax.diffusion.arrays import Gammas, Images
from diffenc_jax.diffusion.codes import LatentCode
from diffenc_jax.diffusion.decoders import Decoder, Levels
from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.diffusion.gaussian import Prediction
from diffenc_jax.diffusion.losses import Noise
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.ratios import ByErrorHead, Table
from diffenc_jax.diffusion.reverse import Extrapolated, ThroughEncoder
from diffenc_jax.diffusion.schedules import Schedule
from diffenc_jax.diffusion.steps import PathPoint, Steps
from diffenc_jax.nets.network import ScoreNetwork

Params = Any
# Additional heads of a score network, and the losses that they are trained on.
DERIVATIVE, ERROR = "derivative", "error"
HEAD_LOSS = {DERIVATIVE: "slope_error", ERROR: "error_score"}
# Limit of |ln V| of the error head, so that a ratio is neither 0 nor infinite.
LARGEST_LOG_ERROR = 30.0
# Number folded into a key for the code.
CODE = 2**32 - 1


@dataclass(frozen=True)
class Model:
    """A generative model with its encoder. `bind` gives it parameters and makes the `Process` that losses take.

    Attributes:
      spec: the images.
      schedule: linen module t -> γ.
      score: the score network.
      encoder: the encoder, with a linen module as its network where it has one.
      decoder: what the data are, and how probable they are given z_0.
      to_velocity: v̂ from what the score network estimates: (z_t, estimate, γ [B]) -> v̂.
      extrapolation: what the generative model assumes of the encoder's drift where x̂ estimates x_t.
      target: the image that x̂ estimates, 'encoded' or 'image'; see `diffusion/reverse.py`.
      loss: the depth and the ratio of variances of training.
      labels: whether the networks are conditioned on the images' labels.
      augmentation_flags: number F of the flags of an augmentation that the networks are conditioned on.
      code: the latent code of the images; None without one.
    """

    spec: DataSpec
    schedule: Schedule
    score: ScoreNetwork
    encoder: Encoder
    decoder: Decoder
    to_velocity: Callable[[Images, Images, Gammas], Images]
    extrapolation: Extrapolated
    target: str
    loss: LossConfig
    labels: bool = False
    augmentation_flags: int = 0
    code: LatentCode | None = None

    @property
    def gamma_range(self) -> tuple[float, float]:
        """γ at the ends of the networks' time input."""
        return self.schedule.gamma_min, self.schedule.gamma_max

    @property
    def has_derivative_head(self) -> bool:
        """Whether the score network has a second head that estimates (dx_t/dγ) / σ_t²."""
        return DERIVATIVE in self.score.extra_heads

    @property
    def estimates_slope(self) -> bool:
        """Whether (dx_t/dγ) / σ_t² given z_t is estimated: by a derivative head, or because x̂ determines it."""
        return self.target == IMAGE or self.encoder.has_slope or self.has_derivative_head

    @property
    def head_losses(self) -> tuple[str, ...]:
        """Names of the losses of the score network's heads, in `Terms.head_losses`."""
        return tuple(HEAD_LOSS[name] for name in self.score.extra_heads)

    @property
    def separate_losses(self) -> tuple[str, ...]:
        """The `head_losses` that are minimised beside the bound, without the loss of a head that the bound trains."""
        by_bound = HEAD_LOSS[ERROR] if self.loss.variance_ratio == LEARNED_ERROR else None
        return tuple(name for name in self.head_losses if name != by_bound)

    def with_dtype(self, name: str) -> "Model":
        """The model with the blocks of its networks computing in the dtype `name`."""

        def changed(network: Any) -> Any:
            return network.clone(compute=dataclasses.replace(network.compute, dtype=getattr(jnp, name)))

        encoder = self.encoder
        if encoder.network_kind:
            encoder = encoder.bound(changed(encoder.network))
        return dataclasses.replace(self, score=changed(self.score), encoder=encoder)

    def init(self, key: jax.Array) -> Params:
        """Initial float32 parameters {'score', 'schedule', and 'encoder', 'code' and 'ratio' where there is one}."""
        keys = jax.random.split(key, 3)
        x, t = jnp.zeros((1, *self.spec.shape), jnp.float32), jnp.zeros(1, jnp.float32)
        code = jnp.zeros((1, self.code.units), jnp.float32) if self.code else None
        batch = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), self.batch_shapes(1))
        given = self._given(self.condition({}, batch, code=code))
        warp: Any = {"code": code, "method": "warp"} if self.schedule.per_dimension else {}
        parts = {"score": self.score.init(keys[0], x, t, **given), "schedule": self.schedule.init(keys[1], t, **warp)}
        if self.encoder.network_kind:
            parts["encoder"] = self.encoder.network.init(keys[2], x, t, **given)
        if self.code:
            parts["code"] = self.code.network.init(jax.random.fold_in(key, CODE), x)
        params = {name: variables.get("params", {}) for name, variables in parts.items()}
        if self.loss.variance_ratio == LEARNED:
            params["ratio"] = {"log": jnp.zeros(self.loss.depth, jnp.float32)}
        return params

    def batch_shapes(self, size: int) -> Batch:
        """ShapeDtypeStructs of a batch of `size` images."""
        spec, shaped = self.spec, jax.ShapeDtypeStruct
        of = spec.label_spec
        labels = shaped((size, *(of.shape or ())), jnp.float32 if of.standard else jnp.uint8 if of.shape else jnp.int32)
        return Batch(shaped((size, *spec.shape), spec.dtype), labels if self.labels else None)

    def batch(self, data: Any, labels: Any = None) -> Batch:
        """A batch of data with their labels, checked.

        Raises InputError unless these are data of `spec`, and labels are given if and only if the model takes them.
        """
        data = self.spec.checked(data)
        return Batch(data, self.checked_labels(labels, len(data)))

    def checked_labels(self, labels: Any, count: int | None = None) -> np.ndarray | None:
        """Labels of `count` images, by default of any number.

        Raises InputError if they do not fit, are missing, or the model takes none.
        """
        wanted = "the model is conditioned on labels; give labels" if self.labels else "the model takes no labels"
        require(self.labels == (labels is not None), wanted)
        return None if labels is None else self.spec.labels(labels, count)

    def label_inputs(self, labels: Any) -> jax.Array:
        """Inputs [B, spec.label_size] of labels: one-hot vectors of classes, or the values of images or vectors."""
        of = self.spec.label_spec
        if of.standard:
            return labels
        if of.shape:
            return Levels(self.spec.levels).values(labels).reshape(len(labels), -1)
        return jax.nn.one_hot(labels, of.classes, dtype=jnp.float32)

    def condition(
        self, params: Params, batch: Batch, dropout_key: jax.Array | None = None, code: jax.Array | None = None
    ) -> jax.Array | None:
        """The condition [B, K] of a batch; None for a model without one.

        It consists of `label_inputs`, the flags of the augmentation, which are zero for images without one,
        and the code: the given one, or else `code_of` the images.
        """
        parts = []
        if self.labels:
            parts.append(self.label_inputs(batch.labels))
        if self.augmentation_flags:
            flags = batch.augmentation
            parts.append(self.no_augmentation(len(batch.data)) if flags is None else flags)
        if self.code:
            parts.append(self.code_of(params, batch.data, dropout_key) if code is None else code)
        return jnp.concatenate(parts, axis=1) if parts else None

    def code_of(self, params: Params, data: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
        """The code [B, n] of data, for a model with codes; with a dropout key it is drawn, as in training."""
        assert self.code is not None
        network: Callable = partial(self.code.network.apply, {"params": params["code"]})
        x = self.decoder.values(data)
        if dropout_key is None:
            return self.code.best(network(x))
        net_key, draw_key = jax.random.split(jax.random.fold_in(dropout_key, CODE))
        return self.code.drawn(network(x, net_key), draw_key)

    def no_augmentation(self, size: int) -> jax.Array:
        """Flags [B, F] of `size` images without augmentation."""
        return jnp.zeros((size, self.augmentation_flags), jnp.float32)

    def bind(self, params: Params, dropout_key: jax.Array | None = None, condition: jax.Array | None = None) -> Process:
        """The process with these parameters; with a dropout key, its networks drop and stop gradients as in training.

        With the `condition` of a batch it is a process for this batch. Without one, a conditioned model gives only its
        schedule: its networks raise ValueError. Raises InputError for a condition of another shape.
        """
        if condition is not None:
            shape, size = condition.shape, self.score.conditions
            require(shape[1:] == (size,), f"a condition must be [B, {size}]; this one is {list(shape)}")
        keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
        schedule, encoder = partial(self.schedule.apply, {"params": params["schedule"]}), self.encoder
        if encoder.network_kind:
            encoder = encoder.bound(self._network(encoder.network, params["encoder"], keys[0], condition))

        def warp(gamma):
            code = self._given(condition)["condition"][:, -self.code.units :] if self.code else None
            return jnp.asarray(schedule(gamma, code, method="warp"))

        return Process(
            encoder=encoder,
            predict=self._predict(self._network(self.score, params["score"], keys[1], condition)),
            gamma=lambda t: jnp.asarray(schedule(jnp.asarray(t, jnp.float32))),
            assumption=ThroughEncoder() if self.target == IMAGE else self.extrapolation,
            decoder=self.decoder,
            condition=condition,
            warp=warp if self.schedule.per_dimension else None,
            rebind=partial(self.bind, params, dropout_key),
            code_nats=self.code.nats if self.code else 0.0,
            shape=self.spec.shape,
        )

    def point(self, params: Params, t: jax.Array) -> PathPoint:
        """The points at times t [B]: instants, or steps of the finite depth `loss.depth`; one γ for all dimensions."""
        if self.loss.depth is None:
            return self.bind(params).instant(t)
        return self.steps(params, self.loss).at(t)

    def steps(self, params: Params, loss: LossConfig) -> Steps:
        """`loss.depth` steps of equal length in t. A ratio that is to be fitted is 1."""
        if loss.depth is None:
            raise ValueError("infinite depth has no steps")
        process = self.bind(params)
        if loss.variance_ratio == LEARNED:
            return process.uniform_steps(loss.depth)._replace(ratio=Table(jnp.exp(params["ratio"]["log"])))
        if loss.variance_ratio == LEARNED_ERROR:
            return process.uniform_steps(loss.depth)._replace(ratio=ByErrorHead())
        return process.uniform_steps(loss.depth, 1.0 if loss.is_ratio_fitted else float(loss.variance_ratio))

    def draw_noise(self, key: jax.Array, t: jax.Array, num_endpoints: int | None = None) -> Noise:
        """Gaussian noise at times t [B], and at the end points of `num_endpoints` images; None for all images."""
        key_0, key_t = jax.random.split(key)
        batch, shape = t.shape[0], self.spec.shape
        eps_0 = gaussian(key_0, (batch if num_endpoints is None else num_endpoints, *shape))
        return Noise(t, eps_0, gaussian(key_t, (batch, *shape)))

    def check_depth(self, key: str, depth: int | None) -> None:
        """Raises InputError if `depth`, the value of the configuration's `key`, makes steps too short for float32."""
        low, high = self.gamma_range
        # Eight times the spacing of float32 numbers near the larger end: steps need not be equally long.
        most = int((high - low) / (8 * np.finfo(np.float32).eps * max(-low, high)))
        steps = f"{key}={depth} steps between γ = {low:.4g} and {high:.4g}"
        require(depth is None or depth <= most, f"{steps} are too short for float32; take at most {most}")

    def check_flow(self) -> None:
        """Raises InputError unless the networks determine a probability-flow ODE.

        Without a derivative head the slope of an encoder network's x_t given z_t is not known.
        """
        none = "the score network of a trainable encoder determines no probability-flow ODE without a derivative head"
        train = "train with --config.model.derivative_head=True or --config.model.target=image"
        others = "evaluate the bound (eval.estimator=bound) and draw by steps (sample.sampler=ancestral)"
        require(self.estimates_slope, f"{none}; {train}, or {others}")

    def _predict(self, network: Callable) -> Callable[..., Prediction]:
        """(z_t, γ [B]) -> the prediction: the score network's output on top of z_t, converted to v̂.

        The error head's output is bounded, ln V = L tanh(output / L) with L = `LARGEST_LOG_ERROR`.
        """

        def predict(z_t, gamma):
            has_heads = bool(self.score.extra_heads)
            output, heads = network(z_t, gamma, with_heads=True) if has_heads else (network(z_t, gamma), {})
            log_error = heads.get(ERROR)
            if log_error is not None:
                log_error = LARGEST_LOG_ERROR * jnp.tanh(log_error / LARGEST_LOG_ERROR)
            return Prediction(self.to_velocity(z_t, z_t + output, gamma), heads.get(DERIVATIVE), log_error)

        return predict

    def _network(
        self, net: nn.Module, params: Params, dropout_key: jax.Array | None, condition: jax.Array | None
    ) -> Callable:
        low, high = self.gamma_range

        def apply(x, gamma, **options):
            gamma = gamma.reshape(len(gamma), -1).mean(axis=1) if gamma.ndim > 1 else gamma
            # The time embedding multiplies rounding by 1000, most of all in dy/dγ. The barrier hides the constant from
            # compilers, which would replace the division by a product with a rounded reciprocal.
            span = jax.lax.optimization_barrier(jnp.asarray(high - low, gamma.dtype))
            options |= self._given(condition)
            return net.apply({"params": params}, x, (gamma - low) / span, dropout_key, **options)

        return apply

    def _given(self, condition: jax.Array | None) -> dict[str, Any]:
        """Arguments of the networks besides image, time and dropout key, by name."""
        if not self.score.conditions:
            return {}
        if condition is None:
            raise ValueError("the model is conditioned; bind it with the condition of a batch")
        return {"condition": condition}


def bind_to(model: Model, params: Params, batch: Batch, dropout_key: jax.Array | None = None) -> Process:
    """The process with these parameters for the images of a batch, given their condition.

    With a dropout key its networks drop and its codes are drawn, as in training.
    """
    return model.bind(params, dropout_key, model.condition(params, batch, dropout_key))

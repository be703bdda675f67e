"""`build`: configuration and data -> Model. The only place where the parts meet."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from diffenc_jax.config import LEARNED, require, unpack
from diffenc_jax.diffusion import decoder, importance_weighted, losses
from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.diffusion.flow import Flow, velocity
from diffenc_jax.diffusion.gaussian import PREDICTIONS, image_from_velocity
from diffenc_jax.diffusion.losses import Noise, Terms
from diffenc_jax.diffusion.schedules import SCHEDULES, gamma_min_for
from diffenc_jax.diffusion.steps import EXTRAPOLATIONS, Extrapolation, Instant, Step, Steps, still
from diffenc_jax.errors import lookup
from diffenc_jax.nets.unet import UNet
from diffenc_jax.networks import ComputeConfig, build_encoder, build_network, computing_in
from diffenc_jax.streams import gaussian

Params = Any
# Of γ, either way. A single step from one end to the other may cost e^(3 · 25) nats a dimension; float32 ends at e^88.
GAMMA_LIMIT = 25


@dataclass(frozen=True)
class ImageSpec:
    """What a model must know of its data: (height, width, channels) and the number of pixel levels."""

    shape: tuple[int, int, int]
    levels: int

    @property
    def dims(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Model:
    """The compared thing: a generative model with its encoder, as pure functions of parameters.

    `loss` says at which depth, and with what ratio of variances, it is trained and looked at.
    """

    spec: ImageSpec
    schedule: nn.Module
    score: UNet
    encoder_kind: type[Encoder]
    encoder_net: nn.Module | None
    time_range: tuple[float, float]
    prediction: str
    loss: "LossConfig"

    def computing_in(self, dtype: str) -> "Model":
        """The same, its networks' blocks computing in `dtype`, a name of `networks.DTYPES`."""
        score, encoder_net = (net and computing_in(net, dtype) for net in (self.score, self.encoder_net))
        return dataclasses.replace(self, score=score, encoder_net=encoder_net)

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters {'score', 'schedule', and 'encoder' and 'ratio' where there is one}, float32."""
        keys = jax.random.split(key, 3)
        x, t = jnp.zeros((1, *self.spec.shape), jnp.float32), jnp.zeros(1, jnp.float32)
        parts = {"score": self.score.init(keys[0], x, t), "schedule": self.schedule.init(keys[1], t)}
        if self.encoder_net is not None:
            parts["encoder"] = self.encoder_net.init(keys[2], x, t)
        params = {name: variables.get("params", {}) for name, variables in parts.items()}
        if self.loss.variance_ratio == LEARNED:
            params["ratio"] = {"log": jnp.zeros(self.loss.depth, jnp.float32)}
        return params

    def terms(
        self,
        params: Params,
        pixels: jax.Array,
        noise: Noise,
        dropout_key: jax.Array | None = None,
        at: Instant | Step | None = None,
        at_ends: jax.Array | None = None,
    ) -> Terms:
        """One unbiased estimate of the bound for uint8 [B, H, W, C], nats an example, [B] a term.

        `at`: the place on the path, if it is not where `noise.t` is by `self.at`. `at_ends`: uint8 [E, H, W, C], if
        the terms at the end points, [E], are not of all images.
        """
        return self._bound(losses.bound, self.predict_v, params, pixels, noise, dropout_key, at, at_ends)

    def terms_and_derivative(
        self,
        params: Params,
        pixels: jax.Array,
        noise: Noise,
        dropout_key: jax.Array | None = None,
        at: Instant | Step | None = None,
        at_ends: jax.Array | None = None,
    ) -> tuple[Terms, jax.Array | None]:
        """`terms`, and the squared error of the second head [B], summed over the dimensions; None where there is none.

        See `losses.bound_and_derivative`: the networks run once for both.
        """
        if not self.score.derivative:
            return self.terms(params, pixels, noise, dropout_key, at, at_ends), None
        both = losses.bound_and_derivative
        return self._bound(both, self.predict_both, params, pixels, noise, dropout_key, at, at_ends)

    def _bound(self, bound, predict, params, pixels, noise, dropout_key, at, at_ends):
        keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
        return bound(
            self.encoder(params, keys[0]),
            predict(params, keys[1]),
            self.ends(params),
            self.extrapolation,
            pixels,
            self.spec.levels,
            self.at(params, noise.t) if at is None else at,
            noise,
            at_ends,
        )

    def at(self, params: Params, t: jax.Array) -> Instant | Step:
        """Where times [B] are on the path at `loss.depth`: at an instant, or in a step."""
        return self.instant(params, t) if self.loss.depth is None else self.steps(params, self.loss).at(t)

    def instant(self, params: Params, t: jax.Array) -> Instant:
        """Where times [B] are on the path at infinite depth."""
        return Instant(*jax.jvp(self.gamma(params), (t,), (jnp.ones_like(t),)))

    def steps(self, params: Params, loss: "LossConfig") -> Steps:
        """`loss.depth` steps of equal length in t, with ratio 1 where that is to be fitted."""
        gamma = self.gamma(params)(jnp.arange(loss.depth + 1, dtype=jnp.float32) / loss.depth)
        if loss.variance_ratio == LEARNED:
            w = jnp.exp(params["ratio"]["log"])
        else:
            w = jnp.full(loss.depth, 1.0 if loss.variance_ratio in OPTIMAL else loss.variance_ratio, gamma.dtype)
        return Steps(gamma, w.reshape(loss.depth, *(1 for _ in self.spec.shape)))

    def check_depth(self, key: str, depth: int | None) -> None:
        """Raises InputError where so many steps, given by the configuration's `key`, are too short for float32."""
        low, high = self.time_range
        # The spacing of numbers near the larger end, eight times: steps need not be equally long.
        most = int((high - low) / (8 * np.finfo(np.float32).eps * max(-low, high)))
        require(
            depth is None or depth <= most,
            f"{key}={depth} steps between γ = {low:.4g} and {high:.4g} are too short for float32; take at most {most}",
        )

    @property
    def extrapolation(self) -> Extrapolation:
        """How the generative mean makes up for the encoder's drift over a step."""
        return EXTRAPOLATIONS[self.loss.extrapolation] if self.encoder_kind.drifts else still

    def draw_noise(self, key: jax.Array, t: jax.Array, at_ends: int | None = None) -> Noise:
        """The Gaussian draws that go with times [B]; for so many images at the end points, all by default."""
        key_0, key_t = jax.random.split(key)
        batch, shape = t.shape[0], self.spec.shape
        eps_0 = gaussian(key_0, (batch if at_ends is None else at_ends, *shape))
        return Noise(t, eps_0, gaussian(key_t, (batch, *shape)))

    def log_weight(
        self,
        params: Params,
        pixels: jax.Array,
        steps: Steps,
        eps_1: jax.Array,
        draw: Callable[[jax.Array], jax.Array],
    ) -> jax.Array:
        """ln w [B] of one path through `steps` for each of uint8 [B, H, W, C]; see diffusion/importance_weighted.py."""
        return importance_weighted.log_weight(
            self.encoder(params),
            self.predict_v(params),
            self.extrapolation,
            steps,
            decoder.pixel_values(pixels, self.spec.levels),
            lambda u: decoder.log_likelihood(u, pixels, steps.gamma[0], self.spec.levels),
            eps_1,
            draw,
        )

    def gamma(self, params: Params) -> Callable[[jax.Array], jax.Array]:
        """t -> γ."""
        return partial(self.schedule.apply, {"params": params["schedule"]})

    def ends(self, params: Params) -> tuple[jax.Array, jax.Array]:
        """γ_0 at the data and γ_1 at the noise, []."""
        gamma = self.gamma(params)
        return gamma(jnp.float32(0.0)), gamma(jnp.float32(1.0))

    def predict_v(self, params: Params, dropout_key: jax.Array | None = None) -> losses.PredictV:
        """(z_t, γ [B]) -> v̂: the network's output on top of z_t, taken as what `prediction` names."""
        network = self._network(self.score, params["score"], dropout_key)
        return lambda z_t, gamma: PREDICTIONS[self.prediction](z_t, z_t + network(z_t, gamma), gamma)

    def predict_both(self, params: Params, dropout_key: jax.Array | None = None) -> losses.PredictBoth:
        """(z_t, γ [B]) -> v̂ as `predict_v` gives it, and the second head's output ŝ."""
        network = self._network(self.score, params["score"], dropout_key, with_derivative=True)

        def predict(z_t, gamma):
            output, slope_hat = network(z_t, gamma)
            return PREDICTIONS[self.prediction](z_t, z_t + output, gamma), slope_hat

        return predict

    def check_flow(self) -> None:
        """Raises InputError unless the networks determine a probability-flow ODE.

        Without a second head that estimates it, the slope of an encoder network's x_t given z_t is not known.
        """
        require(
            self.score.derivative or not self.encoder_kind.needs_network,
            "a trainable encoder's score network alone determines no probability-flow ODE; "
            "train with --config.model.derivative_head=True, or evaluate the bound (eval.estimator=bound) and draw by "
            "steps (sample.sampler=ancestral)",
        )

    def flow(self, params: Params) -> Flow:
        """(z, γ [B]) -> dz/dγ of the probability-flow ODE; see `diffusion.flow.velocity`, and `check_flow`."""
        self.check_flow()
        k = float(self.encoder_kind.drifts)
        if self.score.derivative:
            predict = self.predict_both(params)
        else:
            predict = self._predict_both_without_network(params)
        return lambda z, gamma: velocity(z, *predict(z, gamma), k, gamma)

    def _predict_both_without_network(self, params: Params) -> losses.PredictBoth:
        """v̂, and the slope of encoders that have no network: 0 where x_t = x, -x_t where x_t = α_t² x."""
        predict_v, drifts = self.predict_v(params), self.encoder_kind.drifts

        def predict(z_t, gamma):
            v_hat = predict_v(z_t, gamma)
            return v_hat, -image_from_velocity(z_t, v_hat, gamma) if drifts else jnp.zeros_like(z_t)

        return predict

    def encoder(self, params: Params, dropout_key: jax.Array | None = None) -> Encoder:
        """The encoder with its network, if it has one, bound to `params`."""
        if self.encoder_net is None:
            return self.encoder_kind()
        return self.encoder_kind(self._network(self.encoder_net, params["encoder"], dropout_key))

    def _network(self, net: nn.Module, params: Params, dropout_key: jax.Array | None, **options: bool) -> Callable:
        low, high = self.time_range

        def apply(x, gamma):
            # The embedding multiplies this rounding by 1000, most of all in dy/dγ. Behind the barrier compilers see no
            # constant, and divide as written there instead of multiplying by a rounded reciprocal.
            span = jax.lax.optimization_barrier(jnp.asarray(high - low, gamma.dtype))
            time = (gamma - low) / span
            return net.apply({"params": params}, x, time, dropout_key, **options)

        return apply


@dataclass(frozen=True)
class ScheduleConfig:
    """`gamma_min` None: 0.166 of a bin, as published, whatever the number of levels."""

    kind: str
    gamma_min: float | None
    gamma_max: float


# What a table of best ratios has one entry for: the axes of a step's image over which it is shared.
OPTIMAL = {"optimal": (0, 1, 2), "optimal_channel": (0, 1), "optimal_pixel": ()}
TIMES = ("uniform", "optimal")


@dataclass(frozen=True)
class LossConfig:
    """`config.loss`: what is minimised, and what evaluation and sampling go by.

    Attributes:
      depth: number of steps; None for infinite depth.
      extrapolation: a name of `steps.EXTRAPOLATIONS`.
      variance_ratio: w = σ_Q² / σ_P²: a number; 'learned', one a step; or a name of `OPTIMAL`, a
        table fitted on training images after training, which itself goes by ratio 1.
      times: where steps begin and end: 'uniform' in t, or 'optimal', fitted after training too.
    """

    depth: int | None
    extrapolation: str
    variance_ratio: float | str
    times: str

    def __post_init__(self):
        lookup("extrapolation", self.extrapolation, EXTRAPOLATIONS)
        lookup("loss.times", self.times, dict.fromkeys(TIMES))
        ratio = self.variance_ratio
        known = f"a positive number, {LEARNED}, {', '.join(OPTIMAL)}"
        if isinstance(ratio, str):
            require(ratio == LEARNED or ratio in OPTIMAL, f"unknown loss.variance_ratio {ratio!r}; known: {known}")
        else:
            number = isinstance(ratio, int | float) and not isinstance(ratio, bool)
            require(number and 0 < ratio < math.inf, f"loss.variance_ratio must be {known}, not {ratio!r}")
        if self.depth is not None:
            require(self.depth >= 1, f"loss.depth must be at least 1, or none for infinite depth, not {self.depth}")
            return
        require(
            ratio == 1,
            f"loss.variance_ratio={ratio} needs a finite loss.depth: at infinite depth the ratio must be 1, since with "
            "any other w the bound diverges as (depth · dimensions / 2) (w - 1 - ln w)",
        )
        require(self.times == "uniform", "loss.times=optimal needs a finite loss.depth: infinite depth has no steps")

    @property
    def name(self) -> str:
        """'continuous', 'depth50', 'depth50-exponential-optimal_pixel-times': for the names of files."""
        if self.depth is None:
            return "continuous"
        parts = [f"depth{self.depth}"]
        if self.extrapolation != "linear":
            parts.append(self.extrapolation)
        if self.variance_ratio != 1:
            parts.append(
                self.variance_ratio if isinstance(self.variance_ratio, str) else f"ratio{self.variance_ratio:g}"
            )
        if self.times != "uniform":
            parts.append("times")
        return "-".join(parts)

    @property
    def fitted(self) -> bool:
        """Whether something is to be fitted on training images after training."""
        return self.variance_ratio in OPTIMAL or self.times == "optimal"


def build(config: ConfigDict, spec: ImageSpec, platform: str | None = None) -> Model:
    """The model that `config.model` and `config.loss` describe, for images of `spec`.

    `platform`: of the devices that it is to run on, 'cpu', 'gpu' or 'tpu'; None for those of this process.

    Raises:
      InputError: a value is unknown, impossible, or does not fit the images.
    """
    section = dict(config.model)
    schedule, time_range = _build_schedule(section.pop("schedule"), spec)
    score_config, encoder_config = section.pop("score"), section.pop("encoder")
    prediction = section.pop("prediction", None)
    lookup("model.prediction", prediction, PREDICTIONS)
    derivative = section.pop("derivative_head", False)
    given = unpack(ComputeConfig, section, "model").resolve(platform or jax.default_backend())
    given["pixel_levels"] = spec.levels

    encoder_kind, encoder_net = build_encoder(encoder_config, spec.shape, **given)
    require(isinstance(derivative, bool), f"model.derivative_head must be True or False, not {derivative!r}")
    require(
        encoder_kind.needs_network or not derivative,
        "model.derivative_head=True is for encoders with a network alone: of the others dx_t/dγ follows from x_t",
    )
    model = Model(
        spec=spec,
        schedule=schedule,
        score=build_network(UNet, score_config, "model.score", spec.shape, derivative=derivative, **given),
        encoder_kind=encoder_kind,
        encoder_net=encoder_net,
        time_range=time_range,
        prediction=prediction,
        loss=unpack(LossConfig, config.loss, "loss"),
    )
    model.check_depth("loss.depth", model.loss.depth)
    return model


def _build_schedule(section: ConfigDict, spec: ImageSpec) -> tuple[nn.Module, tuple[float, float]]:
    config = unpack(ScheduleConfig, section, "model.schedule")
    gamma_min = gamma_min_for(spec.levels) if config.gamma_min is None else config.gamma_min
    kind = lookup("schedule", config.kind, SCHEDULES)
    for name, gamma in (("gamma_min", gamma_min), ("gamma_max", config.gamma_max)):
        require(
            abs(gamma) <= GAMMA_LIMIT,
            f"model.schedule.{name}={gamma:.4g} must lie in -{GAMMA_LIMIT} .. {GAMMA_LIMIT}: beyond, losses leave the "
            "range of float32",
        )
    require(
        gamma_min < config.gamma_max,
        f"model.schedule.gamma_min={gamma_min:.4g} must lie below gamma_max={config.gamma_max:.4g}",
    )
    return kind(gamma_min, config.gamma_max), (gamma_min, config.gamma_max)

"""`build`: configuration and data -> Model. The only place where the parts meet."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from diffenc_jax.config import require, unpack
from diffenc_jax.diffusion import decoder, losses, samplers
from diffenc_jax.diffusion.encoders import ENCODERS, Encoder
from diffenc_jax.diffusion.gaussian import PREDICTIONS
from diffenc_jax.diffusion.losses import Noise, Terms
from diffenc_jax.diffusion.schedules import SCHEDULES, gamma_min_for
from diffenc_jax.errors import InputError, lookup
from diffenc_jax.nets.unet import UNet

Params = Any
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


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
    """The compared thing: a generative model with its encoder, as pure functions of parameters."""

    spec: ImageSpec
    schedule: nn.Module
    score: UNet
    encoder_kind: type[Encoder]
    encoder_net: UNet | None
    time_range: tuple[float, float]
    prediction: str

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters {'score', 'schedule', and 'encoder' where there is one}, float32."""
        keys = jax.random.split(key, 3)
        x, t = jnp.zeros((1, *self.spec.shape)), jnp.zeros((1,))
        parts = {"score": self.score.init(keys[0], x, t), "schedule": self.schedule.init(keys[1], t)}
        if self.encoder_net is not None:
            parts["encoder"] = self.encoder_net.init(keys[2], x, t)
        return {name: variables.get("params", {}) for name, variables in parts.items()}

    def terms(self, params: Params, pixels: jax.Array, noise: Noise, dropout_key: jax.Array | None = None) -> Terms:
        """One unbiased estimate of the bound for uint8 [B, H, W, C], nats an example, [B] a term."""
        keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
        encoder, predict_v = self.encoder(params, keys[0]), self.predict_v(params, keys[1])
        return losses.bound(encoder, predict_v, self.gamma(params), pixels, self.spec.levels, noise)

    def draw_noise(self, key: jax.Array, t: jax.Array) -> Noise:
        """The Gaussian draws that go with times [B]."""
        shape = (t.shape[0], *self.spec.shape)
        key_0, key_t = jax.random.split(key)
        return Noise(t, jax.random.normal(key_0, shape), jax.random.normal(key_t, shape))

    def sample(self, params: Params, key: jax.Array, num: int, depth: int) -> jax.Array:
        """uint8 [num, H, W, C] by ancestral sampling in `depth` steps."""
        shape = (num, *self.spec.shape)
        u = samplers.ancestral(
            self.predict_v(params),
            self.gamma(params),
            jax.random.normal(jax.random.fold_in(key, depth), shape),
            lambda step: jax.random.normal(jax.random.fold_in(key, step), shape),
            depth,
            self.encoder_kind.compensation,
        )
        return decoder.nearest_pixel(u, self.spec.levels)

    def gamma(self, params: Params) -> losses.Schedule:
        """t -> γ."""
        return partial(self.schedule.apply, {"params": params["schedule"]})

    def predict_v(self, params: Params, dropout_key: jax.Array | None = None) -> losses.PredictV:
        """(z_t, γ [B]) -> v̂: the network's output on top of z_t, taken as what `prediction` names."""

        def predict(z_t, gamma):
            output = z_t + self._network(self.score, params["score"], dropout_key)(z_t, gamma)
            return PREDICTIONS[self.prediction](z_t, output, gamma)

        return predict

    def encoder(self, params: Params, dropout_key: jax.Array | None = None) -> Encoder:
        """The encoder with its network, if it has one, bound to `params`."""
        if self.encoder_net is None:
            return self.encoder_kind()
        return self.encoder_kind(self._network(self.encoder_net, params["encoder"], dropout_key))

    def _network(self, net: UNet, params: Params, dropout_key: jax.Array | None) -> Callable:
        low, high = self.time_range

        def apply(x, gamma):
            # The embedding multiplies this rounding by 1000. Behind the barrier compilers see no constant,
            # and divide as written instead of multiplying by a rounded reciprocal.
            span = jax.lax.optimization_barrier(jnp.asarray(high - low, gamma.dtype))
            time = (gamma - low) / span
            return net.apply({"params": params}, x, time, dropout_key)

        return apply


@dataclass(frozen=True)
class NetworkConfig:
    """A U-Net as configured; see `nets.unet.UNet`.

    `fourier_bins` gives the periods of the Fourier features in widths of a pixel's bin.
    """

    width: int
    layers: int
    levels: int
    groups: int
    mid_groups: int
    out_groups: int
    dropout: float
    fourier_bins: tuple[float, ...]

    def check(self, path: str, shape: tuple[int, int, int]) -> None:
        """Raises InputError where the network cannot be built for images of `shape`."""
        require(self.width >= 4 and self.width % 2 == 0, f"{path}.width must be even and at least 4, not {self.width}")
        require(self.layers >= 1, f"{path}.layers must be at least 1, not {self.layers}")
        require(0.0 <= self.dropout < 1.0, f"{path}.dropout must lie in [0, 1), not {self.dropout}")
        require(0 <= self.levels <= self.layers, f"{path}.levels must lie in 0 .. layers = {self.layers}")
        require(all(b > 0 for b in self.fourier_bins), f"{path}.fourier_bins must be positive, not {self.fourier_bins}")
        side = 2**self.levels
        require(
            shape[0] % side == 0 and shape[1] % side == 0,
            f"{path}.levels={self.levels} pools height and width {self.levels} times and needs multiples of {side}; "
            f"the images are {shape[0]}x{shape[1]}",
        )
        middle = self.width * 2 ** max(self.levels - 1, 0)
        for name, channels in (("groups", self.width), ("mid_groups", middle), ("out_groups", self.width)):
            groups = getattr(self, name)
            require(
                groups >= 1 and channels % groups == 0,
                f"{path}.{name}={groups} does not divide the {channels} channels that it norms",
            )
        require(middle % 32 == 0, f"{path}: attention norms in 32 groups; its {middle} channels are not a multiple")


@dataclass(frozen=True)
class ScheduleConfig:
    """`gamma_min` None: 0.166 of a bin, as published, whatever the number of levels."""

    kind: str
    gamma_min: float | None
    gamma_max: float


def build(config: ConfigDict, spec: ImageSpec) -> Model:
    """The model that `config.model` describes, for images of `spec`.

    Raises:
      InputError: a value is unknown, impossible, or does not fit the images.
    """
    section = dict(config.model)
    schedule, time_range = _build_schedule(section.pop("schedule"), spec)
    score_config, encoder_config = section.pop("score"), dict(section.pop("encoder"))
    prediction = section.pop("prediction", None)
    lookup("model.prediction", prediction, PREDICTIONS)
    options = unpack(_Compute, section, "model").resolve()

    encoder_kind = lookup("encoder", encoder_config.pop("kind"), ENCODERS)
    encoder_net = None
    if encoder_kind.needs_network:
        encoder_net = _build_network(encoder_config, "model.encoder", spec, options)
    elif encoder_config:
        raise InputError(f"model.encoder has no network to take the keys {sorted(encoder_config)}")
    return Model(
        spec=spec,
        schedule=schedule,
        score=_build_network(score_config, "model.score", spec, options),
        encoder_kind=encoder_kind,
        encoder_net=encoder_net,
        time_range=time_range,
        prediction=prediction,
    )


@dataclass(frozen=True)
class _Compute:
    """How the networks are computed; changes no parameter and, but for rounding, no value."""

    dtype: str
    scan: bool | None
    remat: bool | None

    def resolve(self) -> dict[str, Any]:
        on_cpu = jax.default_backend() == "cpu"
        return {
            "dtype": lookup("model.dtype", self.dtype, DTYPES),
            "scan": not on_cpu if self.scan is None else self.scan,
            "remat": not on_cpu if self.remat is None else self.remat,
        }


def _build_network(section: ConfigDict, path: str, spec: ImageSpec, options: dict[str, Any]) -> UNet:
    config = unpack(NetworkConfig, section, path)
    config.check(path, spec.shape)
    # Two bins' width 2/V a period is V/4 cycles a unit.
    cycles = tuple(spec.levels / (2 * bins) for bins in config.fourier_bins)
    fields = {k: v for k, v in vars(config).items() if k != "fourier_bins"}
    return UNet(cycles=cycles, **fields, **options)


def _build_schedule(section: ConfigDict, spec: ImageSpec) -> tuple[nn.Module, tuple[float, float]]:
    config = unpack(ScheduleConfig, section, "model.schedule")
    gamma_min = gamma_min_for(spec.levels) if config.gamma_min is None else config.gamma_min
    kind = lookup("schedule", config.kind, SCHEDULES)
    require(
        gamma_min < config.gamma_max,
        f"model.schedule.gamma_min={gamma_min:.4g} must lie below gamma_max={config.gamma_max:.4g}",
    )
    return kind(gamma_min, config.gamma_max), (gamma_min, config.gamma_max)

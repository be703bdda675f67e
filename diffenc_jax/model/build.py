"""`build`: configuration and images -> Model. The only place where the parts meet."""

import jax
from flax import linen as nn

from diffenc_jax.config import Config
from diffenc_jax.config.sections import IMAGE, ScheduleConfig
from diffenc_jax.core.errors import lookup, require
from diffenc_jax.core.sources import outside_digest
from diffenc_jax.data.dataset import image_shape, num_classes
from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.diffusion.gaussian import PREDICTIONS
from diffenc_jax.diffusion.reverse import EXTRAPOLATIONS
from diffenc_jax.diffusion.schedules import SCHEDULES, gamma_min_for
from diffenc_jax.model.augmentation import make_augmentation
from diffenc_jax.model.model import DERIVATIVE, ERROR, ImageSpec, Model
from diffenc_jax.model.registry import (
    CODES,
    ENCODERS,
    SCORE_NETWORKS,
    LatentCode,
    build_code,
    build_encoder,
    build_score,
    compute_options,
)


def build(config: Config, spec: ImageSpec, platform: str | None = None) -> Model:
    """The model that `config.model` and `config.loss` describe, for images of `spec`.

    Raises InputError if a value is unknown, impossible, or does not fit the images.

    Args:
      platform: kind of the devices that the model will run on, 'cpu', 'gpu' or 'tpu'; None for JAX's default.
    """
    section = config.model
    lookup("model.prediction", section.prediction, PREDICTIONS)
    lookup("loss.extrapolation", config.loss.extrapolation, EXTRAPOLATIONS)
    require(
        not section.labels or spec.num_classes >= 2,
        f"model.labels=True needs images of two classes or more; these are of {spec.num_classes}",
    )
    attributes = compute_options(section, platform or jax.default_backend())
    augmentation = make_augmentation(config.train.augmentations, spec.shape)
    flags = augmentation.num_flags if section.augmentation else 0
    attributes |= {"pixel_levels": spec.pixel_levels}
    code = build_code(section.code, spec.shape, **attributes)
    conditions = (spec.num_classes if section.labels else 0) + flags + (code.kind.units if code else 0)
    attributes |= {"conditions": conditions}
    schedule, gamma_range = _build_schedule(section.schedule, spec, code)
    encoder_kind, encoder_net = build_encoder(section.encoder, spec.shape, **attributes)
    require(
        not section.derivative_head or encoder_kind.slope_estimate is Encoder.slope_estimate,
        "model.derivative_head=True is only for encoders with a network: for the others dx_t/dγ follows from x_t",
    )
    require(
        section.target != IMAGE or (not section.derivative_head and config.loss.extrapolation == "linear"),
        "with model.target=image the encoder gives the drift: leave out model.derivative_head and loss.extrapolation",
    )
    require(
        section.target == IMAGE or not encoder_kind.scales,
        f"model.encoder.kind={section.encoder.kind} scales the noise as well; it needs model.target=image",
    )
    require(
        not schedule.per_dimension or encoder_net is None,
        f"model.schedule.kind={section.schedule.kind} has a γ per pixel, and an encoder's network is told only one: "
        "take an encoder without a network, or another schedule",
    )
    chosen = {DERIVATIVE: section.derivative_head, ERROR: section.error_head}
    heads = tuple(name for name, wanted in chosen.items() if wanted)
    model = Model(
        spec=spec,
        schedule=schedule,
        score=build_score(section.score, spec.shape, extra_heads=heads, **attributes),
        encoder_kind=encoder_kind,
        encoder_net=encoder_net,
        gamma_range=gamma_range,
        prediction=section.prediction,
        target=section.target,
        loss=config.loss,
        labels=section.labels,
        augmentation_flags=flags,
        code=code,
    )
    model.check_depth("loss.depth", config.loss.depth)
    return model


def outside_parts(config: Config) -> dict[str, str]:
    """Digests of the sources of the model's parts that are not this package's, by key: 'model.encoder.kind=fading'."""
    model, loss = config.model, config.loss
    parts = {
        f"model.score.kind={model.score.kind}": (SCORE_NETWORKS[model.score.kind],),
        f"model.encoder.kind={model.encoder.kind}": ENCODERS[model.encoder.kind],
        f"model.code.kind={model.code.kind}": CODES[model.code.kind],
        f"model.schedule.kind={model.schedule.kind}": (SCHEDULES[model.schedule.kind],),
        f"model.prediction={model.prediction}": (PREDICTIONS[model.prediction],),
        f"loss.extrapolation={loss.extrapolation}": (EXTRAPOLATIONS[loss.extrapolation],),
    }
    digests = {key: outside_digest(part for part in entry if part is not None) for key, entry in parts.items()}
    return {key: digest for key, digest in digests.items() if digest is not None}


def spec_of(config: Config) -> ImageSpec:
    """The images that `config.data` describes; those of a named data set need not be on this machine.

    Raises InputError as `image_shape` and, for a model that is conditioned on labels, `num_classes` do.
    """
    classes = num_classes(config.data) if config.model.labels else 0
    return ImageSpec(image_shape(config.data), config.data.pixel_levels, classes)


def alike_layers(config: Config) -> int:
    """Number of alike layers of the score network; 0 where it repeats none."""
    name = lookup("score network", config.model.score.kind, SCORE_NETWORKS).repeated
    return config.model.score.options[name] if name else 0


def with_alike_layers(config: Config, count: int) -> Config:
    """The configuration with `count` alike layers in the score network."""
    name = lookup("score network", config.model.score.kind, SCORE_NETWORKS).repeated
    return config.replace({f"model.score.{name}": count})


def _build_schedule(
    config: ScheduleConfig, spec: ImageSpec, code: LatentCode | None
) -> tuple[nn.Module, tuple[float, float]]:
    kind = lookup("schedule", config.kind, SCHEDULES)
    gamma_min = gamma_min_for(spec.pixel_levels) if config.gamma_min is None else config.gamma_min
    require(
        gamma_min < config.gamma_max,
        f"model.schedule.gamma_min={gamma_min:.4g} must lie below gamma_max={config.gamma_max:.4g}",
    )
    schedule = kind(gamma_min, config.gamma_max)
    if schedule.per_dimension:
        schedule = schedule.clone(shape=spec.shape, code_units=code.kind.units if code else 0)
    return schedule, (gamma_min, config.gamma_max)

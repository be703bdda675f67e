"""`build`: configuration and images -> Model. The only place where the parts meet."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from diffenc_jax.config import Config, flatten
from diffenc_jax.config.sections import IMAGE, PartConfig
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError, refusing, require
from diffenc_jax.core.keys import keys_of
from diffenc_jax.core.versions import OURS
from diffenc_jax.diffusion.codes import LatentCode
from diffenc_jax.diffusion.decoders import Decoder
from diffenc_jax.diffusion.schedules import Schedule
from diffenc_jax.model.augmentation import make_augmentation
from diffenc_jax.model.model import DERIVATIVE, ERROR, DataSpec, Model
from diffenc_jax.nets.compute import Compute
from diffenc_jax.nets.kernels.forms import forms_of
from diffenc_jax.nets.network import CodeNetwork, Network

# Kinds of the parts of a model.
KINDS = ("score", "encoder", "code", "decoder", "schedule", "prediction", "extrapolation")


def build(config: Config, spec: DataSpec, platform: str | None = None) -> Model:
    """The model that `config.model` and `config.loss` describe, for images of `spec`.

    Raises InputError if a value is unknown, impossible, or does not fit the images.

    Args:
      platform: kind of the devices that the model will run on, 'cpu', 'gpu' or 'tpu'; None for JAX's default.
    """
    with parts.trying(outside_parts(config)):
        return _build(config, spec, platform or jax.default_backend())


def _build(config: Config, spec: DataSpec, platform: str) -> Model:
    section = config.model
    if section.labels and not spec.labels_are_arrays and spec.label_size < 2:
        raise InputError(f"model.labels=True needs images of two classes or more; these have {spec.label_size}")
    remat = section.remat or forms_of(platform).remat
    compute = Compute(getattr(jnp, section.dtype), section.scan, remat, platform, axes=len(spec.shape) - 1)
    decoder = build_decoder(section.decoder, spec)
    given: dict[str, Any] = {"compute": compute, "bin_width": decoder.bin_width}
    augmentation = make_augmentation(config.train.augmentations, spec.shape)
    flags = augmentation.num_flags if section.augmentation else 0
    code = build_part("code", section.code, spec.shape, **given)
    code = dataclasses.replace(code, network=CodeNetwork(code.network, code.units)) if code.units else None
    given["conditions"] = (spec.label_size if section.labels else 0) + flags + (code.units if code else 0)
    heads = (DERIVATIVE,) * section.derivative_head + (ERROR,) * section.error_head
    model = Model(
        spec=spec,
        schedule=build_schedule(section.schedule, decoder, spec.shape, code),
        score=build_part("score", section.score, spec.shape, extra_heads=heads, **given),
        encoder=build_part("encoder", section.encoder, spec.shape, **given),
        decoder=decoder,
        to_velocity=parts.load("prediction", section.prediction),
        extrapolation=parts.load("extrapolation", config.loss.extrapolation),
        target=section.target,
        loss=config.loss,
        labels=section.labels,
        augmentation_flags=flags,
        code=code,
    )
    _check_together(config, model)
    model.check_depth("loss.depth", model.loss.depth)
    return model


def _check_together(config: Config, model: Model) -> None:
    """Raise InputError if parts do not suit each other."""
    section, encoder = config.model, model.encoder
    is_image, has_head = section.target == IMAGE, section.derivative_head
    only = "model.derivative_head=True is only for encoders with a network"
    require(not (has_head and encoder.has_slope), f"{only}: for the others dx_t/dγ follows from x_t")
    advice = "leave out model.derivative_head and loss.extrapolation"
    is_plain = not has_head and config.loss.extrapolation == "linear"
    require(is_plain or not is_image, f"with model.target=image the encoder gives the drift: {advice}")
    scales = f"model.encoder.kind={section.encoder.kind} scales the noise as well"
    require(is_image or not encoder.scales_noise, f"{scales}; it needs model.target=image")
    change = f"train.augment={config.train.augment} would change the images"
    changes_labels = model.labels and model.spec.labels_are_arrays and config.train.augmentations
    require(not changes_labels, f"{change} and not the images that are their labels; leave it out")
    why = "has a γ per pixel, and an encoder's network takes only one"
    advice = "take an encoder without a network, or another schedule"
    suits = not (model.schedule.per_dimension and encoder.network_kind)
    require(suits, f"model.schedule.kind={section.schedule.kind} {why}: {advice}")


def build_part(kind: str, config: PartConfig, shape: tuple[int, ...], **given: Any) -> Any:
    """The score network, or the encoder or code with its network, that a section describes, for images of `shape`.

    Raises InputError if a network does not suit the images or what is given.

    Args:
      given: attributes of networks besides their keys.
    """
    part, options = parts.load(kind, config.kind), parts.options(kind, config.kind, config.options)
    path = parts.kinds()[kind].section
    if kind == "score":
        return _network(part, options, path, shape, given)
    own = {name: options.pop(name) for name in keys_of(part)}
    name = parts.network_of(kind, config.kind)
    if not name:
        return part(**own)
    if kind == "encoder":
        given["outputs"] = part.outputs
    return part(**own, network=_network(parts.load("network", name), options, path, shape, given))


def build_decoder(config: PartConfig, spec: DataSpec) -> Decoder:
    """The decoder that `model.decoder` describes; raises InputError."""
    options = parts.options("decoder", config.kind, config.options)
    kind, is_real = parts.load("decoder", config.kind), spec.pixel_levels is None
    wrong = f"model.decoder.kind={config.kind} is for {'real' if kind.takes_reals else 'whole'} numbers"
    advice = f"data.pixel_levels={spec.pixel_levels} says that the data are {'real' if is_real else 'whole'} numbers"
    require(kind.takes_reals == is_real, f"{wrong}, and {advice}; change one of the two")
    return kind(**{"standard": spec.standard} if is_real else {"pixel_levels": spec.pixel_levels}, **options)


def build_schedule(config: PartConfig, decoder: Decoder, shape: tuple[int, ...], code: LatentCode | None) -> Schedule:
    """The schedule that `model.schedule` describes; raises InputError."""
    options = parts.options("schedule", config.kind, config.options)
    if options["gamma_min"] is None:
        options["gamma_min"] = decoder.gamma_min
    low, high = options["gamma_min"], options["gamma_max"]
    require(low < high, f"model.schedule.gamma_min={low:.4g} must lie below gamma_max={high:.4g}")
    kind = parts.load("schedule", config.kind)
    given = {"shape": shape, "code_units": code.units if code else 0} if kind.per_dimension else {}
    return kind(**options, **given)


def _network(
    kind: type[Network], options: dict[str, Any], path: str, shape: tuple[int, ...], given: dict[str, Any]
) -> Any:
    """A network with the options of the section at `path` and the attributes that are `given`."""
    if given.get("conditions") and not kind.takes_condition:
        need = "model.labels=True, model.augmentation=True and a model.code need networks that take a condition"
        raise InputError(f"{need}, and the network of {path}.kind takes none; take another")
    outputs = given.get("outputs", 1)
    needs = f"{path}.kind needs a network with {outputs} images as outputs"
    require(outputs == 1 or kind.takes_outputs, f"{needs}, and {kind.__name__} has one; take another")
    network = kind(**options, **given)
    network.check(path, shape)
    if kind.__module__.partition(".")[0] != OURS:
        _check_calls(network, path, shape)
    return network


def _check_calls(network: Any, path: str, shape: tuple[int, ...]) -> None:
    """Raise InputError unless a network from outside the package can be called and returns what `Network` says."""
    x, t = jnp.zeros((2, *shape), jnp.float32), jnp.zeros(2, jnp.float32)
    given: dict[str, Any] = {"condition": jnp.zeros((2, network.conditions))} if network.conditions else {}
    heads = getattr(network, "extra_heads", ())
    options = {"with_heads": True} if heads else {}

    def outputs(key: jax.Array) -> dict[str, jax.Array]:
        variables = {"params": network.init(key, x, t, **given).get("params", {})}
        returned = network.apply(variables, x, t, None, **given, **options)
        output, others = returned if heads else (returned, {})
        if missing := set(heads) - set(others):
            raise ValueError(f"it returns no head {', '.join(sorted(missing))}")
        return {"the output": output, **{name: others[name] for name in heads}}

    with_heads = f" with the heads {', '.join(heads)}" if heads else ""
    with refusing(f"the network of {path} cannot be called{with_heads}", "see docs/extending.md"):
        forms = jax.eval_shape(outputs, jax.random.key(0))
    wanted_shape = (2, *shape[:2], network.outputs * shape[2])
    for name, form in forms.items():
        wanted = f"float32 {list(wanted_shape)} for {list(x.shape)}"
        right = (form.shape, form.dtype) == (wanted_shape, jnp.float32)
        require(right, f"the network of {path} must return {name} as {wanted}, not {form.dtype} {list(form.shape)}")


def outside_parts(config: Config, *others: str) -> dict[str, str]:
    """Digests of the sources of outside parts, by key and name, such as 'model.encoder.kind=fading'.

    Args:
      others: kinds of parts besides those of the model, such as "optimizer".
    """
    flat = flatten(config.to_dict())
    keys = {kind: parts.kinds()[kind].name_key for kind in (*KINDS, *others)}
    digests = {f"{key}={flat[key]}": parts.digest(kind, flat[key]) for kind, key in keys.items()}
    return {name: digest for name, digest in digests.items() if digest is not None}

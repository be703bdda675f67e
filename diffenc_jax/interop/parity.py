"""Holds this code against the published one: python -m diffenc_jax.interop.parity FILE.npz ...

A file holds what went into a published model and what came out of it: images, times, noise and
parameters; losses, network outputs, a sampling step and gradients. For each it prints the relative
error ‖ours - theirs‖ / ‖theirs‖ of every quantity and the largest of the gradients' errors, and exits
with 1 where one is beyond its limit.
"""

import json
import math
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffenc_jax.config import encoder_network, recipe, require, score_network, with_changes
from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.encoders import Encoding, Trainable
from diffenc_jax.diffusion.gaussian import align
from diffenc_jax.diffusion.losses import Noise
from diffenc_jax.diffusion.samplers import ancestral_step
from diffenc_jax.diffusion.steps import Step
from diffenc_jax.errors import InputError, lookup
from diffenc_jax.interop import names
from diffenc_jax.model import ImageSpec, Model, build

LIMIT = 1e-4
GRADIENT_LIMIT = 5e-4
# The files are float32 and their latent term lost digits to cancellation: so near is near enough, in nats.
LOSS_FLOOR_PER_DIM = 1e-7
# Some gradients vanish, such as a bias's before a norm of one channel a group; both sides show rounding.
GRADIENT_FLOOR = 1e-7  # of the norm of the whole gradient


# What the published code calls its models (encoder, prediction), its schedules, and one fixed number of it.
_KINDS = {
    "VDM2": ("identity", "eps"),
    "VDM2_V": ("identity", "v"),
    "S4V_NT": ("nontrainable", "v"),
    "S3VA": ("trainable", "v"),
}
_SCHEDULES = {"fixed": "fixed_linear", "poly10": "fixed_poly10", "train_scalar": "learned_linear"}
_OUTER_GROUPS = 32  # of all norms of the published encoders but the middle's and the last


@dataclass(frozen=True)
class Error:
    """One quantity's: relative, and whether it is within its limit."""

    name: str
    relative: float
    passes: bool


def compare(arrays: Mapping[str, np.ndarray]) -> list[Error]:
    """The errors of all quantities of a reference file, gradients by name."""
    model, places = model_of(arrays)
    published = prefixed(arrays, "param:")
    for name in published.keys() - places.keys():
        raise KeyError(name)
    params = names.to_ours(published, places)
    return [*_losses(model, params, arrays, places), *_outputs(model, params, arrays)]


def model_of(arrays: Mapping[str, np.ndarray]) -> tuple[Model, dict[str, names.Place]]:
    """Our model of a reference file, and the places in it of the file's parameters.

    Raises:
      InputError: it is of a kind that is not known here.
    """
    meta = json.loads(str(arrays["meta"]))
    model = build(configuration(meta), ImageSpec(tuple(meta["shape"]), meta["vocab_size"]))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return model, names.places(shapes, names.Dialect.of(prefixed(arrays, "param:")))


def configuration(meta: Mapping[str, Any]) -> ConfigDict:
    """Our configuration of a published model, from its own description (`meta` of a reference file).

    Raises:
      InputError: it is of a kind that is not known here.
    """
    score, encoder = meta["score"], meta["encoder"]
    groups = dict.fromkeys(("groups", "mid_groups", "out_groups"), score["groups"])
    bins = tuple(meta["vocab_size"] / 2 ** (k + 1) for k in score["fourier"])
    network = dict(width=score["n_embd"], layers=score["n_layer"], dropout=score["p_dropout"])
    kind, prediction = lookup("published model type", meta["ddpm_type"], _KINDS)
    schedule = lookup("published schedule", meta["gamma_type"], _SCHEDULES)
    changes = {
        "data.levels": meta["vocab_size"],
        "model.score": score_network(fourier_bins=bins, **network, **groups),
        "model.encoder": ConfigDict({"kind": kind}) if encoder is None else _encoder(encoder, meta["shape"][0]),
        "model.prediction": prediction,
        "model.schedule": ConfigDict(
            {"kind": schedule, "gamma_min": meta["gamma_min"], "gamma_max": meta["gamma_max"]}
        ),
    }
    return with_changes(recipe("published", meta["ddpm_type"]), changes)


def _encoder(meta: Mapping[str, Any], height: int) -> ConfigDict:
    """The encoder network: 'unet' pools once a layer, 'unet_mult_res' until the image is odd or small."""
    require(
        bool(meta["tanh"] and meta["pooling"]) and meta["channel_scaling"] == "double",
        "a published encoder without tanh, pooling or doubled channels is not known here",
    )
    lookup("published encoder", meta["m_type"], {"unet": None, "unet_mult_res": None})
    layers, groups = meta["n_layer"], meta["groups"]
    levels, mid_groups = layers, groups
    if meta["m_type"] == "unet_mult_res":
        levels, mid_groups = 1, _OUTER_GROUPS
        while levels < layers and (height >> levels) % 2 == 0 and height >> levels > 8:
            levels += 1
    shape = dict(width=meta["n_embd"], layers=layers, levels=levels)
    return encoder_network(**shape, groups=_OUTER_GROUPS, mid_groups=mid_groups, out_groups=groups)


def _anchored(x_t: jax.Array) -> type[Trainable]:
    """`Trainable` whose x_t has the file's values; what is differentiated is its own.

    Both sides' x_t carry float32's rounding of the network, about 1e-6, and the score network's Fourier features
    turn that into 1e-3 of an angle: gradients at two such x_t differ by some 1e-4 for no other reason.
    """

    class Anchored(Trainable):
        def mean_and_slope(self, x: jax.Array, gamma: jax.Array) -> Encoding:
            encoding = super().mean_and_slope(x, gamma)
            return encoding._replace(x_t=x_t + (encoding.x_t - jax.lax.stop_gradient(encoding.x_t)))

    return Anchored


def _losses(
    model: Model, params: Any, arrays: Mapping[str, np.ndarray], places: Mapping[str, names.Place]
) -> Iterator[Error]:
    dims = model.spec.dims
    noise = Noise(*(jnp.asarray(arrays[name]) for name in ("t", "eps_0", "eps_t")))

    def bpd(model, params):
        terms = model.terms(params, jnp.asarray(arrays["images"]), noise)
        return terms.total.mean() / (dims * math.log(2)), terms

    value, terms = jax.jit(partial(bpd, model))(params)
    anchored = model
    if "x_t" in arrays:
        anchored = replace(model, encoder_kind=_anchored(jnp.asarray(arrays["x_t"])))
    grads, _ = jax.jit(jax.grad(partial(bpd, anchored), has_aux=True))(params)
    ours_of = {"loss_recon": terms.reconstruction, "loss_latent": terms.latent, "loss_diffusion": terms.diffusion}
    for name, ours in ours_of.items():
        worst = np.abs(np.asarray(ours, np.float64) - arrays[name]).max()
        yield _error(name, ours, arrays[name], LIMIT, bool(worst <= LOSS_FLOOR_PER_DIM * dims))
    yield _error("bpd", value, arrays["bpd"], LIMIT)

    theirs = prefixed(arrays, "grad:")
    floor = GRADIENT_FLOOR * math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in theirs.values()))
    for name, gradient in theirs.items():
        ours = names.from_ours(grads, places[name])
        near = np.linalg.norm(np.asarray(ours, np.float64) - gradient) <= floor
        yield _error(f"grad:{name}", ours, gradient, GRADIENT_LIMIT, bool(near))


def _outputs(model: Model, params: Any, arrays: Mapping[str, np.ndarray]) -> Iterator[Error]:
    gamma, z = jnp.asarray(arrays["gamma_t"]), jnp.asarray(arrays["z_in"])
    schedule, predict_v = model.gamma(params), jax.jit(model.predict_v(params))
    yield _error("gamma_t", schedule(jnp.asarray(arrays["t"])), arrays["gamma_t"], LIMIT)
    yield _error("v_hat", predict_v(z, gamma), arrays["v_hat"], LIMIT)
    if "y" in arrays:
        encoder = model.encoder(params)
        x = decoder.pixel_values(jnp.asarray(arrays["images"]), model.spec.levels)
        y, dy = jax.jit(encoder.output_and_derivative)(x, gamma)
        yield _error("y", y, arrays["y"], LIMIT)
        yield _error("dy_dgamma", dy, arrays["dy_dgamma"], LIMIT)
        yield _error("x_t", jax.jit(encoder.mean)(x, gamma), arrays["x_t"], LIMIT)
    i, depth = int(arrays["step_i"]), int(arrays["step_T"])
    gamma_t, gamma_s = (schedule(jnp.full(len(gamma), 1 - j / depth)) for j in (i, i + 1))
    eps = jnp.asarray(arrays["step_eps"])
    at = Step(gamma_s, gamma_t, ratio=jnp.ones_like(align(gamma_t, z)), depth=jnp.asarray(float(depth)))
    z_s = ancestral_step(predict_v, model.extrapolation, z, at, eps)
    yield _error("z_out", z_s, arrays["z_out"], LIMIT)


def _error(name: str, ours: Any, theirs: np.ndarray, limit: float, near_enough: bool = False) -> Error:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    size = np.linalg.norm(theirs)
    relative = float(np.linalg.norm(ours - theirs) / size) if size > 0 else float(np.linalg.norm(ours))
    return Error(name, relative, relative <= limit or near_enough)


def prefixed(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Those whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def report(path: str) -> bool:
    """Prints a file's errors; returns whether all are within their limits.

    Raises:
      InputError: the file cannot be read or lacks something.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        errors = compare(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as a reference file: {str(error).splitlines()[0]}") from error
    except KeyError as error:
        raise InputError(
            f"{path} is no whole reference file of a known model: {error} is unknown or missing"
        ) from error
    print(path)
    gradients = [e for e in errors if e.name.startswith("grad:")]
    for error in (e for e in errors if e not in gradients):
        print(f"  {error.name:<16}{error.relative:9.1e}  {'' if error.passes else f'beyond {LIMIT:g}'}".rstrip())
    if gradients:
        _report_gradients(gradients)
    return all(error.passes for error in errors)


def _report_gradients(errors: list[Error]) -> None:
    """The largest error, those that vanish left aside, and every one that is beyond the limit."""
    failed = [e for e in errors if not e.passes]
    vanishing = [e for e in errors if e.passes and e.relative > GRADIENT_LIMIT]
    worst = max((e for e in errors if e not in vanishing), key=lambda e: e.relative, default=None)
    if worst is not None:
        print(f"  {'gradients':<16}{worst.relative:9.1e}  of {len(errors)}, in {worst.name.removeprefix('grad:')}")
    if vanishing:
        print(f"  {'':<27}{len(vanishing)} that vanish agree to {GRADIENT_FLOOR:g} of the whole gradient")
    for error in failed:
        print(f"  {error.name}  {error.relative:.1e}  beyond {GRADIENT_LIMIT:g}")


def main(paths: list[str]) -> int:
    """Exit code: 0 where everything agrees, 1 where something does not, 2 for bad input."""
    if not paths or any(path.startswith("-") for path in paths):
        print(__doc__, file=sys.stderr)
        return 0 if paths in (["--help"], ["-h"]) else 2
    try:
        agrees = [report(path) for path in paths]  # every file is reported on
        return 0 if all(agrees) else 1
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

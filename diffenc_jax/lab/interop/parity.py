"""Comparison with the published code.

A reference file holds the inputs of a published model (images, times, noise, parameters) and its outputs (losses,
network outputs, a sampling step, gradients). The relative error of a quantity is ‖ours - theirs‖ / ‖theirs‖.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffenc_jax.config import Config
from diffenc_jax.config.recipe import encoder_network, recipe, score_network, with_changes
from diffenc_jax.core import document
from diffenc_jax.core.errors import InputError, first_line, lookup, require
from diffenc_jax.core.numbers import Figure
from diffenc_jax.diffusion.ancestral import ancestral_step
from diffenc_jax.diffusion.encoders import Encoding, Trainable
from diffenc_jax.diffusion.losses import Noise, Terms, bound_at
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.steps import Step
from diffenc_jax.lab.interop import names
from diffenc_jax.model import DataSpec, Model, Params, build
from diffenc_jax.runs.files import read_arrays, read_bytes
from diffenc_jax.runs.partial import prefixed

ADVICE = "give reference arrays of the published code, such as tests/reference/vdm.npz"
LIMIT = 1e-4
GRADIENT_LIMIT = 5e-4
# Absolute error in nats per dimension that always passes: the files are float32, and their latent term cancels.
LOSS_FLOOR_PER_DIM = 1e-7
# Error, relative to the norm of the whole gradient, that always passes. Some gradients vanish, such as that of a bias
# before a norm with one channel per group, and both sides show only rounding.
GRADIENT_FLOOR = 1e-7

# The published code's names of its models (encoder, prediction) and schedules.
_KINDS = {
    "VDM2": ("identity", "eps"),
    "VDM2_V": ("identity", "v"),
    "S4V_NT": ("nontrainable", "v"),
    "S3VA": ("trainable", "v"),
}
_SCHEDULES = {"fixed": "fixed_linear", "poly10": "fixed_poly10", "train_scalar": "learned_linear"}
_OUTER_GROUPS = 32  # in all norms of the published encoders but those of the middle and the last


class Error(NamedTuple):
    """Relative error of one quantity, and whether it is within its limit."""

    name: str
    relative: float
    passes: bool


def compare(arrays: Mapping[str, np.ndarray]) -> list[Error]:
    """The errors of all quantities of a reference file, gradients by name."""
    model, locations = model_of(arrays)
    published, gradients = prefixed(arrays, "param:"), prefixed(arrays, "grad:")
    unknown = sorted((published.keys() | gradients.keys()) - locations.keys())
    require(not unknown, f"unknown parameters {', '.join(unknown)}")
    params = names.to_ours(published, locations)
    bpd, terms = jax.jit(bound_of(model, arrays))(params)
    losses = {"loss_recon": terms.reconstruction, "loss_latent": terms.latent, "loss_diffusion": terms.diffusion}
    floor, others = LOSS_FLOOR_PER_DIM * model.spec.dims, {"bpd": bpd, **_outputs(model, params, arrays)}
    errors = [_error(name, ours, arrays[name], LIMIT, floor, math.inf) for name, ours in losses.items()]
    errors += [_error(name, ours, arrays[name], LIMIT) for name, ours in others.items()]
    if gradients:
        grads, _ = jax.jit(jax.grad(bound_of(anchored(model, arrays), arrays), has_aux=True))(params)
        floor = GRADIENT_FLOOR * float(np.linalg.norm([np.linalg.norm(theirs) for theirs in gradients.values()]))
        for name, theirs in gradients.items():
            ours = names.from_ours(grads, locations[name])
            errors.append(_error(f"grad:{name}", ours, theirs, GRADIENT_LIMIT, floor))
    return errors


def model_of(arrays: Mapping[str, np.ndarray]) -> tuple[Model, dict[str, names.ArrayLocation]]:
    """Our model of a reference file, and where its parameters lie in the model's; raises InputError if unknown."""
    meta = json.loads(str(arrays["meta"]))
    require(tuple(meta["shape"]) == arrays["images"].shape[1:], "its images have another shape than it says")
    layers = max(network["n_layer"] for network in (meta["score"], meta["encoder"]) if network)
    require(layers <= len(arrays), f"it has fewer arrays than its {layers} layers")
    model = build(configuration(meta), DataSpec(tuple(meta["shape"]), meta["vocab_size"]))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return model, names.locations(shapes, names.Dialect.of(prefixed(arrays, "param:")))


def configuration(meta: Mapping[str, Any]) -> Config:
    """Our configuration of a published model, from the `meta` of a reference file; raises InputError if unknown."""
    score, encoder = meta["score"], meta["encoder"]
    groups = dict.fromkeys(("groups", "mid_groups", "out_groups"), score["groups"])
    bins = tuple(meta["vocab_size"] / 2 ** (k + 1) for k in score["fourier"])
    network = dict(width=score["n_embd"], layers=score["n_layer"], dropout=score["p_dropout"])
    kind, prediction = lookup("published model type", meta["ddpm_type"], _KINDS)
    schedule = lookup("published schedule", meta["gamma_type"], _SCHEDULES)
    changes = {
        "data.pixel_levels": meta["vocab_size"],
        "model.score": score_network(fourier_bins=bins, **network, **groups),
        "model.encoder": ConfigDict({"kind": kind}) if encoder is None else _encoder(encoder, meta["shape"][0]),
        "model.prediction": prediction,
        "model.schedule": ConfigDict(
            {"kind": schedule, "gamma_min": meta["gamma_min"], "gamma_max": meta["gamma_max"]}
        ),
    }
    return Config.parse(with_changes(recipe("published", meta["ddpm_type"]), changes))


def _encoder(meta: Mapping[str, Any], height: int) -> ConfigDict:
    """The encoder network: 'unet' pools once per layer, 'unet_mult_res' until the image is odd or small."""
    layers, groups = meta["n_layer"], meta["groups"]
    levels, mid_groups = layers, groups
    if meta["m_type"] == "unet_mult_res":
        levels, mid_groups = 1, _OUTER_GROUPS
        while levels < layers and (height >> levels) % 2 == 0 and height >> levels > 8:
            levels += 1
    shape = dict(width=meta["n_embd"], layers=layers, levels=levels)
    return encoder_network(**shape, groups=_OUTER_GROUPS, mid_groups=mid_groups, out_groups=groups)


def anchored(model: Model, arrays: Mapping[str, np.ndarray]) -> Model:
    """The model with x_t replaced by the values of the file, if it has them; derivatives of x_t stay the model's.

    The x_t of both codes have float32 rounding errors of about 1e-6 from the network. The score network's Fourier
    features turn these into errors of 1e-3 of an angle, so gradients at two such x_t would differ by some 1e-4 for this
    reason only.
    """

    class Anchored(Trainable):
        def mean_and_slope(self, x: jax.Array, gamma: jax.Array) -> Encoding:
            encoding = super().mean_and_slope(x, gamma)
            return encoding._replace(
                x_t=jnp.asarray(arrays["x_t"]) + (encoding.x_t - jax.lax.stop_gradient(encoding.x_t))
            )

    return replace(model, encoder=Anchored(cast(Trainable, model.encoder).network)) if "x_t" in arrays else model


def bound_of(model: Model, arrays: Mapping[str, np.ndarray]) -> Callable[[Params], tuple[jax.Array, Terms]]:
    """Function of parameters: bits/dim for a file's inputs, and the terms."""
    noise = Noise(*(jnp.asarray(arrays[name]) for name in ("t", "eps_0", "eps_t")))

    def bound(params):
        terms = bound_at(model.bind(params), jnp.asarray(arrays["images"]), model.point(params, noise.t), noise)
        return terms.total.mean() / (model.spec.dims * math.log(2)), terms

    return bound


def _outputs(model: Model, params: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Outputs of the schedule, the networks and a sampling step, by their names in a file."""
    gamma, z, process = jnp.asarray(arrays["gamma_t"]), jnp.asarray(arrays["z_in"]), model.bind(params)
    ours = {"gamma_t": process.gamma(jnp.asarray(arrays["t"])), "v_hat": jax.jit(process.predict)(z, gamma).v}
    if "y" in arrays:
        encoder, x = cast(Trainable, process.encoder), process.decoder.values(jnp.asarray(arrays["images"]))
        encoded = jax.jit(lambda x, gamma: (*encoder.output_and_derivative(x, gamma), encoder.mean(x, gamma)))
        ours["y"], ours["dy_dgamma"], ours["x_t"] = encoded(x, gamma)
    i, depth = int(arrays["step_i"]), int(arrays["step_T"])
    gamma_t, gamma_s = (process.gamma(jnp.full(len(gamma), 1 - j / depth)) for j in (i, i + 1))
    step = Step(gamma_s, gamma_t, Table(jnp.ones_like(gamma_t)), depth=jnp.asarray(float(depth)))
    ours["z_out"] = jax.jit(partial(ancestral_step, process))(z, step, jnp.asarray(arrays["step_eps"]))
    return ours


def _error(name: str, ours: Any, theirs: Any, limit: float, floor: float = 0.0, order: float | None = None) -> Error:
    """The error of a quantity. It passes up to `limit`, or if this norm of the difference is at most `floor`."""
    theirs = np.asarray(theirs, np.float64)
    difference, size = np.asarray(ours, np.float64) - theirs, np.linalg.norm(theirs)
    relative = float(np.linalg.norm(difference) / (size or 1.0))
    return Error(name, relative, relative <= limit or bool(np.linalg.norm(difference.ravel(), order) <= floor))


def errors_of(path: Path) -> list[Error]:
    """The errors of all quantities of the reference file `path`; raises InputError if it cannot be read or is none."""
    arrays = read_arrays(read_bytes(path, ADVICE), packed=True)
    if arrays is None:
        raise InputError(f"{path} is no .npz archive, or a damaged one; {ADVICE}")
    try:
        return compare(arrays)
    except Exception as error:  # values of other types or shapes raise errors of many kinds
        raise InputError(f"{path} is no complete reference file of a known model: {first_line(error)}") from error


def table_of(errors: Mapping[str, list[Error]]) -> document.Table:
    """The errors by quantity (rows) and file (columns); one row has the largest of all gradients.

    Gradients that pass beyond their limit are left out: they vanish, and agree to `GRADIENT_FLOOR` of the whole
    gradient.
    """
    rows: dict[str, dict[str, float]] = {}
    for file, each in errors.items():
        for one in each:
            is_gradient = one.name.startswith("grad:")
            if not is_gradient or not one.passes or one.relative <= GRADIENT_LIMIT:
                row = rows.setdefault("gradients" if is_gradient else one.name, {})
                row[file] = max(one.relative, row.get(file, 0.0))
    cells = [
        [name, *(Figure("{:.1e}", row[file]) if file in row else "" for file in errors)] for name, row in rows.items()
    ]
    return document.Table(["", *errors], cells, "Relative error")

"""Import of published checkpoints: their averaged parameters become a workdir once all checks have passed."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from diffenc_jax.config import Config
from diffenc_jax.core.errors import InputError, lookup, require
from diffenc_jax.diffusion.gaussian import velocity_from_noise
from diffenc_jax.lab.interop import flax_msgpack, names
from diffenc_jax.model import ImageSpec, Model, Params, build
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.workdir import check_workdir, claimed

NAMED = 3  # number of parameters that a message names among those that do not fit
MAX_STEP = 2**31 - 1
# Parameters whose last axis is the number of the images' channels.
CHANNELS_LAST = ("score_model/conv_out/bias", "score_model/conv_out/kernel")


def import_checkpoint(path: Path, config: Config, workdir: Path) -> str:
    """Store the averaged parameters of a published checkpoint in `workdir`; returns a line about it.

    Nothing is done if `workdir` holds the same parameters already. Raises InputError if the file cannot be read or does
    not fit the configuration, or if `workdir` has another configuration or checkpoints of its own.
    """
    lookup("score network of a published model", config.model.score.kind, {"unet": None})
    lookup("encoder of a published model", config.model.encoder.kind, dict.fromkeys(names.ENCODERS))
    for name in ("labels", "augmentation"):
        require(
            not getattr(config.model, name),
            f"no model that can be imported is conditioned; take --config.model.{name}=False",
        )
    check_workdir(workdir, config, must_exist=False)
    step, arrays = read_published(path)
    params = to_params(path, _model_for(config, arrays), arrays)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    if _holds(workdir, step, params):
        return f"{workdir} already holds step {step} of {path}; nothing to do"
    with claimed(workdir, config), Checkpoints(workdir, keep_every_steps=1) as checkpoints:
        checkpoints.save_ema(step, params)
    return f"step {step} of {path}, {count:,} parameters, is in {workdir}; diffenc eval and diffenc sample read it"


def read_published(path: Path) -> tuple[int, dict[str, np.ndarray]]:
    """The step of a published checkpoint, and its averaged parameters by their '/'-joined names.

    Raises InputError if the file cannot be read, or an entry has another type.
    """
    state = flax_msgpack.read_checkpoint(path, ("step", "ema_params"))
    step = state["step"]
    if isinstance(step, np.ndarray | np.integer) and step.shape == () and step.dtype.kind in "iu":
        step = int(step)
    require(type(step) is int and 0 <= step <= MAX_STEP, f"{path}: its step is not a whole number from 0 to {MAX_STEP}")
    try:
        arrays = flatten_dict(state["ema_params"], sep="/")
    except (AssertionError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: its ema_params are not a map of names") from error
    for name, value in arrays.items():
        is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        require(is_float, f"{path}: its parameter {name} is not an array of floats")
    return step, arrays


def to_params(path: Path, model: Model, arrays: Mapping[str, np.ndarray]) -> Params:
    """Parameters of `model` from the published ones in the file `path`.

    Raises InputError if they are of another model, not finite, or their schedule does not increase.
    """
    dialect, shapes = names.Dialect.of(arrays), jax.eval_shape(model.init, jax.random.key(0))
    learned = "take another loss.variance_ratio than 'learned'"
    require("ratio" not in shapes, f"{path} holds no ratio of variances, which no published model learns; {learned}")
    require(
        not model.score.extra_heads,
        f"{path} holds no additional head, which no published model has; take --config.model.derivative_head=False "
        "and --config.model.error_head=False",
    )
    places = names.places(shapes, dialect)
    if problems := list(_misfits(arrays, places)):
        raise InputError(f"{path} is not of the configuration's model: {'; '.join(problems)}")
    require(
        not dialect.bare or model.to_velocity is velocity_from_noise,
        f"{path} is named as google-research/vdm names its models, which predict eps; take "
        "--config.model.prediction=eps",
    )
    for name, value in arrays.items():
        with np.errstate(over="ignore"):
            require(np.isfinite(value.astype(np.float32)).all(), f"{path}: its parameter {name} is not finite")
    params = jax.tree.map(jnp.asarray, names.to_ours(arrays, places))
    gamma = np.asarray(model.bind(params).gamma(jnp.linspace(0.0, 1.0, 9)))
    require(
        bool(np.isfinite(gamma).all() and (np.diff(gamma) > 0).all()),
        f"{path}: its noise schedule does not increase, from {gamma[0]:.4g} to {gamma[-1]:.4g}",
    )
    return params


def _model_for(config: Config, arrays: Mapping[str, np.ndarray]) -> Model:
    """The configured model for images of the parameters' number of channels.

    Parameters do not depend on the images' height and width. The data need not be present: any size will do that the
    networks can pool.
    """
    side = 2 ** max(network.options.get("levels", 0) for network in (config.model.score, config.model.encoder))
    channels = [arrays[name].shape[-1] for name in CHANNELS_LAST if name in arrays and arrays[name].ndim] or [3]
    return build(config, ImageSpec((side, side, channels[0]), config.data.pixel_levels))


def _misfits(arrays: Mapping[str, np.ndarray], places: Mapping[str, names.Place]) -> Iterator[str]:
    """Messages about parameters that do not fit: their number, and the names of the first."""
    groups = {
        "missing": [f"{name} {place.shape}" for name, place in places.items() if name not in arrays],
        "surplus": [f"{name} {value.shape}" for name, value in arrays.items() if name not in places],
        "of another shape": [
            f"{name} {value.shape}, not {places[name].shape}"
            for name, value in arrays.items()
            if name in places and value.shape != places[name].shape
        ],
    }
    for kind, found in groups.items():
        if found:
            more = f", and {len(found) - NAMED} more" if len(found) > NAMED else ""
            yield f"{len(found)} of its parameters {kind} ({', '.join(found[:NAMED])}{more})"


def _holds(workdir: Path, step: int, params: Params) -> bool:
    """Whether `workdir` holds `params` as its newest checkpoint; raises InputError if it holds another."""
    with Checkpoints(workdir) as checkpoints:
        latest = checkpoints.latest_step()
        if latest is None:
            return False
        if latest == step and checkpoints.holds_ema_only(step):
            theirs = checkpoints.restore_ema(step, jax.eval_shape(lambda: params))
            if jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), params, theirs)):
                return True
    raise InputError(f"{workdir} holds other checkpoints, the newest of step {latest}; give another --workdir")

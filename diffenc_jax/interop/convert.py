"""A published checkpoint's averaged parameters -> a workdir; nothing is written before all of it is checked."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffenc_jax import workdir as workdirs
from diffenc_jax.config import check_sections, require, unpack
from diffenc_jax.data.dataset import DataConfig
from diffenc_jax.errors import InputError, lookup
from diffenc_jax.interop import flax_msgpack, names
from diffenc_jax.model import ImageSpec, Model, Params, build
from diffenc_jax.train.checkpoint import Checkpoints

NAMED = 3  # so many of the parameters that do not fit are named
MAX_STEP = 2**31 - 1
CHANNELS_LAST = ("score_model/conv_out/bias", "score_model/conv_out/kernel")  # either tells the images' channels


def convert(path: Path, config: ConfigDict, workdir: Path) -> str:
    """Makes `workdir` hold the averaged parameters of the published checkpoint `path`; returns a line about it.

    Where it holds just those already, nothing is done.

    Raises:
      InputError: the file cannot be read, does not fit the configuration, or holds numbers that are
        not finite; or `workdir` is of another configuration, or has checkpoints of its own.
    """
    check_sections(config)
    lookup("encoder of a published model", config.model.encoder.get("kind"), dict.fromkeys(names.ENCODERS))
    workdirs.check(workdir, config, must_exist=False)
    step, arrays = read(path)
    model = _model_for(config, arrays)
    params = fit(path, model, arrays)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    if _is_there(workdir, step, params):
        return f"{workdir} already holds step {step} of {path}; nothing to do"
    with workdirs.claimed(workdir, config), Checkpoints(workdir, keep_every_steps=1) as checkpoints:
        checkpoints.save_ema(step, params)
    return f"step {step} of {path}, {count:,} parameters, is in {workdir}; --mode=eval and --mode=sample read it"


def read(path: Path) -> tuple[int, dict[str, np.ndarray]]:
    """The step of a published checkpoint, and its averaged parameters by their '/'-joined names.

    Raises:
      InputError: it cannot be read, or something in it is of another type.
    """
    state = flax_msgpack.read(path, ("step", "ema_params"))
    step = state["step"]
    if isinstance(step, np.ndarray) and step.shape == () and step.dtype.kind in "iu":
        step = int(step)
    require(type(step) is int and 0 <= step <= MAX_STEP, f"{path}: its step is no whole number from 0 to {MAX_STEP}")
    require(isinstance(state["ema_params"], dict), f"{path}: its ema_params are no map of names")
    arrays = {"/".join(name): value for name, value in names.leaves(state["ema_params"])}
    for name, value in arrays.items():
        is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        require(is_float, f"{path}: its parameter {name} is no array of floats")
    return step, arrays


def fit(path: Path, model: Model, arrays: Mapping[str, np.ndarray]) -> Params:
    """Our parameters of `model` from published ones.

    Raises:
      InputError: they are not of such a model, or not finite, or of a schedule that does not increase.
    """
    dialect, shapes = names.Dialect.of(arrays), jax.eval_shape(model.init, jax.random.key(0))
    learned = "take another loss.variance_ratio than 'learned'"
    require("ratio" not in shapes, f"{path} holds no ratio of variances, which no published model learns; {learned}")
    require(
        not model.score.derivative,
        f"{path} holds no second head, which no published model has; take --config.model.derivative_head=False",
    )
    places = names.places(shapes, dialect)
    if problems := list(_misfits(arrays, places)):
        raise InputError(f"{path} is not of the configuration's model: {'; '.join(problems)}")
    require(
        not dialect.bare or model.prediction == "eps",
        f"{path} is named as google-research/vdm names its models, which predict eps; "
        f"take --config.model.prediction=eps, not {model.prediction}",
    )
    for name, value in arrays.items():
        with np.errstate(over="ignore"):
            require(np.isfinite(value.astype(np.float32)).all(), f"{path}: its parameter {name} is not finite")
    params = jax.tree.map(jnp.asarray, names.to_ours(arrays, places))
    gamma = np.asarray(model.gamma(params)(jnp.linspace(0.0, 1.0, 9)))
    require(
        bool(np.isfinite(gamma).all() and (np.diff(gamma) > 0).all()),
        f"{path}: its noise schedule does not increase, from {gamma[0]:.4g} to {gamma[-1]:.4g}",
    )
    return params


def _model_for(config: ConfigDict, arrays: Mapping[str, np.ndarray]) -> Model:
    """The configured model for images of the parameters' number of channels.

    Parameters do not depend on the images' height and width, so that the data need not be there:
    any size will do that the networks can pool.
    """
    levels = unpack(DataConfig, config.data, "data").levels
    side = 2 ** max(section.get("levels", 0) for section in (config.model.score, config.model.encoder))
    channels = [arrays[name].shape[-1] for name in CHANNELS_LAST if name in arrays and arrays[name].ndim] or [3]
    return build(config, ImageSpec((side, side, channels[0]), levels))


def _misfits(arrays: Mapping[str, np.ndarray], places: Mapping[str, names.Place]) -> Iterator[str]:
    """What is wrong, all of it counted and some of it named."""
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


def _is_there(workdir: Path, step: int, params: Params) -> bool:
    """Whether `workdir` holds `params` as its newest checkpoint; raises InputError if it holds another."""
    with Checkpoints(workdir) as checkpoints:
        latest = checkpoints.latest_step()
        if latest is None:
            return False
        if latest == step and checkpoints.holds_ema_alone(step):
            theirs = checkpoints.restore_ema(step, jax.eval_shape(lambda: params))
            if jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), params, theirs)):
                return True
    raise InputError(f"{workdir} holds other checkpoints, the newest of step {latest}; give another --workdir")

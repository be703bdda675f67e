"""Import of published checkpoints: their averaged parameters become a workdir once all checks have passed."""

import operator
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from flax import serialization
from flax.traverse_util import flatten_dict

from diffenc_jax.config import Config
from diffenc_jax.core.errors import lookup, refusing, require
from diffenc_jax.diffusion.gaussian import velocity_from_noise
from diffenc_jax.lab.interop import names
from diffenc_jax.model import DataSpec, Model, Params, build
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.files import read_bytes
from diffenc_jax.runs.stored import StoredRun
from diffenc_jax.runs.workdir import locked_run

NAMED = 3  # number of parameters that a message names among those that do not fit
OUTPUT = "score_model/conv_out/bias"  # as many values as images have channels


def import_checkpoint(path: Path, config: Config, workdir: Path) -> str:
    """Store the averaged parameters of a published checkpoint in `workdir`; returns a line about it.

    Raises InputError if the file cannot be read or does not fit the configuration, or if `workdir` has another
    configuration or checkpoints.
    """
    stored = StoredRun(workdir)
    stored.check(config, must_exist=False)
    check_published(config)
    step, arrays = read_published(path)
    params = to_params(path, _model_for(config, arrays), arrays)
    require(not stored.steps(), f"{workdir} holds checkpoints already; give another --workdir")
    with locked_run(workdir, config) as (_, run), Checkpoints(run, 1, params) as checkpoints:
        checkpoints.save_ema(step, params)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return f"step {step} of {path}, {count:,} parameters, is in {workdir}; diffenc eval and diffenc sample read it"


def check_published(config: Config) -> None:
    """Raise InputError unless the configuration can describe a published model."""
    lookup("score network of a published model", config.model.score.kind, {"unet": None})
    lookup("encoder of a published model", config.model.encoder.kind, dict.fromkeys(names.ENCODERS))
    for name in ("labels", "augmentation", "derivative_head", "error_head"):
        require(not getattr(config.model, name), f"no published model has it; take --config.model.{name}=False")
    learned = config.loss.variance_ratio == "learned"
    require(not learned, "no published model learns a ratio; take another loss.variance_ratio than 'learned'")


def read_published(path: Path) -> tuple[int, dict[str, np.ndarray]]:
    """The step of a published checkpoint, and its averaged parameters by their '/'-joined names, float32.

    flax.serialization wrote the file. It is not trusted: nothing in it is executed. Raises InputError if it cannot be
    read.
    """
    content = read_bytes(path)
    with refusing(f"{path} cannot be read as a flax checkpoint with step and ema_params"):
        state = serialization.msgpack_restore(content)
        step, leaves = operator.index(state["step"]), flatten_dict(state["ema_params"], sep="/")
        return step, {name: np.asarray(leaf, np.float32) for name, leaf in leaves.items()}


def to_params(path: Path, model: Model, arrays: Mapping[str, np.ndarray]) -> Params:
    """Parameters of `model` from the published parameters in the file `path`.

    Raises InputError if they belong to another model, are not finite, or have a schedule that does not increase.
    """
    dialect = names.Dialect.of(arrays)
    locations = names.locations(jax.eval_shape(model.init, jax.random.key(0)), dialect)
    ours, theirs = ({name: one.shape for name, one in group.items()} for group in (locations, arrays))
    others = sorted({name for name, _ in ours.items() ^ theirs.items()})
    listed = ", ".join(f"{name} {theirs.get(name, 'missing')}" for name in others[:NAMED])
    more = f", and {len(others) - NAMED} more" if len(others) > NAMED else ""
    require(not others, f"{path} is not of the configuration's model; its parameters differ: {listed}{more}")
    require(
        not dialect.bare or model.to_velocity is velocity_from_noise,
        f"{path} is named as google-research/vdm names its models, which predict eps; take "
        "--config.model.prediction=eps",
    )
    for name, value in arrays.items():
        require(bool(np.isfinite(value).all()), f"{path}: its parameter {name} is not finite")
    params = jax.device_put(names.to_ours(arrays, locations))
    gamma = np.asarray(jax.jit(lambda t: model.bind(params).gamma(t))(np.linspace(0, 1, 9, dtype=np.float32)))
    increases = bool(np.isfinite(gamma).all() and (np.diff(gamma) > 0).all())
    require(increases, f"{path}: its noise schedule does not increase, from {gamma[0]:.4g} to {gamma[-1]:.4g}")
    return params


def _model_for(config: Config, arrays: Mapping[str, np.ndarray]) -> Model:
    """The configured model, for images with the number of channels that the parameters have.

    Parameters do not depend on the images' height and width. The data need not be present: the model can be built for
    any size that the networks can pool.
    """
    side = 2 ** max(network.options.get("levels", 0) for network in (config.model.score, config.model.encoder))
    channels = np.atleast_1d(arrays.get(OUTPUT, np.zeros(3))).shape[-1]
    return build(config, DataSpec((side, side, channels), config.data.pixel_levels))

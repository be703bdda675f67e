"""A derivative head for a run that was trained without one, trained on the frozen run."""

import dataclasses
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from diffenc_jax.core.streams import at_step, gaussian, stream, uniform
from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.data.images import Batch
from diffenc_jax.diffusion.times import antithetic
from diffenc_jax.lab.studies.encoder.price import model_rate
from diffenc_jax.lab.studies.encoder.replaced import FOLDER
from diffenc_jax.lab.studies.study import UNWATCHED, Watch
from diffenc_jax.model import Model, Params, bind_to
from diffenc_jax.model.model import DERIVATIVE
from diffenc_jax.parallel.batches import Batches
from diffenc_jax.parallel.sharding import check_batch, in_flight
from diffenc_jax.runs.files import MAKE_WRITABLE, opened_if_present, read_arrays, sha256_of, write_arrays, writing
from diffenc_jax.runs.hashes import array_shapes, hash_arrays
from diffenc_jax.runs.trained import Trained

# The highest learning rate, after a warm-up over the first tenth of the steps; it falls to 0 as a cosine.
LEARNING_RATE = 1e-3


def with_head(run: Trained, steps: int, watch: Watch = UNWATCHED) -> Trained:
    """`run` with a derivative head that is trained for `steps`, all else frozen; `run` itself if it needs none.

    The head is kept beside the other files of this study, and found again for the same run and number of steps.

    Args:
      run: has the training images as well.
      steps: 0 trains no head and returns `run`.
      watch: context manager around the training, if there is any.
    """
    if run.model.estimates_slope or not steps:
        return run
    score = run.model.score.clone(extra_heads=(*run.model.score.extra_heads, DERIVATIVE))
    model = dataclasses.replace(run.model, score=score)
    run = dataclasses.replace(run, model=model)
    path = _path(run, steps)
    head = _read(path, jax.eval_shape(partial(_initial, model), stream(0, "head")))
    if head is None:
        with watch("derivative head", steps) as on_step:
            for head in in_flight(_trained(run, steps)):
                jax.block_until_ready(head)
                on_step()
        with writing(path.parent, MAKE_WRITABLE):
            write_arrays(path, **{name: np.asarray(leaf) for name, leaf in flatten_dict(head, sep="/").items()})
    return dataclasses.replace(run, params=_joined(run.params, head))


def _trained(run: Trained, steps: int) -> Iterator[Params]:
    """The head's parameters after each step, which minimises the price in bits/dim by AdamW, without dropout."""
    train, seed = run.config.train, run.config.seed
    check_batch(run.mesh, train.batch_size, "train.batch_size")
    rate = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, steps // 10, steps)
    optimizer = optax.adamw(rate, b1=train.b1, b2=train.b2, weight_decay=train.weight_decay)

    @jax.jit
    def step(head, state, params, batch, number):
        grads = jax.grad(partial(_loss, run.model, seed))(head, params, batch, number)
        updates, state = optimizer.update(grads, state, head)
        return optax.apply_updates(head, updates), state

    head = jax.jit(partial(_initial, run.model))(stream(seed, "head"))
    state = jax.jit(optimizer.init)(head)
    batches = Batches(run.dataset.examples(TRAIN), run.config, run.mesh)
    for number in range(steps):
        head, state = step(head, state, run.params, batches(number), np.int32(number))
        yield head


def _loss(model: Model, seed: int, head: Params, params: Params, batch: Batch, number: jax.Array) -> jax.Array:
    """An unbiased estimate of the price in bits/dim, with γ spread evenly over the batch."""
    keys = [at_step(seed, name, number) for name in ("head time", "head noise")]
    process, pixels = bind_to(model, _joined(params, head), batch), batch.pixels
    low, high = process.endpoints
    gamma = low + (high - low) * antithetic(uniform(keys[0]), len(pixels))
    rates = model_rate(process, process.pixel_values(pixels), gamma, gaussian(keys[1], pixels.shape))
    return (high - low) * jnp.mean(rates) / (model.spec.dims * math.log(2))


def _initial(model: Model, key: jax.Array) -> Params:
    return model.init(key)["score"][DERIVATIVE]


def _joined(params: Params, head: Params) -> Params:
    return {**params, "score": {**params["score"], DERIVATIVE: head}}


def _path(run: Trained, steps: int) -> Path:
    """The file of the head, with a digest of all that its parameters depend on."""
    identity = {
        "config": run.config.hash,
        "parameters": hash_arrays(run.params),
        "images": run.dataset.sha256(TRAIN),
        "steps": steps,
        "learning_rate": LEARNING_RATE,
    }
    digest = sha256_of(json.dumps(identity, sort_keys=True).encode())[:12]
    return run.workdir / FOLDER / f"head-{run.step}-{steps}-{digest}.npz"


def _read(path: Path, shapes: Params) -> Params | None:
    """The parameters in the file at `path`; None if there is none, or it is damaged."""
    with opened_if_present(path) as file:
        arrays = read_arrays(file)
    if arrays is None or {name: array.shape for name, array in arrays.items()} != array_shapes(shapes):
        return None
    return unflatten_dict(arrays, sep="/")

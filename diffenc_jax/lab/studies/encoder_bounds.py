"""The bound of a trained model with other encoders in place of its own.

The bound of arXiv 2310.19789 holds for any path q(z_t | x) = N(α_t x_t, σ_t² I). The generative model p(z_s | z_t),
whose mean drifts by k x̂ with k = 1, does not depend on x_t. If only q is changed to x_t = x or x_t = α_t² x, the
result is therefore another bound on the likelihood of the *same* model. Its excess over the trained bound is the
benefit of the trained path for this model. A model that is trained without the encoder may differ. At infinite depth
the diffusion term is

  ½ E γ'(t) α_t² ‖v_t - v̂ + σ_t (slope + k x̂)‖²,  slope = 0 for x_t = x, -x_t for x_t = α_t² x, and k = 1,

with v_t, v̂ and x̂ at the z_t of that path. With x_t = x and k = 0 it is the bound of another model: VDM with this
score network.

The terms at the ends of the path show the gain of an encoder there, and the gain of a better prior p(z_1) without one.
The latent term is E KL(q(z_1 | x) ‖ N(0, I)) = I(x; z_1) + KL(q(z_1) ‖ N(0, I)). If I(x; z_1) is smaller, the diffusion
term is larger by the same amount, so an encoder can gain only the second part. A Gaussian p(z_1) in place of N(0, I),
with the mean and the variance of z_1 per pixel over training images, lowers the latent term by KL(q(z_1) ‖ N(0, I)) -
KL(q(z_1) ‖ p(z_1)): the second part, minus the remaining divergence of the fitted prior.
"""

import dataclasses
import math
from functools import cache, reduce
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.api import TrainedRun
from diffenc_jax.data.dataset import TRAIN
from diffenc_jax.diffusion.arrays import Images, PerExample, Scalar
from diffenc_jax.diffusion.encoders import Encoder, Identity, NonTrainable
from diffenc_jax.diffusion.gaussian import sum_dims
from diffenc_jax.diffusion.losses import latent
from diffenc_jax.diffusion.process import Process
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.evaluation.uncertainty import difference
from diffenc_jax.lab.studies.study import Watch
from diffenc_jax.lab.studies.sweep import Chunk, by_image, evaluated, sweep
from diffenc_jax.runs.records import read_values, terms_of

# In the workdir, of the records.
FOLDER = "encoder-records"
TRAINED = "trained"
# The paths whose ends are compared: the trained encoder's, and x_t = x, by the names of their bounds.
PATHS = (TRAINED, "identity")


class DriftingIdentity(Identity):
    """x_t = x in q, with a generative mean that keeps its drift."""

    drifts: ClassVar[bool] = True


# Encoders without a network, by name.
REPLACEMENTS: dict[str, type[Encoder]] = {"identity": DriftingIdentity, "nontrainable": NonTrainable, "vdm": Identity}


def replaced(run: TrainedRun) -> dict[str, TrainedRun]:
    """`run` with each encoder of `REPLACEMENTS`, except its own."""
    params = {name: part for name, part in run.params.items() if name != "encoder"}
    return {
        name: run.changed(model=dataclasses.replace(run.model, encoder=encoder()), params=params)
        for name, encoder in REPLACEMENTS.items()
        if encoder is not type(run.model.encoder)
    }


def measure_bounds(run: TrainedRun, watch: Watch) -> tuple[dict[str, dict[str, Any]], dict[str, Path]]:
    """Evaluate `run` as `run.config.eval` says, with its encoder and with `REPLACEMENTS`, under common noise.

    Writes a record per encoder to `FOLDER` in the workdir; finished records are used again. Records of `REPLACEMENTS`
    name the encoder in their 'estimator'. Steps are always fitted with the trained encoder, since they belong to the
    generative model.

    Returns:
      `encoder.EncoderEffects.bounds`, and the paths of the records by encoder.
    """
    bounds: dict[str, dict[str, Any]] = {}
    paths, bits = {}, {}
    own = Evaluator(run, folder=FOLDER)
    groups, tables = own.estimator.replicates, cache(lambda: own.estimator.tables(run.params))
    for name, variant in {TRAINED: run, **replaced(run)}.items():
        evaluator = own if variant is run else Evaluator(variant, folder=FOLDER, variant=name)
        with watch(f"bound, encoder: {name}", evaluator.num_batches()) as on_batch:
            one = evaluated(evaluator, variant, on_batch, tables)
        nats = terms_of(one.path, one.record, read_values(one.path, one.record))
        scale = run.model.spec.dims * math.log(2)
        bits[name] = ours = {"total": one.bits, **{term: values / scale for term, values in nats.items()}}
        paths[name], bounds[name] = one.path, {key: one.record[key] for key in ("bpd", "standard_error")}
        if variant is not run:
            changes = {term: difference(ours[term], bits[TRAINED][term], groups, groups, True) for term in ours}
            bounds[name]["difference"] = {term: [one.mean, one.standard_error.total] for term, one in changes.items()}
    return bounds, paths


class Ends(NamedTuple):
    """Terms at the ends of a path, nats per example [N].

    Attributes:
      reconstruction: the reconstruction term of the path's bound, mean over passes.
      latent: KL(q(z_1 | x) ‖ N(0, I)).
      fitted: KL(q(z_1 | x) ‖ p(z_1)), where p(z_1) is fitted per pixel.
    """

    reconstruction: np.ndarray
    latent: np.ndarray
    fitted: np.ndarray

    @property
    def cost(self) -> np.ndarray:
        """The reconstruction term plus the possible gain in the latent term, as estimated by p(z_1)."""
        return self.reconstruction + self.latent - self.fitted


def fitted_latent(x_1: Images, gamma_1: Scalar, mean: jax.Array, variance: jax.Array) -> PerExample:
    """KL(q(z_1 | x) ‖ p(z_1)) [B], nats per example, for x_1 of this mean and variance per pixel.

    With p(z_1) = N(α_1 mean, α_1² variance + σ_1²) it is

      ½ Σ [ln(1 + variance e^(-γ_1)) + ((x_1 - mean)² - variance) / (variance + e^(γ_1))].
    """
    excess = (jnp.square(x_1 - mean) - variance) / (variance + jnp.exp(gamma_1))
    return 0.5 * sum_dims(jnp.log1p(variance * jnp.exp(-gamma_1)) + excess)


def measure_ends(run: TrainedRun, records: dict[str, Path]) -> dict[str, Ends]:
    """The terms at the ends of both `PATHS`, for all images of the split.

    Args:
      run: the run, with its training images.
      records: records of both paths, by name of the bound.
    """
    sums = (np.asarray(part, np.float64) for _, _, part in sweep(run, [()], _sums, split=TRAIN))
    moments = reduce(np.add, sums) / len(run.dataset.split(TRAIN).data)
    variance = np.maximum(moments[1] - moments[0] ** 2, 0)
    (nats,) = by_image(run, [(np.float32(moments[0]), np.float32(variance))], _nats)
    reconstruction = [read_values(records[path])["reconstruction"].mean(axis=0) for path in PATHS]
    return {path: Ends(first, *others) for path, first, others in zip(PATHS, reconstruction, nats, strict=True)}


def _ends(process: Process, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x_1 along both paths, [2, B, H, W, C], and γ_1."""
    x, gamma_1 = process.decoder.values(pixels), process.endpoints[1]
    return jnp.stack([process.encoder.mean(x, jnp.full(len(x), gamma_1)), x]), gamma_1


def _sums(chunk: Chunk) -> jax.Array:
    """Sums over the images of x_1 and of its square, [2, 2, H, W, C]: by power, and by path."""
    x_1, _ = _ends(chunk.process, chunk.data)
    weight = (jnp.arange(len(chunk.data)) < chunk.valid).astype(jnp.float32)
    return jnp.stack([jnp.einsum("pb...,b->p...", power, weight, precision="highest") for power in (x_1, x_1**2)])


def _nats(chunk: Chunk, mean, variance) -> jax.Array:
    """'latent' and 'fitted' of `Ends` along both paths, [2, 2, B], for moments [2, H, W, C]."""
    x_1, gamma_1 = _ends(chunk.process, chunk.data)
    nats = [[latent(x, gamma_1), fitted_latent(x, gamma_1, *fit)] for x, *fit in zip(x_1, mean, variance, strict=True)]
    return jnp.asarray(nats)

"""The bound of a trained model along the paths of other encoders than its own.

The bound of arXiv 2310.19789 holds for any path q(z_t | x) = N(α_t x_t, σ_t² I). The generative model p(z_s | z_t),
whose mean drifts by k x̂ with k = 1, does not depend on x_t. So with x_t = x or x_t = α_t² x in q alone, the bound is
another bound on the likelihood of the *same* model, and its excess over the trained bound is what the trained path is
worth to this model. A model that is trained without the encoder may differ. At infinite depth the diffusion term is

  ½ E γ'(t) α_t² ‖v_t - v̂ + σ_t (slope + k x̂)‖²,  slope = 0 for x_t = x, -x_t for x_t = α_t² x, and k = 1,

with v_t, v̂ and x̂ at the z_t of that path. With x_t = x and k = 0 it is the bound of another model: VDM's, with this
score network.
"""

import dataclasses
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from diffenc_jax.diffusion.encoders import Encoder, Identity, NonTrainable
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.evaluation.uncertainty import difference
from diffenc_jax.lab.studies.encoder.table import FOLDER, TRAINED
from diffenc_jax.lab.studies.sweep import UNWATCHED, Watch
from diffenc_jax.runs.records import read_values
from diffenc_jax.runs.trained import Trained


class DriftingIdentity(Identity):
    """x_t = x in q, while the generative mean keeps its drift."""

    drifts: ClassVar[bool] = True


class Replacement(NamedTuple):
    """An encoder without a network, and the meaning of the bound along its path."""

    encoder: type[Encoder]
    meaning: str


REPLACEMENTS = {
    "identity": Replacement(
        DriftingIdentity, "x_t = x, the generative model as trained: another bound on the same likelihood"
    ),
    "nontrainable": Replacement(
        NonTrainable, "x_t = α_t² x, the generative model as trained: another bound on the same likelihood"
    ),
    "vdm": Replacement(
        Identity, "x_t = x, the generative mean without its drift: the bound of VDM with this score network"
    ),
}


def replaced(run: Trained) -> dict[str, Trained]:
    """`run` with each encoder of `REPLACEMENTS` that is not its own."""
    params = {name: part for name, part in run.params.items() if name != "encoder"}
    models = {
        name: dataclasses.replace(run.model, encoder=replacement.encoder())
        for name, replacement in REPLACEMENTS.items()
        if replacement.encoder is not type(run.model.encoder)
    }
    return {name: dataclasses.replace(run, model=model, params=params) for name, model in models.items()}


def measure_bounds(run: Trained, watch: Watch = UNWATCHED) -> dict[str, Any]:
    """Evaluate `run` as `run.config.eval` says, with its encoder and with `REPLACEMENTS`, under common noise.

    Writes a record per encoder to the folder of this study in the workdir; finished records are used again. Records of
    `REPLACEMENTS` name the encoder in their 'estimator'. Fitted steps are always those of the trained encoder, since
    they belong to the generative model.

    Args:
      watch: context manager around each evaluation.

    Returns:
      By encoder, the trained one first: 'meaning', 'record' (name of the file), 'bpd' and 'standard_error' of the
      record. Other encoders than the trained one have 'difference', by term and in 'total': 'mean' and
      'standard_error' of the difference to the trained one in bits/dim, paired by image.
    """
    bounds, trained = {}, {}
    own = Evaluator(run, folder=FOLDER)
    tables = cache(lambda: own.estimator.tables(run.params))
    for name, variant in {TRAINED: run, **replaced(run)}.items():
        evaluator = own if variant is run else Evaluator(variant, folder=FOLDER, variant=name)
        with watch(f"bound, encoder: {name}", evaluator.num_batches()) as on_batch:
            record = evaluator.record(variant.params, run.step, run.workdir, tables=tables, on_batch=on_batch)
        path = evaluator.path(variant.params, run.step, run.workdir)
        bits = _bits(path, evaluator.estimator.terms, run.model.spec.dims)
        meaning = "the bound that was trained" if variant is run else REPLACEMENTS[name].meaning
        bounds[name] = {"meaning": meaning, "record": path.name}
        bounds[name] |= {key: record[key] for key in ("bpd", "standard_error")}
        if variant is run:
            trained = bits
        else:
            bounds[name]["difference"] = _differences(bits, trained, evaluator.estimator.replicates)
    return bounds


def _bits(record: Path, terms: Sequence[str], dims: int) -> dict[str, np.ndarray]:
    """Bits/dim [passes, images] by term and in 'total', from the arrays beside a record."""
    nats = read_values(record)
    bits = {term: nats[term] / (dims * math.log(2)) for term in terms}
    return bits | {"total": sum(bits.values())}


def _differences(bits: dict[str, np.ndarray], trained: dict[str, np.ndarray], replicates: int | None) -> dict[str, Any]:
    """Differences by term, of values [passes, images]."""
    pairs = {term: difference(bits[term], trained[term], replicates, replicates, True) for term in bits}
    return {term: {"mean": pair.mean, "standard_error": pair.standard_error._asdict()} for term, pair in pairs.items()}

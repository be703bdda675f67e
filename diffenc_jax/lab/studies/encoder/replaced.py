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
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from diffenc_jax.diffusion.encoders import Encoder, Identity, NonTrainable
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.evaluation.uncertainty import difference
from diffenc_jax.lab.studies.encoder.study import TRAINED
from diffenc_jax.lab.studies.study import Watch
from diffenc_jax.runs.records import read_values
from diffenc_jax.runs.trained import Trained

# In the workdir, of the records, and of a derivative head beside them.
FOLDER = "encoder-records"


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


def measure_bounds(run: Trained, watch: Watch) -> tuple[dict[str, dict[str, Any]], dict[str, Path]]:
    """Evaluate `run` as `run.config.eval` says, with its encoder and with `REPLACEMENTS`, under common noise.

    Writes a record per encoder to `FOLDER` in the workdir; finished records are used again. Records of `REPLACEMENTS`
    name the encoder in their 'estimator'. Fitted steps are always those of the trained encoder, since they belong to
    the generative model.

    Returns:
      `study.Encoder.bounds`, and the paths of the records by encoder.
    """
    bounds, paths, bits = {}, {}, {}
    own = Evaluator(run, folder=FOLDER)
    tables = cache(lambda: own.estimator.tables(run.params))
    for name, variant in {TRAINED: run, **replaced(run)}.items():
        evaluator = own if variant is run else Evaluator(variant, folder=FOLDER, variant=name)
        with watch(f"bound, encoder: {name}", evaluator.num_batches()) as on_batch:
            record = evaluator.record(variant.params, run.step, run.workdir, tables=tables, on_batch=on_batch)
        paths[name] = evaluator.path(variant.params, run.step, run.workdir)
        nats = {term: read_values(paths[name])[term] for term in evaluator.estimator.terms}
        bits[name] = {term: one / (run.model.spec.dims * math.log(2)) for term, one in nats.items()}
        bits[name]["total"] = np.sum(list(bits[name].values()), axis=0)
        bounds[name] = {key: record[key] for key in ("bpd", "standard_error")}
        if variant is not run:
            groups, pairs = evaluator.estimator.replicates, {}
            for term, values in bits[name].items():
                pair = difference(values, bits[TRAINED][term], groups, groups, True)
                pairs[term] = [pair.mean, pair.standard_error.total]
            bounds[name] |= {"meaning": REPLACEMENTS[name].meaning, "difference": pairs}
    return bounds, paths

"""The bound of a trained model along other paths than its encoder's.

The bound of arXiv 2310.19789 holds for any path q(z_t | x) = N(α_t x_t, σ_t² I). The generative model, its score
network included, does not know x_t; it is p(z_s | z_t), whose mean drifts by k x̂ with k = 1. So with x_t = x, or
x_t = α_t² x, put into q alone, the bound is another one on the *same* model's likelihood, and what it exceeds the
trained one by is what the trained path is worth to this model; not to one trained without. At infinite depth the
diffusion term is

  ½ E γ'(t) α_t² ‖v_t - v̂ + σ_t (slope + k x̂)‖²,  slope = 0 where x_t = x, -x_t where x_t = α_t² x, and k = 1,

with v_t of the z_t that the path leads to, at which v̂ and x̂ are evaluated. With k = 0 besides x_t = x it is the bound
of another model: VDM's, with this score network.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from diffenc_jax.diffusion.encoders import Encoder, Identity, NonTrainable
from diffenc_jax.encoder_study.table import TRAINED
from diffenc_jax.estimators.base import Estimator, Tables
from diffenc_jax.evaluate import Evaluator
from diffenc_jax.model import Model, Params
from diffenc_jax.stats.uncertainty import difference
from diffenc_jax.trained import Trained


@dataclass(frozen=True)
class Unmoved(Identity):
    """x_t = x in q, while the generative mean keeps its drift."""

    drifts: ClassVar[bool] = True


class Off(NamedTuple):
    """An encoder without a network in the place of the trained one, and what its bound is."""

    encoder: type[Encoder]
    meaning: str


OFF = {
    "identity": Off(Unmoved, "x_t = x, the generative model as trained: another bound on the same likelihood"),
    "nontrainable": Off(
        NonTrainable, "x_t = α_t² x, the generative model as trained: another bound on the same likelihood"
    ),
    "vdm": Off(Identity, "x_t = x, and the generative mean without its drift: VDM's model with this score network"),
}


class Renamed:
    """An estimator whose records, and their files, say with which encoder of `OFF` they were made.

    It goes by `tables` that are not its own: steps that were fitted with the trained encoder are the model's.
    """

    def __init__(self, estimator: Estimator, encoder: str, tables: Callable[[], Tables]):
        self._estimator, self._encoder, self._tables = estimator, encoder, tables

    def __getattr__(self, name: str) -> Any:
        return getattr(self._estimator, name)

    def tables(self, params: Params) -> Tables:
        return self._tables()

    @property
    def name(self) -> str:
        return f"{self._estimator.name}-{self._encoder}"

    def describe(self) -> dict[str, Any]:
        return self._estimator.describe() | {"encoder": self._encoder}


def switched_off(model: Model) -> dict[str, Model]:
    """`model` with each encoder of `OFF` that is not its own."""
    return {
        name: replace(model, encoder_kind=off.encoder, encoder_net=None)
        for name, off in OFF.items()
        if off.encoder is not model.encoder_kind
    }


def study(run: Trained, folder: str, on_record: Callable[[str, Evaluator], Callable[[], None]]) -> dict[str, Any]:
    """Evaluates `run` as `run.config.eval` says, with its encoder and with those of `OFF`, under common noise.

    Writes a record each to the `folder` of the workdir, or finds it there. In those of `OFF` the arm is the run's,
    and 'estimator' has one key more, 'encoder'.

    Args:
      on_record: told what is evaluated next, and by what; returns what is called after every batch.

    Returns:
      By encoder, the trained one first: 'meaning', its 'record' (the file's name), and from that 'bpd' and
      'standard_error'; of those of `OFF` also 'difference' to the trained one by term and in 'total', bits/dim, paired
      by image: its 'mean' and the standard errors of that.
    """
    found, trained = {}, None
    models = {TRAINED: run.model, **switched_off(run.model)}
    evaluators = {name: Evaluator(model, run.config, run.dataset, run.mesh) for name, model in models.items()}
    tables = cache(lambda: evaluators[TRAINED].estimator.tables(run.params))
    for name, evaluator in evaluators.items():
        model, estimator = models[name], evaluator.estimator
        if name != TRAINED:
            estimator = Renamed(estimator, name, tables)
        on_batch = on_record(name, evaluator)
        record = evaluator.record(_params(run.params, model), run.step, run.workdir, estimator, folder, on_batch)
        path = evaluator.path(run.step, run.workdir, estimator, folder)
        with np.load(path.with_suffix(".npz")) as values:
            bits = {term: values[term] / (model.spec.dims * math.log(2)) for term in estimator.terms}
        bits["total"] = sum(bits.values())
        meaning = "the bound that was trained" if name == TRAINED else OFF[name].meaning
        found[name] = {"meaning": meaning, "record": path.name}
        found[name] |= {key: record[key] for key in ("bpd", "standard_error")}
        if trained is None:
            trained = bits
        else:
            found[name]["difference"] = _differences(bits, trained, estimator.replicates)
    return found


def _params(params: Params, model: Model) -> Params:
    """Without those of an encoder network that `model` has not."""
    return {name: part for name, part in params.items() if name != "encoder" or model.encoder_net is not None}


def _differences(bits: dict[str, np.ndarray], trained: dict[str, np.ndarray], replicates: int | None) -> dict[str, Any]:
    """By term, of values [passes, images]."""
    pairs = {term: difference(bits[term], trained[term], replicates, replicates, True) for term in bits}
    return {term: {"mean": pair.mean, "standard_error": pair.standard_error._asdict()} for term, pair in pairs.items()}

"""Where the regret of models comes from, on data whose log p is known.

For a folder of `diffenc significance` on such data, prints the true bits/dim of the evaluated images and, if known, the
entropy of their distribution. Per arm it prints the regret over its seeds and, of its first seed,

- the parts of the law in docs/encoder-law.md: the end terms of the bound, the price of the encoder's drift, and the
  rest. The first two are upper bounds on what they cost, so the network's error is at least the rest;
- the regret on training images, which overfitting lowers;
- the regrets by other estimators: finite depth with fitted times and ratios, the ODE, and the length of a code.

The ODE and the code take the images of the split `few`, and the tables have their differences to the bound on the same
images. The records are kept in the runs, so that the same command resumes.
"""

import math
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from typing import Any

from etils import epy

from diffenc_jax.commands.options import location, positive
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import InputError
from diffenc_jax.core.numbers import UNKNOWN, format_number, with_error
from diffenc_jax.lab import studies

with epy.lazy_imports():  # help needs none of them
    from diffenc_jax import api
    from diffenc_jax.core import terminal
    from diffenc_jax.evaluation import fit as fits
    from diffenc_jax.evaluation import means, uncertainty
    from diffenc_jax.lab.comparisons.significance import analysis as analyses
    from diffenc_jax.lab.comparisons.significance import finished, grid
    from known_truth import ising

EXAMPLE = "diffenc regrets runs/ising-8"
FITTED = {"loss.times": "optimal", "loss.variance_ratio": "optimal_estimate"}
# With an affine process the encoder is called for each pair of times of the grid: a quarter of the default calls.
COARSELY_FITTED = FITTED | {"fit.grid": 240}
FEW = {"eval.split": "few", "eval.passes": 32}
OTHERS = {
    "training images": {"eval.split": "seen"},
    **{f"T = {depth}": {"loss.depth": depth, **COARSELY_FITTED} for depth in (250, 50, 10)},
}
SLOW = {
    "ODE": {"eval.passes": 4, "eval.estimator": "ode", "ode.rtol": 1e-3},
    "code": {"eval.passes": 1, "eval.estimator": "code_length", "loss.depth": 50, **COARSELY_FITTED},
}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("root", type=location, help="folder of a significance study")
    parser.add_argument("--fit-images", type=positive, help="training images of a fit (default: those of the runs)")


def run(arguments: Namespace) -> None:
    runs, missing = finished.find_runs(arguments.root, grid.read_grid(arguments.root))
    analysis = analyses.analyse(runs, None, 0.01, missing=missing)
    parts, others, images = [], [], {"fit.images": arguments.fit_images}
    for name, arm in analysis.arms.items():
        first = next(run for run in runs if run.arm == name)
        ends, price, regret = arm.terms["reconstruction"] + arm.terms["latent"], price_of(first), arm.regret
        over = with_error(regret.mean, regret.standard_error, regret.images)
        parts.append([name, over, *map(format_number, (ends, price, regret.mean - ends - (price or 0.0)))])
        trained = api.open(first.workdir, OTHERS["T = 10"] | images)
        fit = fits.Fit(trained.evaluator.run, trained.params)
        regrets = [evaluated(first, changes | images, fit).record["regret"] for changes in OTHERS.values()]
        beside = (above_bound(first, changes | images, fit) for changes in SLOW.values())
        others.append([name, *(with_error(of["bpd"], of["total"]) for of in regrets), *beside])
    about = about_truth(analysis.true_bpd, trained.dataset, trained.config.eval.split)
    heads = ["", "regret ± seeds ± images", "end terms", "drift", "rest"]
    terminal.print_document(Table(heads, parts, about, "bits/dim"))
    heads = ["", *OTHERS, *(f"{name}, to the bound" for name in SLOW)]
    terminal.print_document(Table(heads, others, "Regrets, one seed", "bits/dim"))


def about_truth(true_bpd: float, dataset: Any, split: str) -> str:
    """Mean true -log2 p of the images of a split, with its error, and the entropy of their distribution if known."""
    mean, entropy = with_error(true_bpd, means.mean_and_error(dataset.split(split).true_bits)[1]), "not known exactly"
    world, _, side = dataset.source.name.partition("-")
    if world == "ising":
        entropy = f"{ising.entropy(int(side)) / (dataset.spec.dims * math.log(2)):.4f} bits/dim"
    text = f"The evaluated images have {mean} true bits/dim, ± the error by the choice of images."
    return f"{text} The entropy of their distribution is {entropy}."


def evaluated(run: Any, changes: dict[str, Any], fit: Any) -> Any:
    """The evaluation of a run with these changes, which is kept in the run; all depths share one fit."""
    trained = api.open(run.workdir, changes)
    if trained.config.loss.is_fitted:
        trained.evaluator.estimator.fit = fit
    return trained.evaluator.record(trained.params, trained.checkpoint, trained.stored)


def above_bound(run: Any, changes: dict[str, Any], fit: Any) -> str:
    """The mean of other bits/dim minus those of the bound, with its error, paired by image."""
    with suppress(InputError):  # an estimator that the model cannot have
        bound, other = evaluated(run, FEW, fit), evaluated(run, FEW | changes, fit)
        mean, errors = uncertainty.difference(
            other.bits, bound.bits, other.replicates, bound.replicates, common_noise=False
        )
        return with_error(mean, errors.total)
    return UNKNOWN


def price_of(run: Any) -> float | None:
    """The price of the drift of a run's encoder in bits/dim; None where the study measures none."""
    with suppress(InputError):  # x_t = x, or noise that is scaled as well
        return studies.measure("encoder-study", run.workdir, FEW).result.price[0]
    return None

"""Densities of real data: our models beside other libraries, and beside the truth where it is known.

Worlds with a known density have 18,000 training and 2,000 test examples; the figure is the excess, truth minus log p,
in nats/dim. Of tables of scikit-learn a fifth is the test data, at most 100 examples, and noise as wide as their
rounding makes them continuous; the figure is the mean log p of a test example. Each seed has its own draws, or its own
split. Our models see the digits as fields of 8x8, the others as vectors. For series and fields the tolerances of our
ODE are 1e-3 instead of 1e-5.

The other libraries are flowjax, by affine and by spline flows, and BayesFlow, by flow matching; install them by pip
install flowjax bayesflow. BayesFlow and our ODE, which are slow, take the first 100 test examples.

The values are kept in --out, so that the same command resumes.
"""

import itertools
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from etils import epy

from diffenc_jax.commands.options import location
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import lookup, require
from diffenc_jax.core.numbers import Figure
from diffenc_jax.lab.commands.significance import seed_numbers

with epy.lazy_imports():  # help needs none of them
    import numpy as np

    from diffenc_jax.core import terminal, versions
    from diffenc_jax.evaluation import means
    from diffenc_jax.lab.densities import models, worlds

EXAMPLE = "diffenc densities --out=densities --only=gaussian-20 --models=vdm-fast,MAF"
Values = dict[str, list[list[float]]]  # by estimate, what `models.measured` returns under each seed


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--only", default="", metavar="NAME,...", help="worlds and tables (default: all)")
    parser.add_argument("--models", default="", metavar="NAME,...", help="models (default: all)")
    parser.add_argument("--seeds", type=seed_numbers, default=(0, 1, 2), help="seeds (default: 0-2)")
    parser.add_argument("--out", type=location, required=True, metavar="DIR", help="folder of the values")


def run(arguments: Namespace) -> None:
    data, chosen = _chosen("data", arguments.only, models.DATA), _chosen("model", arguments.models, models.MODELS)
    for model in chosen:
        library = models.LIBRARIES.get(model, "diffenc_jax")
        require(find_spec(library) is not None, f"{model} needs {library}; pip install flowjax bayesflow")
    arguments.out.mkdir(parents=True, exist_ok=True)
    values: dict[str, Values] = {name: {} for name in data}
    for name, seed, model in itertools.product(data, arguments.seeds, chosen):
        path = arguments.out / f"{name}-{model}-{seed}.json"
        if not path.exists():
            path.write_text(json.dumps(models.measured(name, model, seed, arguments.out)) + "\n")
        for estimate, figures in json.loads(path.read_text()).items():
            values[name].setdefault(estimate, []).append(figures)
            print(name, seed, estimate, figures, file=sys.stderr)
    for about, unit, known, cell in (
        ("Truth minus log p, nats/dim", "nats/dim", worlds.WORLDS, _excess),
        ("Mean log p in nats by the first, and the differences of the others", "nats", worlds.TABLES, _gain),
        ("Seconds of training, and milliseconds per log p", "s, ms", models.DATA, _cost),
    ):
        shown = {name: own for name, own in values.items() if name in known}
        heads = list(dict.fromkeys(itertools.chain(*shown.values())))
        rows = [[name, *(cell(own, each) if each in own else "" for each in heads)] for name, own in shown.items()]
        if rows:
            terminal.print_document(Table(["", *heads], rows, f"{about}. {versions.device()}", unit))


def _chosen(kind: str, names: str, known: Mapping[str, Any]) -> list[str]:
    chosen = names.split(",") if names else [*known]
    for name in chosen:
        lookup(kind, name, known)
    return chosen


def _excess(values: Values, estimate: str) -> Figure:
    """The mean over seeds, with its error; under one seed, the error over examples."""
    each = np.array([own[0] for own in values[estimate]])
    return Figure("{:.4f} ± {:.4f}", *(means.mean_and_error(each) if len(each) > 1 else values[estimate][0][:2]))


def _gain(values: Values, estimate: str) -> Figure:
    """The mean over seeds of the first estimate; for others the mean difference to it, with its error."""
    reference = next(iter(values))
    first, own = (np.array([figures[0] for figures in values[name]]) for name in (reference, estimate))
    if estimate == reference:
        return Figure("{:.2f}", own.mean())
    difference, error = means.mean_and_error(own - first)
    return Figure("{:+.2f} ± {:.2f}", difference, error) if len(own) > 1 else Figure("{:+.2f}", difference)


def _cost(values: Values, estimate: str) -> Figure:
    seconds, milliseconds = np.median([own[2:4] for own in values[estimate]], axis=0)
    return Figure("{:.0f}, {:.0f}" if milliseconds >= 100 else "{:.0f}, {:.3g}", seconds, milliseconds)

"""Bits/dim by one and by many draws of the whole path, which approach the model's own likelihood from above."""

import math
from dataclasses import dataclass
from typing import Any

from etils import epy

from diffenc_jax.core.document import Table
from diffenc_jax.core.keys import Keyed, count
from diffenc_jax.core.numbers import UNKNOWN, format_number, with_error
from diffenc_jax.lab.studies.study import Rows, Study, TrainedRun, Watch

with epy.lazy_imports():  # help and the report need none of them
    import numpy as np

    from diffenc_jax import api

FITTED = {"loss.times": "optimal", "loss.variance_ratio": "optimal_estimate"}
DRAWS, MOST_STEPS = (1, 16, 64), 16_000  # steps of all draws of an image
PATHS: dict[str, dict[str, Any]] = {
    "T = 100": {"loss.depth": 100},
    **{f"T = {depth}, fitted": {"loss.depth": depth, **FITTED} for depth in (100, 250, 1000)},
}


@dataclass(frozen=True)
class Arguments(Keyed):
    """Arguments of the study."""

    images: int = count(16, "number of test images")


@dataclass
class Draws:
    """Bits/dim by paths and numbers of draws.

    Attributes:
      images: number of images.
      true_bpd: true bits/dim of the images; None if their distribution is not known.
      rows: entries: path, a key of `PATHS`; draws; bpd, the mean over the images, with its standard error bpd_se by
        noise.
    """

    images: int
    true_bpd: float | None
    rows: Rows

    def tables(self) -> list[Table]:
        """A row per path, a column per number of draws."""
        cells = {(row["path"], row["draws"]): with_error(row["bpd"], row["bpd_se"]) for row in self.rows}
        rows = [[path, *(cells.get((path, draws), UNKNOWN) for draws in DRAWS)] for path in PATHS]
        truth = "" if self.true_bpd is None else f"; the truth has {format_number(self.true_bpd)}"
        about = f"bits/dim of {self.images} images ± standard error by noise{truth}"
        return [Table(["", *(f"{draws} draws" for draws in DRAWS)], rows, about, "bits/dim")]

    def sentence(self) -> str:
        """'64 draws lower T = 100, fitted by 0.0123 bits/dim'."""
        path = list(PATHS)[1]
        own = [row for row in self.rows if row["path"] == path]
        return f"{own[-1]['draws']} draws lower {path} by {own[0]['bpd'] - own[-1]['bpd']:.4f} bits/dim"


class DrawsStudy(Study[Arguments, Draws]):
    """Measure bits/dim by one and by many draws of the whole path, to see how much the bound adds.

    Takes the first images of `eval.split`. The mean of one draw is the bound at this depth. Many draws approach the
    model's own likelihood from above. The errors of the mean over images are by noise. If the true bits/dim of the
    images are known, they are shown too.
    """

    name = "draws-study"
    title = "Many draws of the path"
    EXAMPLE = "diffenc draws-study runs/digits-vdm-fast-seed0"
    arguments = Arguments
    result = Draws

    def measure(self, run: TrainedRun, arguments: Arguments, watch: Watch) -> Draws:
        split, rows = run.dataset.split(run.config.eval.split), []
        images = split.data[: arguments.images]
        labels = None if split.labels is None else split.labels[: arguments.images]
        nats = math.log(2) * run.model.spec.dims
        sizes = [(path, draws) for path in PATHS for draws in DRAWS if draws * PATHS[path]["loss.depth"] <= MOST_STEPS]
        opened = {path: api.open(run.stored, config=run.config.replace(changes)) for path, changes in PATHS.items()}
        runs = {path: one.changed(dataset=run.dataset) for path, one in opened.items()}
        with watch("draws", sum(draws for _, draws in sizes)) as advance:
            for path, draws in sizes:
                settings = {"num_draws": draws, "passes": max(2, 8 // draws)}
                values, errors = runs[path].log_prob(images, labels, "importance_weighted", **settings)
                error = np.sqrt((errors**2).sum()) / (len(images) * nats)
                rows.append({"path": path, "draws": draws, "bpd": float(-values.mean() / nats), "bpd_se": float(error)})
                advance(draws)
        true = split.true_bits
        return Draws(len(images), None if true is None else float(true[: len(images)].mean()), rows)

"""The diffusion loss by noise level: how the bits are distributed along the path, and which errors cause them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

from etils import epy

from diffenc_jax.core.document import Table
from diffenc_jax.core.keys import Keyed, count
from diffenc_jax.core.numbers import format_number
from diffenc_jax.lab.figures.charts import BANDS, GAMMA, Board, Chart, Panel, with_errors
from diffenc_jax.lab.studies.study import Measured, Rows, Study, TrainedRun, Watch

with epy.lazy_imports():  # help and the report need none of them
    import jax
    import jax.numpy as jnp
    import numpy as np

    from diffenc_jax.core import streams
    from diffenc_jax.diffusion import gaussian, losses
    from diffenc_jax.evaluation import means
    from diffenc_jax.lab.studies import sweep

# Vertical axes of the panels by column.
PANELS = {
    "diffusion": r"diffusion loss (bits/dim per unit of $\gamma$)",
    "velocity": r"$\|v-\hat{v}\|^2/d$",
    "residual": r"$\|\mathrm{d}x_t/\mathrm{d}\lambda-\sigma_t^2\hat{x}\|^2/(\sigma_t^2d)$",
}
CAPTION = (
    "the diffusion loss per unit of γ, whose area is the diffusion term of the bound, and the squared errors per "
    f"dimension of the velocity and, with an encoder, of its drift, λ = -γ; {BANDS}"
)


@dataclass(frozen=True)
class Arguments(Keyed):
    """Arguments of the study."""

    cells: int = count(50, "number of equal parts of t")
    draws: int = count(4, "draws of time and noise per image and cell")


@dataclass
class ByTime:
    """Means over images.

    Attributes:
      rows: a row per cell: t and gamma of its centre, gamma_width, diffusion in bits/dim per unit of γ, velocity and
        residual per dimension, and the standard errors of these three over images (_se).
      area: area under the diffusion loss over γ, bits/dim.
      standard_error: standard error of the area over images.
    """

    rows: Rows
    area: float
    standard_error: float

    def tables(self) -> list[Table]:
        """The area."""
        cells = [format_number(self.area), format_number(self.standard_error)]
        return [Table(["area", "standard error"], [cells], "the diffusion loss, bits/dim", "bits/dim")]

    def sentence(self) -> str:
        return f"area {self.area:.4f} ± {self.standard_error:.4f} bits/dim of diffusion loss"


class LossByTime(Study[Arguments, ByTime]):
    """Measure the diffusion loss of trained runs by noise level, and the squared errors that cause it.

    Evaluates every image of `eval.split` in each of --cells equal parts of the time t, from the data at 0 to the noise
    at 1, at infinite depth, with the averaged (EMA) parameters of the newest checkpoint. The result has a row per cell,
    with standard errors over images: the diffusion loss per unit of γ = -log SNR in bits/dim, and the squared errors of
    the velocity and of the encoder's drift. The area under the diffusion loss is the bound's diffusion term. Several
    runs are evaluated under common noise. The cost is --cells times --draws forward passes per image, 200 by default.
    """

    name = "loss-by-time"
    title = "Bits by time"
    EXAMPLE = "diffenc loss-by-time runs/digits-vdm-seed0 runs/digits-diffenc-seed0"
    ON_INTERRUPT = "the results of finished runs are kept; the same command starts again"
    together = True
    arguments = Arguments
    result = ByTime

    def measure(self, run: TrainedRun, arguments: Arguments, watch: Watch) -> ByTime:
        with watch("loss by time", 1.0) as on_part:
            values = measure_loss_by_time(run, arguments.cells, arguments.draws, on_part=on_part)
        return summarize(values, run.model.spec.dims)

    def figures(self, shown: Sequence[Measured[ByTime]]) -> dict[str, Chart | Board]:
        drifts = any(row["residual"] for one in shown for row in one.result.rows)
        panels = [
            Panel(ylabel, [with_errors(one.name, one.result.rows, "gamma", column, arm=one.arm) for one in shown])
            for column, ylabel in list(PANELS.items())[: 2 + drifts]
        ]
        return {"": Chart(CAPTION, GAMMA, panels, BANDS)}


class CellLosses(NamedTuple):
    """The loss on the cells [i, i + 1) / cells of t, at random times of each cell; float64.

    Each value is one draw, an unbiased estimate of the mean over its cell. So `diffusion.mean((0, 1))` estimates the
    loss of each cell, and `diffusion.mean()` estimates the bound's diffusion term.

    Attributes:
      t, gamma: [cells] centres of the cells, and γ there.
      edges: [cells + 1] γ at the ends of the cells.
      diffusion: [draws, images, cells] nats, ½ γ'(t) α_t² ‖v_t - v̂ + σ_t (slope + k x̂)‖², see `Instant.loss`.
      velocity: [draws, images, cells] ‖v_t - v̂‖².
      residual: [draws, images, cells] ‖σ_t (slope + k x̂)‖², the part of the encoder's drift that the model misses.
        With λ = -γ and slope = (dx_t/dγ) / σ_t² it is ‖dx_t/dλ - σ_t² x̂‖² / σ_t² for an encoder that drifts (k = 1;
        arXiv 2310.19789), and zero for the identity.

    `diffusion` differs from ½ γ' α_t² (velocity + residual) by the product of the two errors.
    """

    t: "np.ndarray"
    gamma: "np.ndarray"
    edges: "np.ndarray"
    diffusion: "np.ndarray"
    velocity: "np.ndarray"
    residual: "np.ndarray"


def measure_loss_by_time(
    run: TrainedRun, cells: int, num_draws: int, on_part: "sweep.OnPart" = lambda part: None
) -> CellLosses:
    """The loss by time of all images of the split that `run` evaluates on.

    The noise of a value depends only on (position of the image in the split, cell, number of the draw), so no
    value depends on the batch size or the devices, and runs are compared under common noise.

    Args:
      cells: number of equal parts of t in [0, 1).
      num_draws: draws of a time and a noise per image and cell.
    """
    points = list(product(np.arange(num_draws, dtype=np.int32), np.arange(cells, dtype=np.int32)))
    values = sweep.by_image(run, points, partial(_values, cells), on_part)
    values = values.reshape(num_draws, cells, 3, -1).transpose(2, 0, 3, 1)
    t = np.arange(2 * cells + 1) / (2 * cells)  # edges and centres alternate
    gamma = np.asarray(run.model.bind(run.params).gamma(jnp.asarray(t, jnp.float32)), np.float64)
    return CellLosses(t[1::2], gamma[1::2], gamma[::2], *np.ascontiguousarray(values))


def summarize(values: CellLosses, dims: int) -> ByTime:
    """Means over images. The value of an image is the mean of its draws, so errors include the noise of the draws."""
    width = np.diff(values.edges)
    dgamma = width * len(width)  # the mean γ' of each cell: diffusion / dgamma is the loss per unit of γ
    scales = {"diffusion": 1 / (dims * math.log(2) * dgamma), "velocity": 1 / dims, "residual": 1 / dims}
    columns = {"t": values.t, "gamma": values.gamma, "gamma_width": width}
    for name, scale in scales.items():
        columns[name], columns[f"{name}_se"] = means.mean_and_error(getattr(values, name).mean(axis=0) * scale)
    area = means.mean_and_error(values.diffusion.mean(axis=0) * scales["diffusion"] @ width)
    return ByTime(sweep.rows_of_columns(columns), *map(float, area))


def _values(cells: int, chunk: "sweep.Chunk", draw, cell) -> "jax.Array":
    """[3, B]: diffusion, velocity and residual of `CellLosses`, at times uniform in `cell`."""
    process, pixels = chunk.process, chunk.data

    def time_and_noise(index):
        key = jax.random.fold_in(streams.stream(0, "loss by time"), index)
        key_t, key_eps = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, cell), draw))
        return (cell + streams.uniform(key_t)) / cells, streams.gaussian(key_eps, pixels.shape[1:])

    t, eps = jax.vmap(time_and_noise)(chunk.indices)
    instant = process.point(t)
    errors = losses.errors_at(process, instant, process.decoder.values(pixels), eps)
    squares = (gaussian.sum_dims(jnp.square(error)) for error in (errors.velocity, errors.drift))
    return jnp.stack([instant.loss(errors), *squares])

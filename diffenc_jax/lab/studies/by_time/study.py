"""The diffusion loss by noise level: its study, and its result."""

from collections.abc import Sequence
from dataclasses import dataclass

from diffenc_jax.core.document import Table
from diffenc_jax.core.keys import Keyed, count
from diffenc_jax.core.numbers import format_number
from diffenc_jax.lab.figures.charts import BANDS, GAMMA, Board, Chart, Panel, with_errors
from diffenc_jax.lab.studies.study import Measured, Rows, Study, Trained, Watch

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
        residual per dimension, and the standard error over images of each of these three (_se).
      area: area under the diffusion loss over γ, bits/dim.
      standard_error: that of the area over images.
    """

    rows: Rows
    area: float
    standard_error: float

    def tables(self) -> list[Table]:
        """The area."""
        cells = [format_number(self.area), format_number(self.standard_error)]
        return [Table(["area", "standard error"], [cells], "the diffusion loss, bits/dim")]

    def sentence(self) -> str:
        return f"area {self.area:.4f} ± {self.standard_error:.4f} bits/dim of diffusion loss"


class LossByTime(Study[Arguments, ByTime]):
    """Measure the diffusion loss of trained runs by noise level, and the errors that it consists of.

    Evaluates every image of `eval.split` in each of --cells equal parts of the time t, from the data at 0 to the noise
    at 1, at infinite depth, with the averaged (EMA) parameters of the newest checkpoint. The result has a row per cell:
    the diffusion loss per unit of γ = -log SNR in bits/dim, whose area is the bound's diffusion term, and the squared
    errors of the velocity and of the encoder's drift, with standard errors over images. Several runs are evaluated
    under common noise. The cost is --cells times --draws forward passes per image, 200 by default.
    """

    name = "loss-by-time"
    title = "Bits by time"
    example = "diffenc loss-by-time runs/digits-vdm-seed0 runs/digits-diffenc-seed0"
    on_interrupt = "the results of finished runs are kept; the same command starts again"
    together = True
    arguments = Arguments
    result = ByTime

    def measure(self, run: Trained, arguments: Arguments, watch: Watch) -> ByTime:
        from diffenc_jax.lab.studies.by_time import measure

        with watch("loss by time", 1.0) as on_part:
            values = measure.measure_loss_by_time(run, arguments.cells, arguments.draws, on_part=on_part)
        return measure.summarize(values, run.model.spec.dims)

    def figures(self, shown: Sequence[Measured[ByTime]]) -> dict[str, Chart | Board]:
        drifts = any(row["residual"] for one in shown for row in one.result.rows)
        panels = [
            Panel(ylabel, [with_errors(one.name, one.result.rows, "gamma", column, arm=one.arm) for one in shown])
            for column, ylabel in list(PANELS.items())[: 2 + drifts]
        ]
        return {"": Chart(CAPTION, GAMMA, panels, BANDS)}

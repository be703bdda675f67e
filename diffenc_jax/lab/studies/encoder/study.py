"""The study of a trained encoder, and its result: its effects, its price, and the bound without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffenc_jax.commands.arguments import positive
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import require
from diffenc_jax.lab.studies.charts import BANDS, GAMMA, Board, Chart, Panel, with_errors
from diffenc_jax.lab.studies.study import Array, Measured, Rows, Study, Watch, option

if TYPE_CHECKING:
    from diffenc_jax.config import Config
    from diffenc_jax.runs.trained import Trained

TRAINED = "trained"
# Terms at the ends of the path, and their heads.
ENDS = {"reconstruction": "reconstruction", "latent": "latent", "fitted": "latent, fitted prior"}
SLOPE = r"$\mathrm{d}x_t/\mathrm{d}\gamma$"
MISSED = r"$\mathrm{d}x_t/\mathrm{d}\lambda-\sigma_t^2\hat{x}$"
NOTE = (
    r"$x_t$: encoded image at the noise level $\gamma=-\log\,\mathrm{SNR}$; $x$: image, from $-1$ to $1$; "
    r"$\lambda=-\gamma$; $\hat{x}$: the model's estimate of $x_t$; $\sigma_t^2$: variance of the noise. "
)
# Boards by the end of their files' names: symbol, and what they show.
BOARDS = {
    "x_t": ("$x_t$", "the encoded images x_t at several noise levels"),
    "difference": ("$x_t-x$", "the encoder's changes, x_t - x, at several noise levels"),
    "derivative": (SLOPE, "the derivative of x_t in γ, at several noise levels"),
}


def _count(text: str) -> int:
    """Argument type: a whole number, of 31 bits."""
    return 0 if text == "0" else positive(text)


@dataclass(frozen=True)
class Arguments:
    """Arguments of the study."""

    images: int = option(8, "number of images that are drawn")
    gammas: int = option(41, "number of noise levels")
    passes: int = option(8, "passes over the images for each bound", "P")
    head_steps: int = option(
        1000,
        "training steps of the derivative head of a run that has none; 0 trains none and measures no price",
        parse=_count,
    )

    def __post_init__(self) -> None:
        require(self.gammas > 1, f"argument --gammas: {self.gammas} leaves out an end of the path; take at least 2")


@dataclass
class Encoder:
    """Effects of an encoder by γ, bounds with other encoders, and the balance of what it pays and wins.

    Attributes:
      rows: a row per γ = -λ: the root mean square of x_t - x (difference), of dx_t/dγ (derivative) and of
        dx_t/dλ - σ_t² x̂ (residual), all per dimension, the price of the drift in bits/dim per unit of γ, and the
        standard errors of these four over images (_se). Without a predictor there is no price.
      predictor: of dx_t/dγ: 'derivative head', 'score network', or '' without any.
      price: the area under the price over γ, its mean and its standard error over images; None without a predictor.
      ends: by path, the trained encoder's first, and by term of `ENDS`: mean and standard error in bits/dim.
      won: mean and standard error of what the trained path wins at its ends over x_t = x, see `ends.Ends`.
      bounds: by encoder, the trained one first: 'meaning', 'bpd' and 'standard_error' of the record, and for the
        others 'difference' to the trained one by term, (mean, standard error), paired by image.
      shown: numbers of the γ, increasing, between which x_t moves equally far.
      x: [n, H, W, C] the first images, in -1 .. 1.
      x_t, dx_t: [n, shown, H, W, C] their encoded images, and dx_t/dγ.
    """

    rows: Rows
    predictor: str
    price: list[float] | None
    ends: dict[str, dict[str, list[float]]]
    won: list[float]
    bounds: dict[str, dict[str, Any]]
    shown: list[int]
    x: Array
    x_t: Array
    dx_t: Array

    def tables(self) -> list[Table]:
        """The bounds by encoder, and the terms at the ends of both paths."""
        terms = [*(term for term in self.bounds[TRAINED]["bpd"] if term != "total"), "total"]
        rows = [
            [TRAINED, *(f"{self.bounds[TRAINED]['bpd'][term]:.4f}" for term in terms), "the bound that was trained"]
        ]
        for name, one in self.bounds.items():
            if name != TRAINED:
                pairs = (one["difference"][term] for term in terms)
                rows.append([name, *(f"{mean:+.4f} ± {error:.4f}" for mean, error in pairs), one["meaning"]])
        ends = [[path, *(_with_error(terms[term]) for term in ENDS)] for path, terms in self.ends.items()]
        caption = "bits/dim, and the excess of other encoders in place of the trained one (± standard error)"
        return [
            Table(["encoder", *terms, "meaning"], rows, caption),
            Table(["encoder", *ENDS.values()], ends, "terms at the ends of the path, bits/dim (± standard error)"),
        ]

    def sentence(self) -> str:
        far, fast = (max(self.rows, key=lambda row: row[name]) for name in ("difference", "derivative"))
        price = (
            f"price of the drift: at most {_with_error(self.price)} bits/dim ({self.predictor}); " if self.price else ""
        )
        return (
            f"{price}end terms win back {_with_error(self.won)}; x_t is farthest from x at γ = {far['gamma']:.2f} "
            f"(root mean square {far['difference']:.4f} per dimension), and changes most at γ = {fast['gamma']:.2f} "
            f"({fast['derivative']:.4f} per unit of γ; missed by the model's drift: {fast['residual']:.4f})"
        )


def _with_error(pair: list[float]) -> str:
    return f"{pair[0]:.5f} ± {pair[1]:.5f}"


class EncoderStudy(Study[Arguments, Encoder]):
    """Measure what a trained encoder does to images, the bound with other encoders, and the price of its drift.

    Evaluates every image x of `eval.split` and its encoded images x_t at --gammas noise levels γ = -log SNR = -λ, from
    the data to the noise, with the averaged (EMA) parameters of the newest checkpoint. Then it evaluates the bound with
    the trained encoder and with others in its place, under common noise and paired by image, and measures the price of
    the encoder's drift dx_t/dγ at infinite depth and what its end terms win back.

    The price is what the diffusion term pays for the part of dx_t/dγ that z_γ does not determine. A run without a
    derivative head gets one, trained on the frozen run. It is kept in RUN/encoder-records with the records of the
    bounds, and read again. The figures are x_t, x_t - x and dx_t/dγ of the first images, at γ between which x_t moves
    equally far, and curves by γ. The study is for encoders that move x_t, with one γ for all pixels: not for the arms
    vdm, diffenc-affine and vdm-polynomial.
    """

    name = "encoder-study"
    title = "Encoder"
    example = "diffenc encoder-study runs/digits-diffenc-seed0"
    on_interrupt = "finished bounds and the head are kept; the same command continues from there"
    arguments = Arguments
    result = Encoder

    def applies(self, config: "Config") -> bool:
        return config.model.encoder.kind != "identity"

    def needs_training_images(self, config: "Config") -> bool:
        return True

    def changes(self, stored: "Config", given: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
        """Times in the bound are uniform, so that its noise is common to all encoders."""
        bound = {"eval.estimator": "bound", "eval.time_sampling": "uniform", "eval.num_draws": 1}
        return given | bound | {"eval.passes": arguments.passes}

    def check(self, run: "Trained") -> None:
        encoder, where = run.model.encoder, run.workdir
        advice = "whose encoder changes nothing (x_t = x); give a run with another encoder"
        require(encoder.drifts, f"{where} is a run of {run.config.arm}, {advice}")
        advice = "which this study does not measure; give another run"
        require(not encoder.scales_noise, f"the encoder of {where} scales the noise as well, {advice}")
        advice = "and this study is of one γ for all; give another run"
        require(not run.model.schedule.per_dimension, f"{where} has a γ per pixel, {advice}")

    def measure(self, run: "Trained", arguments: Arguments, watch: Watch) -> Encoder:
        from diffenc_jax.lab.studies.encoder.measure import measure_encoder

        return measure_encoder(run, arguments, watch)

    def figures(self, shown: Sequence[Measured[Encoder]]) -> dict[str, Chart | Board]:
        (measured,) = shown
        result = measured.result
        rms, price = "root mean square", ("price", "price of the drift")
        panels = [(rms, [("difference", "$x_t-x$")]), (rms, [("derivative", SLOPE), ("residual", MISSED)])]
        panels += [(r"bits/dim per unit of $\gamma$", [price])] if result.price else []
        curves = [
            Panel(ylabel, [with_errors(label, result.rows, "gamma", key) for key, label in columns])
            for ylabel, columns in panels
        ]
        caption = "the size of x_t - x and of the derivative, and the price of the encoder's drift, by noise level"
        figures: dict[str, Chart | Board] = {"curves": Chart(caption, GAMMA, curves, f"{NOTE}{BANDS}")}
        if result.x[0].size < 4:  # a point of two coordinates is no picture
            return figures
        heads = ["$x$", *(f"$\\gamma={result.rows[number]['gamma']:.2f}$" for number in result.shown)]
        names = [f"image {number}" for number in range(len(result.x))]
        values = {"x_t": result.x_t, "difference": result.x_t - result.x[:, None], "derivative": result.dx_t}
        for key, (symbol, caption) in BOARDS.items():
            pictures = [result.x[:, None], values[key]]
            figures[key] = Board(caption, names, heads, pictures, NOTE, key != "x_t", symbol)
        return figures

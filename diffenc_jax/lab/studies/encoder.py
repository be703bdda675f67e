"""Effects of a trained encoder on images at each noise level, and the bits that it costs and gains."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from etils import epy

from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import Keyed, at_least, count, key
from diffenc_jax.core.numbers import Figure, format_number
from diffenc_jax.lab.figures.charts import BANDS, GAMMA, Board, Chart, Panel, with_errors
from diffenc_jax.lab.studies.study import Array, Config, Measured, Rows, Study, TrainedRun, Watch

with epy.lazy_imports():  # help and the report need none of them
    import numpy as np

    from diffenc_jax.lab.studies import encoder_bounds, encoder_effects, encoder_price

# Number of γ whose images are drawn.
COLUMNS = 5
# Terms at the ends of the path, and their heads.
ENDS = {"reconstruction": "reconstruction", "latent": "latent", "fitted": "latent, fitted prior"}
ENDS_CAPTION = "terms at the ends of the path, bits/dim (± standard error)"
BOUNDS = (
    "bits/dim, and the excess of other encoders in place of the trained one (± standard error); identity (x_t = x) and "
    "nontrainable (x_t = α_t² x) bound the likelihood of the same model, vdm (x_t = x) that of one without the drift"
)
SLOPE = r"$\mathrm{d}x_t/\mathrm{d}\gamma$"
MISSED = r"$\mathrm{d}x_t/\mathrm{d}\lambda-\sigma_t^2\hat{x}$"
NOTE = (
    r"$x_t$: encoded image; $x$: image, from $-1$ to $1$; $\lambda=-\gamma$; $\hat{x}$: the model's estimate of $x_t$. "
)


@dataclass(frozen=True)
class Arguments(Keyed):
    """Arguments of the study."""

    images: int = count(8, "number of images that are drawn")
    gammas: int = key(41, "number of noise levels, with the ends of the path", limits=at_least(2))
    passes: int = count(8, "passes over the images for each bound")
    head_steps: int = key(
        1000,
        "training steps of the derivative head of a run that has none; 0 trains none and measures no price",
        limits=at_least(0),
    )


@dataclass
class EncoderEffects:
    """Effects of an encoder by γ, bounds with other encoders, and the balance of price and gain.

    Attributes:
      rows: a row per γ = -λ: the root mean square of x_t - x (difference), of dx_t/dγ (derivative) and of
        dx_t/dλ - σ_t² x̂ (residual), all per dimension, the price of the drift in bits/dim per unit of γ, and the
        standard errors of these four over images (_se). Without a predictor there is no price.
      predictor: predictor of dx_t/dγ: 'derivative head', 'score network', or '' for none.
      price: the area under the price over γ: mean and standard error over images; None without a predictor.
      ends: mean and standard error in bits/dim by path, the trained encoder's first, and by term of `ENDS`.
      won: mean and standard error of the gain of the trained path over x_t = x at the ends, see `encoder_bounds.Ends`.
      bounds: by encoder, the trained encoder first: 'bpd' and 'standard_error' of the record and, for the other
        encoders, the 'difference' to the trained encoder by term, (mean, standard error), paired by image.
      shown: numbers of the γ, increasing, whose images are drawn.
      pictures: [n, 1 + shown, H, W, C] the first images x, in -1 .. 1, and their x_t at these γ.
    """

    rows: Rows
    predictor: str
    price: list[float] | None
    ends: dict[str, dict[str, list[float]]]
    won: list[float]
    bounds: dict[str, dict[str, Any]]
    shown: list[int]
    pictures: Array

    def tables(self) -> list[Table]:
        """The bounds by encoder, and the terms at the ends of both paths."""
        (trained, own), *others = self.bounds.items()
        terms = list(own["bpd"])
        rows = [[trained, *(format_number(own["bpd"][term]) for term in terms)]]
        for name, one in others:
            pairs = (one["difference"][term] for term in terms)
            rows.append([name, *(Figure("{:+.4f} ± {:.4f}", *pair) for pair in pairs)])
        ends = [[path, *(_with_error(terms[term]) for term in ENDS)] for path, terms in self.ends.items()]
        return [
            Table(["encoder", *terms], rows, BOUNDS, "bits/dim"),
            Table(["encoder", *ENDS.values()], ends, ENDS_CAPTION, "bits/dim"),
        ]

    def sentence(self) -> str:
        won = f"end terms win back {_with_error(self.won)}"
        if not self.price:
            return won
        return f"price of the drift: at most {_with_error(self.price)} bits/dim ({self.predictor}); {won}"


def _with_error(pair: list[float]) -> Figure:
    return Figure("{:.5f} ± {:.5f}", *pair)


class EncoderStudy(Study[Arguments, EncoderEffects]):
    """Measure the effect of a trained encoder on images, the bound with other encoders, and the price of its drift.

    Evaluates every image x of `eval.split` and its encoded images x_t at --gammas noise levels γ = -log SNR = -λ, from
    the data to the noise, with the averaged (EMA) parameters of the newest checkpoint. Then it evaluates the bound with
    the trained encoder and with others in its place, under common noise and paired by image. It also measures the price
    of the encoder's drift dx_t/dγ at infinite depth, and the gain in the end terms.

    The price is the part of the diffusion term due to the part of dx_t/dγ that z_γ does not determine. For a run
    without a derivative head, a head is trained while all other parameters are frozen. Records of the bounds are kept
    in RUN/encoder-records, and read again. The figures are x_t - x of the first images, and curves by γ. The study is
    for encoders that move x_t, with one γ for all pixels: not for the arms vdm, diffenc-affine and vdm-polynomial.
    """

    name = "encoder-study"
    title = "Encoder"
    EXAMPLE = "diffenc encoder-study runs/digits-diffenc-seed0"
    ON_INTERRUPT = "finished bounds are kept; the same command continues from there"
    arguments = Arguments
    result = EncoderEffects

    def applies(self, config: Config) -> bool:
        return config.model.encoder.kind != "identity"

    def changes(self, stored: Config, given: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
        """Uniform times in the bound, so that its noise is common to all encoders."""
        bound = {"eval.estimator": "bound", "eval.time_sampling": "uniform", "eval.num_draws": 1}
        return given | bound | {"eval.passes": arguments.passes}

    def check(self, run: TrainedRun) -> None:
        encoder, where = run.model.encoder, f"{run.workdir} is a run of {run.config.arm}, whose"
        require(encoder.drifts, f"{where} encoder changes nothing (x_t = x); give a run with another encoder")
        require(not encoder.scales_noise, f"{where} encoder scales the noise as well; give another run")
        require(not run.model.schedule.per_dimension, f"{where} γ is another one per pixel; give another run")

    def measure(self, run: TrainedRun, arguments: Arguments, watch: Watch) -> EncoderEffects:
        """All results of the study; finished bounds are used again."""
        bounds, records = encoder_bounds.measure_bounds(run, watch)
        ends = encoder_bounds.measure_ends(run, records)
        headed = encoder_price.with_head(run, arguments.head_steps, watch)
        with watch("images by γ", 1.0) as on_part:
            effects = encoder_effects.measure_by_gamma(headed, arguments.gammas, on_part=on_part)
        shown = np.unique(np.linspace(0, arguments.gammas - 1, COLUMNS).round().astype(int)).tolist()
        price, bits = effects.price, partial(encoder_effects.mean_bits, dims=run.model.spec.dims)
        predictor = "derivative head" if headed.model.has_derivative_head else "score network"
        trained, identity = ends.values()
        return EncoderEffects(
            rows=encoder_effects.rows_by_gamma(effects, run.model.spec.dims),
            predictor="" if price is None else predictor,
            price=None if price is None else bits(np.trapezoid(price, effects.gamma, axis=1)),
            ends={path: {name: bits(nats) for name, nats in terms._asdict().items()} for path, terms in ends.items()},
            won=bits(identity.cost - trained.cost),
            bounds=bounds,
            shown=shown,
            pictures=encoder_effects.encoded_images(run, effects.gamma[shown], arguments.images),
        )

    def figures(self, shown: Sequence[Measured[EncoderEffects]]) -> dict[str, Chart | Board]:
        (measured,) = shown
        result = measured.result
        columns = {"difference": "$x_t-x$", "derivative": SLOPE, "residual": MISSED}
        curves = [with_errors(label, result.rows, "gamma", key) for key, label in columns.items()]
        panels = [Panel("root mean square", curves[:1]), Panel("root mean square", curves[1:])]
        if result.price:
            price = with_errors("price of the drift", result.rows, "gamma", "price")
            panels.append(Panel(r"bits/dim per unit of $\gamma$", [price]))
        caption = "the size of x_t - x and of the derivative, and the price of the encoder's drift, by noise level"
        figures: dict[str, Chart | Board] = {"curves": Chart(caption, GAMMA, panels, f"{NOTE}{BANDS}")}
        x, x_t = result.pictures[:, :1], result.pictures[:, 1:]
        if x[0].size < 4:  # a point of two coordinates is no picture
            return figures
        heads = ["$x$", *(f"$\\gamma={result.rows[number]['gamma']:.2f}$" for number in result.shown)]
        names = [f"image {number}" for number in range(len(x))]
        caption = "the encoder's changes, x_t - x, at several noise levels"
        figures["difference"] = Board(caption, names, heads, [x, x_t - x], NOTE, "$x_t-x$")
        return figures

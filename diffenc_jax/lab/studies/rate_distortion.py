"""Rate and distortion: the bits sent so far on the way from noise to data, and the error of the estimated image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from diffenc_jax.core.document import Table
from diffenc_jax.core.keys import Keyed, count
from diffenc_jax.core.numbers import with_error
from diffenc_jax.lab.figures.charts import Board, Chart, Panel, with_errors
from diffenc_jax.lab.studies.study import EVERY_STUDY, Config, Measured, Rows, Study, Trained, Watch

if TYPE_CHECKING:
    import numpy as np

    from diffenc_jax.lab.studies.sweep import OnPart

# Number of steps for a run at infinite depth.
DEPTH = 100
# Number of rows that are printed, and the last two.
PRINTED = 5
COLUMNS = ("steps", "gamma", "rate", "rate_se", "rmse", "rmse_se")
SHOWN = "the image shown at z_t is the model's estimate of x, or x̂ where a trained encoder does not determine one"


@dataclass(frozen=True)
class Arguments(Keyed):
    """Arguments of the study."""

    depth: int | None = count(None, "number of steps", none=f"loss.depth of the run, or {DEPTH} if that is infinite")


@dataclass
class Rates:
    """Rate and distortion after each step.

    Attributes:
      rows: a row per z_t from the noise to the data, and a row for the pixels. Entries: steps, the number of received
        steps; gamma of z_t, None in the last row; rate in bits/dim; rmse, the root mean squared error over images and
        pixels on a scale of 0 .. 255; and the standard errors of rate and rmse over images and noise (_se).
    """

    rows: Rows

    def tables(self) -> list[Table]:
        """Some of the rows, and the last two: z_0 and the pixels."""
        *others, last, pixels = self.rows
        lines = []
        for row in [*others[:: max(1, len(others) // PRINTED)], last, pixels]:
            gamma = "pixels" if row["gamma"] is None else f"{row['gamma']:.2f}"
            rmse = f"{row['rmse']:.2f} ± {row['rmse_se']:.2f}"
            lines.append([row["steps"], gamma, with_error(row["rate"], row["rate_se"]), rmse])
        caption = f"rate and distortion ± standard error; RMSE on a scale of 0 .. 255; {SHOWN}"
        return [Table(["steps", "γ", "bits/dim", "RMSE"], lines, caption)]

    def sentence(self) -> str:
        """'bound of 50 steps: 1.9123 ± 0.0131 bits/dim'."""
        last = self.rows[-1]
        return f"bound of {last['steps']} steps: {with_error(last['rate'], last['rate_se'])} bits/dim"


class RateDistortion(Study[Arguments, Rates]):
    """Measure the error of the reconstructed image by the number of bits received so far.

    The bound is the length of a code that sends noise, then step by step less noisy images, and last the pixels.
    Measures after each of these steps the rate (bits/dim sent so far) and the distortion (error of the model's current
    estimate of the image, RMSE for pixels of 0 to 255), on all images of `eval.split`. The last rate is the bound at
    that depth. The figure is the curve.

    --config.key=value changes how the run is evaluated, such as --config.loss.times=optimal for the best times, which
    are fitted on training images.
    """

    name = "rate-distortion"
    title = "Rate and distortion"
    example = """\
diffenc rate-distortion runs/digits-vdm-seed0 --depth=50 \\
    --config.loss.times=optimal"""
    arguments = Arguments
    result = Rates
    reads = (*EVERY_STUDY, "eval.dtype", "eval.passes", "eval.seed", "fit", "loss")

    def needs_training_images(self, config: Config) -> bool:
        return config.loss.is_fitted

    def changes(self, stored: Config, given: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
        return given | {"loss.depth": arguments.depth or given.get("loss.depth") or stored.loss.depth or DEPTH}

    def measure(self, run: Trained, arguments: Arguments, watch: Watch) -> Rates:
        with watch(f"rate and distortion over {run.config.loss.depth} steps", 1.0) as on_part:
            return summarize(measure_rate_distortion(run, on_part))

    def figures(self, shown: Sequence[Measured[Rates]]) -> dict[str, Chart | Board]:
        (measured,) = shown
        curve = with_errors(measured.name, measured.result.rows, "rate", "rmse", arm=measured.arm)
        note = f"{SHOWN}; bands: ±2 standard errors over images and noise"
        caption = f"the error of the image shown against the bits/dim that have been received; {note}"
        return {"": Chart(caption, "rate (bits/dim)", [Panel("RMSE (pixels 0 .. 255)", [curve])], note)}


class ImageRates(NamedTuple):
    """Rate and distortion of N images in P passes over T steps; float64.

    Attributes:
      gamma: [T + 1] γ of z_t, from γ_1 at the noise to γ_0 at the data.
      rate: [P, N, T + 2] bits/dim of z_1 and of the steps down to each z_t, and last of the pixels as well.
      square: [P, N, T + 1] mean squared error over the pixels of the image shown at each z_t, on a scale of 0 .. 255.
    """

    gamma: "np.ndarray"
    rate: "np.ndarray"
    square: "np.ndarray"


def summarize(values: ImageRates) -> Rates:
    """Means over images and passes. The errors include the noise, since each pass has separate noise."""
    import numpy as np

    from diffenc_jax.evaluation.means import mean_and_error
    from diffenc_jax.lab.studies.sweep import root_mean

    gamma, steps = [*map(float, values.gamma), None], [*range(len(values.gamma)), len(values.gamma) - 1]
    rate, square = (one.mean(axis=0) for one in (values.rate, values.square))
    known = np.zeros((len(square), 1))  # the pixels, which are shown as they are
    columns = [*mean_and_error(rate), *root_mean(np.concatenate([square, known], axis=1))]
    rows = zip(steps, gamma, *(column.tolist() for column in columns), strict=True)
    return Rates([dict(zip(COLUMNS, row, strict=True)) for row in rows])


def measure_rate_distortion(run: Trained, on_part: "OnPart" = lambda part: None) -> ImageRates:
    """Rate and distortion over the steps of `run.config.loss`, of finite depth, in `run.config.eval.passes` passes.

    z_t is drawn from q(z_t | x) anew for every step. Its noise depends only on (eval.seed, position of the image in the
    split, pass, number of the step), so no value depends on the batch size or the devices.
    """
    import numpy as np

    from diffenc_jax.evaluation.evaluator import eval_precision, in_eval_dtype
    from diffenc_jax.evaluation.fit import steps_for
    from diffenc_jax.lab.studies.progressive import at_ends, at_step
    from diffenc_jax.lab.studies.sweep import by_image

    run, settings = in_eval_dtype(run), run.config.eval
    seed, passes = np.uint32(settings.seed), np.arange(settings.passes, dtype=np.int32)
    with eval_precision(settings):
        steps = steps_for(run, run.params, run.config.loss)
        places = product(np.arange(steps.depth, dtype=np.int32), passes)
        stages = by_image(run, [(steps, *place) for place in places], partial(at_step, seed), on_part)
        ends = by_image(run, [(np.int32(steps.depth), number) for number in passes], partial(at_ends, seed))
    costs, squares = stages.reshape(steps.depth, len(passes), 2, -1).transpose(2, 1, 3, 0)
    latent, reconstruction, last = ends.swapaxes(0, 1)[..., None]
    nats = np.concatenate([latent, costs, reconstruction], axis=2)
    rate = np.cumsum(nats, axis=2) / (math.log(2) * run.model.spec.dims)
    gamma = np.asarray(steps.gamma, np.float64)[::-1]
    return ImageRates(gamma, rate, np.concatenate([squares, last], axis=2))

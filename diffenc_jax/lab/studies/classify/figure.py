"""The reliability diagram: accuracy by confidence, and the number of images by confidence."""

from typing import TYPE_CHECKING

import numpy as np

from diffenc_jax.lab.figures.style import BLUE, COLUMN, GREY, literal, new_figure, style
from diffenc_jax.lab.studies.outputs import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTE = "confidence: probability of the predicted class; line: accuracy = confidence; bars: 95 % intervals"


@style()
def draw_reliability(rows: Rows, title: str) -> "Figure":
    """Accuracy of the bins against their mean confidence above, their numbers of images below."""
    figure, (above, below) = new_figure(COLUMN, 4.0, literal(title), NOTE, nrows=2, sharex=True, height_ratios=(3, 1))
    filled = [row for row in rows if row["images"]]
    confidence, accuracy = (np.array([row[name] for row in filled]) for name in ("confidence", "accuracy"))
    low, high = (np.array([row[name] for row in filled]) for name in ("accuracy_low", "accuracy_high"))
    above.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    # Rounding may put an end of the interval on the wrong side of an accuracy of 0 or 1.
    reach = np.maximum(accuracy - low, 0), np.maximum(high - accuracy, 0)
    above.errorbar(confidence, accuracy, reach, fmt="o", color=BLUE)
    above.set(ylabel="accuracy", ylim=(-0.03, 1.06))
    above.grid()
    ends = [(row["low"], row["high"]) for row in rows]
    below.bar(
        [low for low, _ in ends],
        [row["images"] for row in rows],
        [high - low for low, high in ends],
        align="edge",
        color=BLUE,
        alpha=0.4,
    )
    below.set(ylabel="images", xlabel="confidence", xlim=(-0.03, 1.03))
    below.set_yscale("symlog", linthresh=1)
    figure.align_ylabels([above, below])
    return figure

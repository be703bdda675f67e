"""The common style of all figures, with the sizes of a paper. matplotlib is imported at the first figure."""

import hashlib
import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffenc_jax.config.recipe import DEPTH, FAST, POOLED, PUBLISHED
from diffenc_jax.runs import storage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Width of a figure in inches: one column of a paper, or the page.
COLUMN, PAGE = 3.3, 6.9
DPI = 200
SMALL = 7  # points, of the ticks and the legend in `STYLE`
STYLE = Path(__file__).with_name("style.mplstyle")
# Okabe and Ito's colours, which remain distinct under colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#000000", "#56B4E9", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)))
# Arms that ship with the package: the colours repeat after eight, and then the markers differ.
ARMS = (
    *("diffenc", "vdm", "nontrainable", "vdm-params", "vdm-flops", "diffenc-dct", "vdm-transformer"),
    *("diffenc-transformer", "diffenc-8-2", "vdm-8", "nontrainable-8", "vdm-8-params", "vdm-8-flops", "shrinking"),
    *("diffenc-unbounded", "diffenc-residual", "diffenc-matched", "vdm-matched", "diffenc-image-matched"),
    *("vdm-polynomial-matched", "vdm-mulan-matched", "diffenc-image", "vdm-polynomial", "diffenc-affine"),
    *("diffenc-schedule", "vdm-schedule", "diffenc-dct-schedule", "vdm-mulan", "vdm-code", "vdm-long", "diffenc-long"),
    *("vdm-series", "diffenc-series", "nontrainable-series", "vdm-fields", "diffenc-fields", "nontrainable-fields"),
)


@contextmanager
def style() -> Iterator[None]:
    """The style of all figures, whatever the user's matplotlibrc says; also a decorator of functions that draw."""
    from matplotlib.style import context

    with context(STYLE, after_reset=True):
        yield


def new_figure(width: float, height: float, title: str, note: str = "", **grid: Any) -> "tuple[Figure, Any]":
    """A figure of `width` by `height` inches in the current style, and its axes from `Figure.subplots(**grid)`.

    `note` stands below the axes, and explains symbols, bars and bands. A legend outside the axes would cover it. Title
    and note are wrapped to the width.
    """
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    if title:
        figure.suptitle(wrapped(title, width, rcParams["figure.titlesize"]))
    if note:
        figure.supxlabel(wrapped(note, width), fontsize=SMALL, color="0.3")
    return figure, figure.subplots(**grid)


@style()
def figure_bytes(figure: "Figure", kind: str) -> bytes:
    """Bytes of the file of a figure; equal figures have equal bytes. `kind`: 'png' or 'pdf'."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, metadata={"CreationDate": None} if kind == "pdf" else None)
    return buffer.getvalue()


def save_figure(figure: "Figure", path: Path) -> list[Path]:
    """Write a figure to `path`.png and, as vectors, to `path`.pdf, each atomically; returns the files."""
    files = [path.with_name(f"{path.name}.{kind}") for kind in ("png", "pdf")]
    for kind, file in zip(("png", "pdf"), files, strict=True):
        storage.write(file, figure_bytes(figure, kind))
    return files


def arm_style(arm: str, number: int = 0) -> dict[str, Any]:
    """Colour, marker and line of an arm: the same in every figure.

    '<arm>-pooled', '<arm>-published', '<arm>-fast' and '<arm>-T<depth>' look like the arm, with hollow markers and a
    line of their depth. Arms that do not ship with the package have hollow markers as well.

    Args:
      number: number of the run among the runs of the arm in the figure. Runs of the same arm have different lines.
    """
    known = re.fullmatch(rf"(.+?)(?:{POOLED})?(?:{PUBLISHED}|{FAST})?(?:{DEPTH}(\d+))?", arm)
    if known is not None and known[1] in ARMS:
        place, depth = ARMS.index(known[1]), int(known[2] or 0)
    else:
        place, depth = int(hashlib.sha256(arm.encode("utf-8", "replace")).hexdigest(), 16), 0
    marker, colour = MARKERS[place // len(COLOURS) % len(MARKERS)], COLOURS[place % len(COLOURS)]
    line, face = LINES[(place + number + depth) % len(LINES)], colour if arm in ARMS else "white"
    return {"color": colour, "marker": marker, "markerfacecolor": face, "linestyle": line}


def run_styles(arms: Sequence[str]) -> list[dict[str, Any]]:
    """The `arm_style` of each run of a figure, given by its arm."""
    return [arm_style(arm, arms[:i].count(arm)) for i, arm in enumerate(arms)]


def literal(text: str) -> str:
    """The text with escaped dollar signs, which would start mathematics."""
    return text.replace("$", r"\$")


def wrapped(text: str, inches: float, points: float = SMALL) -> str:
    """The text with lines broken to fit a width: between words, and within long words such as paths."""
    most = max(1, int(inches * 72 / (0.58 * points)))
    filled = "\n".join(textwrap.fill(line, most) for line in text.split("\n"))
    return filled.replace("\\\n$", "\n\\$")  # keeps the dollar sign that `literal` escaped with its backslash

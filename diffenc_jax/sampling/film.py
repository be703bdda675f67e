"""A GIF of how images come about: z and x̂ from noise to data."""

from pathlib import Path

import numpy as np

from diffenc_jax.sampling.draw import Frame
from diffenc_jax.sampling.pictures import POINT, grid, place, scatter
from diffenc_jax.workdir import whole_file

SHOWN = 25
POINTS_SHOWN = 2000
MILLISECONDS, LAST_MILLISECONDS = 100, 3000
DPI = 100
MARGIN, CAPTION = 20, 50  # pixels around the grids, and above them for what they are


def write(frames: list[Frame], levels: int, path: Path) -> None:
    """Writes the frames, the last of which stays longer, side by side z on the left and x̂ on the right."""
    from PIL import Image

    paint = _points if frames[0].z.shape[1:] == POINT else _grids
    pictures = [Image.fromarray(paint(frame, levels)) for frame in frames]
    times = [MILLISECONDS] * (len(frames) - 1) + [LAST_MILLISECONDS]
    with whole_file(path) as file:
        pictures[0].save(
            file, format="GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0, optimize=False
        )


def _grids(frame: Frame, levels: int) -> np.ndarray:
    """uint8 [h, w, 3]: two grids, pixel for pixel."""
    from matplotlib.figure import Figure

    left, right = (grid(values, levels, side=320) for values in (frame.z, frame.x_hat))
    height, width = left.shape[:2]
    size = np.array([2 * width + 3 * MARGIN, height + MARGIN + CAPTION])
    figure = Figure(figsize=size / DPI, dpi=DPI)
    for number, (picture, caption) in enumerate(zip((left, right), _captions(frame), strict=True)):
        x = MARGIN + number * (width + MARGIN)
        place(figure, picture, x, MARGIN)
        figure.text((x + width / 2) / size[0], 1 - CAPTION / 2 / size[1], caption, ha="center", va="center")
    return _rendered(figure)


def _points(frame: Frame, levels: int) -> np.ndarray:
    """uint8 [h, w, 3]: two scatter plots."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.9), dpi=DPI, layout="constrained")
    for axes, values, caption in zip(figure.subplots(1, 2), (frame.z, frame.x_hat), _captions(frame), strict=True):
        scatter(axes, values[:, 0, 0], levels)
        axes.set(xticks=[], yticks=[], title=caption)
    return _rendered(figure)


def _captions(frame: Frame) -> tuple[str, str]:
    # Filled up with spaces as wide as digits, so that nothing moves from frame to frame.
    gamma = f"{frame.gamma:+6.2f}".replace(" ", "\N{FIGURE SPACE}").replace("-", "−")
    return f"$z_t$ at γ = {gamma}", r"$\hat{x}$, the estimate of $x_t$"


def _rendered(figure) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]

"""A GIF of the path of images from noise to data: z and x̂."""

from pathlib import Path

import numpy as np

from diffenc_jax.display.figures import style
from diffenc_jax.runs.files import save_picture
from diffenc_jax.sampling.draw import Frame
from diffenc_jax.sampling.pictures import POINT, add_picture, draw_point_panels, grid, pixel_figure, rendered

SHOWN = 25
MILLISECONDS, LAST_MILLISECONDS = 100, 3000
MARGIN, CAPTION = 20, 50  # pixels around the grids, and above them
Z_T, X_HAT = r"$z_t$ at $\gamma=-\log\,\mathrm{SNR}=$", r"$\hat{x}$, estimate of the encoded image $x_t$"


@style()
def write_film(frames: list[Frame], levels: int, path: Path) -> None:
    """Write the frames with z on the left and x̂ on the right; the last frame stays longer."""
    from PIL import Image

    draw = _points if frames[0].z.shape[1:] == POINT else _grids
    pictures = [Image.fromarray(draw(_panels(frame), levels)) for frame in frames]
    times = [MILLISECONDS] * (len(frames) - 1) + [LAST_MILLISECONDS]
    options = {"save_all": True, "append_images": pictures[1:], "duration": times, "loop": 0, "optimize": False}
    save_picture(pictures[0], path, "GIF", **options)


def _panels(frame: Frame) -> dict[str, np.ndarray]:
    """z and x̂ of a frame by their captions, padded with spaces as wide as digits, so that nothing moves."""
    gamma = f"{frame.gamma:+6.2f}".replace(" ", "\N{FIGURE SPACE}").replace("-", "−")
    return {f"noisy {Z_T} {gamma}": frame.z, X_HAT: frame.x_hat}


def _grids(panels: dict[str, np.ndarray], levels: int) -> np.ndarray:
    """Two grids of images, uint8 [h, w, 3]."""
    grids = {caption: grid(values, levels, min_width=320) for caption, values in panels.items()}
    height, width = next(iter(grids.values())).shape[:2]
    size = np.array([2 * width + 3 * MARGIN, height + MARGIN + CAPTION])
    figure = pixel_figure(*size)
    for number, (caption, picture) in enumerate(grids.items()):
        x = MARGIN + number * (width + MARGIN)
        add_picture(figure, picture, x, MARGIN)
        figure.text(
            (x + width / 2) / size[0], 1 - CAPTION / 2 / size[1], caption, ha="center", va="center", fontsize=10
        )
    return rendered(figure)


def _points(panels: dict[str, np.ndarray], levels: int) -> np.ndarray:
    """Two scatter plots, uint8 [h, w, 3]."""
    return rendered(draw_point_panels(panels, levels, 7.2, 3.9))

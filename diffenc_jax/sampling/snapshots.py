"""Pictures of a model during its training: samples, and the encoded images x_t by γ."""

import jax
import jax.numpy as jnp
import numpy as np

from diffenc_jax.diffusion import decoder
from diffenc_jax.diffusion.process import Process
from diffenc_jax.model import Params, bind_to
from diffenc_jax.parallel import hosts, sharding
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.sampling.draw import OnPart
from diffenc_jax.sampling.pictures import POINT, num_shown, panel, side_by_side
from diffenc_jax.sampling.sampling import Sampling

# The number of images whose x_t is shown, and the number of γ.
ROWS, COLUMNS = 4, 8
WIDTH, POINTS_WIDTH = 80, 180  # pixels: least width of a column of images, and of a panel of two-dimensional points


class Snapshots:
    """Pictures of one model at any parameters."""

    def __init__(self, experiment: Experiment, sampling: Sampling | None):
        """`sampling` draws `log.samples` images; None if there are to be none."""
        model = experiment.model
        self._experiment, self._sampling = experiment, sampling
        self._encode = jax.jit(
            lambda params, batch: encode(bind_to(model, params, batch), batch.pixels),
            out_shardings=sharding.replicated(experiment.mesh),
        )

    def __call__(self, params: Params, on_part: OnPart) -> dict[str, np.ndarray]:
        """Pictures by name, uint8 [h, w, 1 or 3]; on other hosts than the first, which must take part, none.

        'samples' shows the first images that `config.sample` describes. 'encoder', of an encoder that drifts, has a row
        per image of the split to evaluate on: x, and x_t at γ evenly spaced from γ_0 to γ_1.

        Args:
          on_part: called after each part of the sampling with its share of the whole. Its exceptions end the call.
        """
        model, pictures = self._experiment.model, {}
        levels, num = model.spec.pixel_levels, self._experiment.config.log.samples
        images = None if self._sampling is None else self._sampling.images(params, num, on_part)
        encoded = self._encoded(params) if model.encoder.drifts else None
        if images is not None and hosts.is_first():
            pictures["samples"] = np.atleast_3d(panel(images, levels))
        if encoded is not None and hosts.is_first():
            pictures["encoder"] = _draw_encoded(*encoded, levels)
        return pictures

    def _encoded(self, params: Params) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images x [n, H, W, C], γ [G], and x_t [G, n, H, W, C], all but γ on the axis of pixel values."""
        mesh, images = self._experiment.mesh, self._experiment.dataset.examples(self._experiment.config.eval.split)
        count = min(num_shown(images.pixels.shape[1:], ROWS), len(images.pixels))
        filled = sharding.fetch(images, np.arange(sharding.round_up(mesh, count)) % count)
        gammas, x_t = self._encode(params, sharding.to_devices(mesh, filled))
        return filled.pixels[:count], np.asarray(gammas), np.asarray(x_t)[:, :count]


def encode(process: Process, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """γ [G] evenly spaced from γ_0 to γ_1, and x_t [G, B, H, W, C] in bins, of uint8 [B, H, W, C]."""
    x, gammas = process.pixel_values(pixels), jnp.linspace(*process.endpoints, COLUMNS)
    x_t = jax.lax.map(lambda gamma: process.encoder.mean(x, jnp.full(len(x), gamma)), gammas)
    return gammas, decoder.in_bins(x_t, process.pixel_levels)


def _draw_encoded(originals: np.ndarray, gammas: np.ndarray, x_t: np.ndarray, levels: int) -> np.ndarray:
    """A column of x and one per γ, with captions above them; panels of points side by side."""
    captions = ["x", *(f"log SNR {-gamma:.1f}" for gamma in gammas)]
    columns, width = [originals.astype(np.float32), *x_t], POINTS_WIDTH if originals.shape[1:] == POINT else WIDTH
    panels = [panel(images, levels, columns=1, min_width=width) for images in columns]
    return side_by_side(dict(zip(captions, panels, strict=True)))

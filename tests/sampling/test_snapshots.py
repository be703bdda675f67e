"""Pictures of a model in training: the sampler's images, and the encoder's images at the γ that stand above them."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.data.dataset import Dataset
from diffenc_jax.diffusion.decoder import in_bins
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.runs.experiment import Experiment
from diffenc_jax.sampling.pictures import CAPTION, MARGIN, grid
from diffenc_jax.sampling.sampling import Sampling
from diffenc_jax.sampling.snapshots import COLUMNS, ROWS, WIDTH, Snapshots
from tests import tiny
from tests.evaluation import subject


def test_samples_are_the_first_of_the_sampler():
    parts, experiment, params = (
        [],
        subject.experiment("vdm", log__samples=3, sample__batch_size=2),
        subject.parameters("vdm", 0.01),
    )
    sampling = Sampling(experiment)
    pictures = Snapshots(experiment, sampling)(params, parts.append)
    assert pictures.keys() == {"samples"}  # the encoder changes nothing
    np.testing.assert_array_equal(pictures["samples"][..., 0], grid(sampling.images(params, 3), tiny.LEVELS))
    assert sum(parts) == pytest.approx(1.0)


def test_a_row_per_image_and_a_column_per_gamma():
    experiment, params = subject.experiment(), subject.parameters()
    picture = Snapshots(experiment, None)(params, lambda share: None)["encoder"]
    process, images = experiment.model.bind(params), subject.SPLITS["test"][:ROWS]
    x, (low, high) = process.pixel_values(jnp.asarray(images)), map(float, process.endpoints)
    columns = [images]
    for gamma in np.linspace(low, high, COLUMNS, dtype=np.float32):
        columns.append(in_bins(process.encoder.mean(x, jnp.full(ROWS, gamma)), tiny.LEVELS))
    factor = WIDTH // 4
    for column, values in enumerate(columns):
        for row in range(ROWS):
            top, left = CAPTION + row * 5 * factor, MARGIN + column * (WIDTH + MARGIN)
            seen = picture[top : top + WIDTH : factor, left : left + WIDTH : factor, 0]
            expected = np.clip(np.asarray(values[row, ..., 0]) / (tiny.LEVELS - 1), 0, 1) * 255
            np.testing.assert_allclose(seen, expected, atol=0.6)
    assert (picture[:CAPTION] < 128).any()  # the captions


def test_points_of_two_dimensions_are_plotted():
    """Under x_t = α_t² x the cloud of points shrinks from panel to panel, from x to x_t at the noise."""
    config, spec = tiny.config("nontrainable", loss__depth=2), ImageSpec((1, 1, 2), tiny.LEVELS)
    points = tiny.images(500, (1, 1, 2))
    experiment = Experiment(
        config, Dataset("points", "1", tiny.LEVELS, {"test": points}), make_mesh(), build(config, spec)
    )
    picture = Snapshots(experiment, None)({"score": {}, "schedule": {}}, lambda share: None)["encoder"]
    blue = picture[..., 2].astype(int) - picture[..., 0] > 50
    panels = np.array_split(blue.any(axis=0), COLUMNS + 1)
    widths = [np.ptp(np.nonzero(panel)) for panel in panels]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.1 * widths[0]

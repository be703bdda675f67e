"""The result of the loss by time: means over images by hand."""

import numpy as np
import pytest

from diffenc_jax.lab import studies
from diffenc_jax.lab.studies.by_time.measure import LossByTime, measure_loss_by_time, summarize
from diffenc_jax.runs.trained import open_trained
from tests.lab.studies.runs import write_images, write_run


def test_a_summary_by_hand():
    """Two draws at two images in two cells of widths 1 and 3 in γ, with two dimensions."""
    nats = np.array([[[4.0, 8.0], [0.0, 4.0]], [[4.0, 16.0], [8.0, 4.0]]]) * np.log(2)
    values = LossByTime(*map(np.array, ([0.25, 0.75], [-0.5, 1.0], [-1.0, 0.0, 3.0])), nats, nats, 0 * nats)
    found = summarize(values, dims=2)
    # Means of the draws by image are [4, 12] and [4, 4] bits; γ' is 2 and 6.
    first, second = found.rows
    assert (first["diffusion"], first["diffusion_se"]) == pytest.approx((1.0, 0.0))
    assert (second["diffusion"], second["diffusion_se"]) == pytest.approx((8 / 12, 4 / 12))
    assert second["velocity"] == pytest.approx(4 * np.log(2))
    # 5 % of the area is 0.15, of the first cell's 1; 95 % leave out 0.15 of the second cell's 2.
    sentence = "area 3.0000 ± 1.0000 bits/dim of diffusion loss, 90% of it between γ = -0.85 and 2.77"
    assert found.sentence() == sentence
    assert found.tables()[0].rows == [["3.0000", "0.0000", "1.0000", "0.0000", "2.0000"]]


def test_the_study_is_of_all_images(tmp_path):
    workdir = write_run(tmp_path / "vdm", write_images(tmp_path / "images.npz"))
    result = studies.measure("loss-by-time", workdir, cells=4, draws=2).result
    nats = measure_loss_by_time(open_trained(workdir), cells=4, num_draws=2).diffusion
    assert result.area == pytest.approx(nats.mean() / (16 * np.log(2)), rel=1e-4)

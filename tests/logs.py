"""Metrics that a run has logged."""

from diffenc_jax.runs.metrics import read_metrics_and_lost


def logged(workdir):
    """Rows of the metrics without the values that depend on the clock."""
    rows, lost = read_metrics_and_lost(workdir)
    assert not lost
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows]

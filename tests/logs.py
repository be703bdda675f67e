"""Metrics that a run has logged."""

from diffenc_jax.runs import storage
from diffenc_jax.runs.metrics import METRICS_FILE, read_metrics


def logged(workdir):
    """Rows of the metrics without the values that depend on the clock."""
    rows = read_metrics(workdir)
    assert len(rows) == storage.read(workdir / METRICS_FILE).count(b"\n")
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows]

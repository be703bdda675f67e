"""metrics.jsonl: appended to, repeated steps written once, damaged lines skipped."""

import math

import pytest

from diffenc_jax.runs import storage
from diffenc_jax.runs.metrics import METRICS_FILE, MetricsFile, evaluated_bpd, read_metrics


@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_a_resumed_run_repeats_nothing(tmp_path, place, request):
    """It resumes from step 4: what lies beyond is written anew, and what is there is not written again."""
    folder = tmp_path if place == "disk" else request.getfixturevalue("bucket").folder
    assert read_metrics(folder) == []
    before = MetricsFile(folder, 0)
    for step in (2, 4, 6):
        before.write_scalars(step, {"train/bpd": step / 2})
    before.flush()
    storage.write(folder / METRICS_FILE, storage.read(folder / METRICS_FILE) + b'{"step": 7, "b')
    resumed = MetricsFile(folder, 4)
    assert [row["step"] for row in read_metrics(folder)] == [2, 4]
    resumed.write_scalars(4, {"eval/test_total": 0.5, "eval/test_latent": 0.25})
    for step in (4, 6):
        resumed.write_scalars(step, {"train/bpd": 9.0})
    resumed.flush()
    rows = [{"step": 2, "bpd": 1.0}, {"step": 4, "bpd": 2.0}, {"step": 4, "test_total": 0.5, "test_latent": 0.25}]
    assert read_metrics(folder) == [*rows, {"step": 6, "bpd": 9.0}]
    assert evaluated_bpd(read_metrics(folder)) == {4: 0.5}


JUNK = [
    b"\x00\xff\xfe",
    b"[1, 2]",
    b'{"bpd": 1.0}',
    b'{"step": -1, "bpd": 1.0}',
    b'{"step": 4, "bpd": 1e308}',
    b'{"step": 4, "bpd": null}',
    b'{"step": 4, "bpd": "x"}',
    bytes(2**20),
    b'{"step": 1, "\\u001b[2J_total": 2.0}',
]


@pytest.mark.parametrize("junk", JUNK)
def test_junk_is_passed_over_and_dropped_when_a_run_goes_on(tmp_path, junk):
    row, path = b'{"step": 2, "bpd": Infinity}', tmp_path / METRICS_FILE
    path.write_bytes(b"\n".join([junk, row, junk, b""]))
    assert read_metrics(tmp_path) == [{"step": 2, "bpd": math.inf}]
    MetricsFile(tmp_path, 5)
    assert path.read_bytes() == row + b"\n"


def test_what_cannot_be_written_is_written_later(tmp_path):
    folder = tmp_path / "run"
    metrics = MetricsFile(folder, 0)
    for step in (1, 2):
        with pytest.raises(FileNotFoundError):
            metrics.write_scalars(step, {"train/bpd": 1.0})
    folder.mkdir()
    metrics.write_scalars(3, {"train/bpd": 1.0})
    assert [row["step"] for row in read_metrics(folder)] == [1, 2, 3]

"""Metrics that a run has logged."""

import json


def logged(workdir):
    """Rows of metrics.jsonl without the values that depend on the clock."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in rows]

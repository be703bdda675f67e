"""Made-up finished runs with given bits/dim."""

from pathlib import Path

import numpy as np

from diffenc_jax.config import load_config
from diffenc_jax.lab.studies.significance.finished import FinishedRun
from diffenc_jax.runs.records import Evaluation


def finished_runs(values):
    """A finished run per arm and seed from bits/dim [seeds] by arm, on two equal images."""
    return [
        FinishedRun(arm, seed, Path(f"{arm}-seed{seed}"), load_config("digits"), _evaluation(seed, bpd))
        for arm, bits in values.items()
        for seed, bpd in enumerate(bits)
    ]


def _evaluation(seed, bpd):
    record = {
        "step": 10,
        "params": 5,
        "bpd": {"total": bpd, "diffusion": bpd},
        "estimator": {"seed": seed, "replicates": None},
    }
    return Evaluation(Path("record.json"), record, np.full((1, 2), bpd))

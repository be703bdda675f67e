"""Made-up runs of the digits configuration: everything that a summary reads, without training.

python -m tests.lab.comparisons.significance.made_up --config=configs/digits.py:ARM --workdir=DIR --config.seed=S ...
writes a run, in place of diffenc_jax.main; with --json=FILE it writes costs, in place of `diffenc costs`.
"""

import json
import math
import sys

import numpy as np

from diffenc_jax.config import load_config
from diffenc_jax.config.load import read_changes
from diffenc_jax.core.buckets import as_path
from diffenc_jax.lab.comparisons.significance.analysis import analyse
from diffenc_jax.lab.comparisons.significance.finished import FinishedRun
from diffenc_jax.lab.comparisons.significance.grid import workdir_of
from diffenc_jax.runs import storage
from diffenc_jax.runs.files import write_json, write_text
from diffenc_jax.runs.records import Evaluation, record_path, write_record
from diffenc_jax.runs.stored import StoredRun

DIMS, IMAGES = 64, 40
NATS = DIMS * math.log(2)  # one bit per dimension
MEANS = {"vdm": 1.85, "diffenc": 1.83, "nontrainable": 1.90, "vdm-params": 1.84, "vdm-flops": 1.82}
MEANS |= {"vdm-T10": 3.65, "diffenc-T10": 3.6, "diffenc-T50": 2.0}
PASSES = 4
LOGGED = ("bpd", "reconstruction", "latent", "diffusion", "grad_norm", "images_per_second")
LOGGED += tuple(f"diffusion_quarter_{i}" for i in (1, 2, 3, 4))


def values(arm, seed, passes=PASSES):
    """Bits/dim [passes, images]: effects of the image, of the seed on all arms and on this one, and noise."""
    images = np.random.RandomState(0).normal(scale=0.2, size=IMAGES)
    of_seed = np.random.RandomState(1 + seed).normal(scale=0.02)
    rng = np.random.RandomState(1000 * (1 + list(MEANS).index(arm)) + seed)
    of_run = rng.normal(scale=0.005)
    return MEANS[arm] + images + of_seed + of_run + rng.normal(scale=0.05, size=(passes, IMAGES))


def record(arm, seed, bits, **changes):
    """A record of an evaluation with the values `bits` [passes, images]."""
    errors = {"noise": 0.01, "images": 0.02, "total": 0.03}
    digest, mean = f"{bits.shape[1]:064}", float(bits.mean())
    images = {"num_examples": bits.shape[1], "dims": DIMS, "sha256": digest, "sha256_any_order": digest}
    passes = {"passes": len(bits), "replicates": 2 if len(bits) > 1 else None}
    return {
        "step": 100,
        "seed": seed,
        "arm": arm,
        "config_hash": "0" * 12,
        "dataset": {"name": "digits", "version": "1", "split": "test", "known_as": None, **images},
        "estimator": {"kind": "bound", "depth": None, "variance_ratio": 1.0, "seed": seed, **passes},
        "bpd": {"total": mean, "latent": 0.1 * mean, "reconstruction": 0.0, "diffusion": 0.9 * mean},
        "standard_error": {**errors, "terms": dict.fromkeys(("latent", "reconstruction", "diffusion"), errors)},
        "params": 1234,
        "params_sha256": "0" * 64,
        "seconds": 5.0,
        "software": {"numpy": "2"},
        "parts": {},
        "device": "1 x cpu",
    } | changes


def write_values(path, record, bits):
    """Write a record and its values."""
    storage.make_folder(path.parent)
    terms = {"latent": 0.1 * NATS * bits, "reconstruction": np.zeros_like(bits), "diffusion": 0.9 * NATS * bits}
    write_record(path, record, terms)


def write(root, arm, seed, bits=None, overrides=(), place=None, final=(), **changes):
    """Write a finished run with `bits` [passes, images] and `changes` of its record; returns its workdir.

    `final` are "key=value" changes of the loss for its evaluation.
    """
    bits = values(arm, seed) if bits is None else bits
    place = workdir_of(root, arm, seed) if place is None else place
    config = load_config(f"digits:{arm}", (f"seed={seed}", f"eval.seed={seed}", *overrides))
    StoredRun(place).write(config)
    loss = config.replace(read_changes(final)).loss
    made = record(arm, seed, bits, step=config.train.steps, config_hash=config.hash)
    made["estimator"] |= {"variance_ratio": loss.variance_ratio, "time_sampling": "importance"}
    if loss.depth is not None:
        made["estimator"] |= {"depth": loss.depth, "extrapolation": loss.extrapolation, "times": loss.times}
    write_values(record_path(place, made, loss.name), made | changes, bits)
    steps = range(50, config.train.steps + 1, 50)
    rows = [{"step": step, **dict.fromkeys(LOGGED, float(bits.mean()) + 100 / step)} for step in steps]
    rows += [{"step": row["step"], "test_total": row["bpd"] - 50 / row["step"]} for row in rows[9::10]]
    write_text(place / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return place


def finished(bits, name="digits"):
    """Finished runs in memory of arms of the configuration `name`, from bits/dim [passes, images] by arm and seed."""
    runs = []
    for (arm, seed), values in bits.items():
        config = load_config(f"{name}:{arm}")
        runs.append(FinishedRun(arm, seed, None, config, Evaluation(None, record(arm, seed, values), values)))
    return runs


def analysed(**seeds):
    """The analysis of runs of these seeds of each arm; vdm is the reference."""
    bits = {(arm, seed): values(arm, seed) for arm, of_arm in seeds.items() for seed in of_arm}
    return analyse(finished(bits), "vdm", 0.01)


def per_seed(**values):
    """Bits/dim [1, 2] by arm and seed, from a value per seed of each arm."""
    return {(arm, seed): np.full((1, 2), bpd) for arm, of_arm in values.items() for seed, bpd in enumerate(of_arm)}


def record_file(place):
    """The record of a run that has one."""
    (path,) = StoredRun(place).record_paths()
    return path


def write_all(root, arms=("vdm", "diffenc", "nontrainable"), seeds=range(5)):
    """Write a finished run of each arm and seed."""
    for arm in arms:
        for seed in seeds:
            write(root, arm, seed)
    return root


COST = {"flops_per_step": 2e9, "seconds_per_step": 0.1, "memory_per_step": 3e7, "device": "1 x cpu"}


def _stand_in(argv):
    given = dict(argument.removeprefix("--").split("=", 1) for argument in argv if "=" in argument)
    if "json" in given:
        storage.make_folder(as_path(given["json"]).parent)
        write_json(as_path(given["json"]), COST)
        return
    arm, seed = given["config"].partition(":")[2], int(given["config.seed"])
    bits = values(arm, seed, int(given.get("config.eval.passes", 8)))
    overrides = [f"{k.removeprefix('config.')}={v}" for k, v in given.items() if k.startswith("config.train.")]
    final = [f"{k.removeprefix('config.')}={v}" for k, v in given.items() if k.startswith("config.loss.")]
    write(None, arm, seed, bits, overrides, place=as_path(given["workdir"]), final=final)
    print("made up")


if __name__ == "__main__":
    _stand_in(sys.argv[1:])

"""A process that trains in a bucket: python -m tests.train.bucket_program IMAGES WORKDIR."""

import sys

from rich.console import Console

from diffenc_jax.core.buckets import as_path
from diffenc_jax.runs import lock
from diffenc_jax.runs.base import BaseRun
from diffenc_jax.train.loop import train
from tests import tiny

STEPS, SAVE_EVERY = 20, 4
BEAT_SECONDS, GONE_SECONDS = 0.5, 3.0  # a killed process is gone sooner


def config(images, **changes):
    settings = {"eval__passes": 1, "eval__time_sampling": "uniform", "log__every_steps": 2, "train__steps": STEPS}
    settings |= {"checkpoint__every_steps": SAVE_EVERY, "data__source": images, "log__writers": ("tensorboard",)}
    return tiny.config("vdm", small=True, **(settings | changes))


if __name__ == "__main__":
    lock.BEAT_SECONDS, lock.GONE_SECONDS = BEAT_SECONDS, GONE_SECONDS
    train(BaseRun.load(config(sys.argv[1])), as_path(sys.argv[2]), Console())

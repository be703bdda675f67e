"""Bits/dim and cost of several trainings, whose steps are taken in turn."""

import time

import jax

from diffenc_jax.api import Run
from diffenc_jax.config import Config
from diffenc_jax.train.flops import count


class Training:
    """One run, whose steps are taken and timed from outside."""

    def __init__(self, config: Config):
        self.run = Run(config)
        self.state, self.steps, self.seconds = self.run.init(), 0, 0.0
        self.run.step(self.run.init(), self.run.batch(0))  # compiles

    def advance(self, steps: int) -> None:
        """Take steps until there are `steps`."""
        for number in range(self.steps, steps):
            batch = jax.block_until_ready(self.run.batch(number))
            start = time.perf_counter()
            self.state, _ = jax.block_until_ready(self.run.step(self.state, batch))
            self.seconds += time.perf_counter() - start
        self.steps = steps

    def values(self) -> dict[str, float]:
        """Bits/dim of the averaged parameters, and what they cost."""
        record = self.run.evaluate(self.state)
        regret = {"regret": record["regret"]["bpd"]} if "regret" in record else {}
        bits, flops = record["bpd"]["total"], count(self.run.config, self.run.model.spec).flops_per_step
        return {"bpd": bits, **regret, "steps": self.steps, "seconds": self.seconds, "FLOPs": self.steps * flops}


def trained(configs: dict[str, Config]) -> dict[str, dict[str, float]]:
    """The values of one training each."""
    trainings = {arm: Training(config) for arm, config in configs.items()}
    parts = max(config.train.steps for config in configs.values())
    for part in range(1, parts + 1):
        for arm, training in trainings.items():
            training.advance(configs[arm].train.steps * part // parts)
    return {arm: training.values() for arm, training in trainings.items()}

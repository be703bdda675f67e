"""The length of a lossless code: images are coded at the finite depth of `config.loss`, and decoded again."""

import math
from typing import Any, ClassVar

import jax
import numpy as np

from diffenc_jax.core.errors import RunError
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.estimator import Pass, StepsEstimator
from diffenc_jax.lab.coding.coder import order_for
from diffenc_jax.lab.coding.container import overhead_bytes
from diffenc_jax.lab.coding.header import blank_header
from diffenc_jax.lab.coding.networks import CodingNetworks, check_coding, make_coder
from diffenc_jax.lab.coding.stack import Stack
from diffenc_jax.parallel.sharding import round_up
from diffenc_jax.runs.experiment import Experiment

LN2 = math.log(2)


class CodeLength(StepsEstimator):
    """The growth of the stack of each image, coded on a stack of its own (coding/coder.py)."""

    terms = ("code_length",)
    diagnostic_formats: ClassVar = {
        "gross": "all bits of a file of these images, initial bits and checksums included: {:.4f} bits/dim",
        "density": "the same latents by densities, without a lattice: {:.4f} bits/dim",
        "bound": "the bound, with the same latents: {:.4f} bits/dim",
    }

    def __init__(self, experiment: Experiment):
        """Raises InputError if the configuration does not suit coding, the model, the data or the devices."""
        super().__init__(experiment)
        check_coding(experiment)

    @property
    def name(self) -> str:
        return f"{self.loss.name}-code_length"

    def describe(self) -> dict[str, Any]:
        compress = self.experiment.config.compress
        return {
            "kind": "code_length",
            **super().describe(),
            "order": order_for(compress.order, self.experiment.model.encoder.drifts),
            "spacing": compress.spacing,
            "stacks": compress.batch_size,
        }

    def estimate(self, given: Pass) -> dict[str, jax.Array]:
        steps, images = Steps.from_arrays(given.tables), np.asarray(given.batch.pixels)
        # Batches of one size, so that an image's code does not depend on how many others there are.
        size = max(len(images), self.experiment.config.eval.batch_size)
        networks = CodingNetworks(self.experiment, given.params, steps, size)
        coder = make_coder(self.experiment.config.compress, networks)
        seed = self.experiment.config.eval.seed
        seeds = [(seed, int(given.number), int(index)) for index in np.asarray(given.indices)]
        stacks = [Stack() for _ in images]
        lengths = coder.encode(stacks, images, seeds)
        if not np.array_equal(coder.decode([Stack(stack.words()) for stack in stacks], seeds), images):
            raise RunError("images are decoded to other ones: the networks do not compute the same bits twice")
        initial = np.array([32 * stack.initial_words for stack in stacks])
        return {
            "code_length": lengths.code,
            "density": lengths.density,
            "bound": lengths.bound,
            "initial": LN2 * initial,
        }

    def diagnostics(self, values: dict[str, np.ndarray]) -> dict[str, Any]:
        """Bits/dim: 'density' and 'bound' of the same latents, and 'gross', that of a file of these images."""
        config, mesh, shape = self.experiment.config, self.experiment.mesh, self.experiment.model.spec.shape
        count, batch_size = values["code_length"].shape[1], round_up(mesh, config.compress.batch_size)
        stacks = min(count, batch_size)
        header = blank_header(config, (count, *shape), batch_size)
        initial = values["initial"].mean(axis=0)[:stacks].sum() + 16 * LN2 * stacks  # half a word fills up each stack
        bits = (values["code_length"].mean(axis=0).sum() + initial) / LN2 + 8 * overhead_bytes(header, count, stacks)
        dims = self.experiment.model.spec.dims
        means = {name: float(values[name].mean() / (dims * LN2)) for name in ("density", "bound")}
        return {"gross": float(bits / (count * dims)), **means}

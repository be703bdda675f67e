"""The length of a lossless code: images are encoded at the finite depth of `config.loss`, and then decoded."""

from typing import Any, ClassVar

import numpy as np

from diffenc_jax.core.errors import RunError
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluation.estimator import Pass, StepsEstimator
from diffenc_jax.lab.coding.choices import Coding
from diffenc_jax.lab.coding.coder import make_coder
from diffenc_jax.lab.coding.networks import CodingNetworks, check_coding
from diffenc_jax.lab.coding.stack import Stack
from diffenc_jax.runs.base import BaseRun


class CodeLength(StepsEstimator):
    """The length of the code of each image: the growth of its own stack (lab/coding/coder.py)."""

    Options: ClassVar[type[Any]] = Coding
    terms = ("code_length",)
    diagnostic_formats: ClassVar = {"bound": "the bound, with the same latents: {:.4f} bits/dim"}

    def __init__(self, run: BaseRun):
        """Raises InputError if the configuration does not suit coding, the model, the data or the devices."""
        super().__init__(run)
        check_coding(run, self.options)

    @property
    def name(self) -> str:
        return f"{self.loss.name}-code_length"

    def describe(self) -> dict[str, Any]:
        order = self.options.order_for(self.run.model.encoder.drifts)
        return {"kind": "code_length", **super().describe(), "order": order, "spacing": self.options.spacing}

    def estimate(self, given: Pass) -> dict[str, Any]:
        steps, images, config = Steps.from_arrays(given.tables), np.asarray(given.batch.data), self.run.config
        labels = None if given.batch.labels is None else np.asarray(given.batch.labels)
        # Batches of one size, so that an image's code does not depend on how many others there are.
        size = max(len(images), config.eval.batch_size)
        coder = make_coder(CodingNetworks(self.run, given.params, steps, size), self.options)
        seeds = [(config.eval.seed, int(given.number), int(index)) for index in np.asarray(given.indices)]
        stacks = [Stack() for _ in images]
        lengths = coder(stacks, seeds, labels).encode(images)
        decoded = coder([Stack(stack.words()) for stack in stacks], seeds, labels).decode()
        if not np.array_equal(decoded, images):
            raise RunError("images are decoded to other ones: the networks do not compute the same bits twice")
        return {"code_length": lengths.code, "bound": lengths.bound}

    def diagnostics(self, values: dict[str, np.ndarray]) -> dict[str, Any]:
        """'bound', bits/dim: the bound with the same latents."""
        return {"bound": float(values["bound"].mean() / (self.run.model.spec.dims * np.log(2)))}

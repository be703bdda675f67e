"""`config.eval`: what is evaluated, how often, and by which estimator."""

from dataclasses import dataclass

from ml_collections import ConfigDict

from diffenc_jax.config import require, unpack
from diffenc_jax.diffusion.times import TIME_SAMPLING
from diffenc_jax.errors import lookup
from diffenc_jax.networks import DTYPES

NEWEST, ALL = "newest", "all"


@dataclass(frozen=True)
class EvalConfig:
    """`config.eval`.

    Attributes:
      every_steps: how often training evaluates.
      split: all of whose images are looked at in each pass.
      batch_size: images a batch, rounded up to a multiple of the devices; changes no value.
      passes: looks at every image; an even number lets the bound spread its times best.
      seed: of the noise, the same for all compared runs.
      estimator: a name of `estimators.ESTIMATORS`.
      time_sampling: where the bound's times are drawn: 'uniform', or 'importance', where a table of
        the loss by time, fitted on training images, says that they count.
      draws: of the whole path an image and pass, by the importance-weighted bound.
      dtype: what the networks compute in: None as in training; 'bfloat16'; or 'float32', in which products are not
        rounded to bfloat16 or TF32 either, as accelerators do in training.
      checkpoints: which ones --mode=eval looks at: 'newest', 'all', or their steps by commas.
    """

    every_steps: int
    split: str
    batch_size: int
    passes: int
    seed: int
    estimator: str
    time_sampling: str
    draws: int
    dtype: str | None
    checkpoints: str

    def __post_init__(self):
        for name in ("every_steps", "batch_size", "passes", "draws"):
            require(getattr(self, name) >= 1, f"eval.{name} must be at least 1, not {getattr(self, name)}")
        lookup("eval.time_sampling", self.time_sampling, dict.fromkeys(TIME_SAMPLING))
        if self.dtype is not None:
            lookup("eval.dtype", self.dtype, DTYPES)
        self.chosen([])

    @classmethod
    def of(cls, config: ConfigDict) -> "EvalConfig":
        """From `config.eval`; raises InputError where it makes no sense."""
        return unpack(cls, config.eval, "eval")

    def chosen(self, available: list[int]) -> list[int]:
        """The steps of the checkpoints that are meant, of those `available`; named ones whether they are or not."""
        if self.checkpoints in (NEWEST, ALL):
            return available[-1:] if self.checkpoints == NEWEST else available
        parts = self.checkpoints.split(",")
        require(
            all(part.strip().isdecimal() for part in parts),
            f"eval.checkpoints={self.checkpoints!r} must be {NEWEST}, {ALL}, or steps such as 500,1000",
        )
        return [int(part) for part in parts]

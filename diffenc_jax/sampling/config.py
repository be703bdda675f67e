"""`config.sample`: what is drawn, how, and what is shown of it."""

from dataclasses import dataclass

from ml_collections import ConfigDict

from diffenc_jax.config import LEARNED, require, unpack
from diffenc_jax.errors import lookup

ANCESTRAL, FLOW = "ancestral", "flow"
ARGMAX, SOFTMAX = "argmax", "softmax"


@dataclass(frozen=True)
class SampleConfig:
    """`config.sample`.

    Attributes:
      num: images.
      depth: steps of the ancestral sampler.
      seed: of the noise. That of image i comes from (seed, i) and the step alone, so that it is the same image
        whatever else is drawn, on any number of devices.
      batch_size: images a batch, rounded up to a multiple of the devices; changes no image.
      sampler: 'ancestral', the generative model's own steps, or 'flow', the probability-flow ODE.
      output: a pixel is the most probable one at z_0, 'argmax', or drawn from p(pixel | z_0), 'softmax'.
      path: whether a GIF shows how the first images come about.
      reconstruct: times t in (0, 1]: images of the split that is evaluated on are diffused to z_t and drawn anew from
        there; a picture shows both.
    """

    num: int
    depth: int
    seed: int
    batch_size: int
    sampler: str
    output: str
    path: bool
    reconstruct: tuple[float, ...]

    def __post_init__(self):
        for name in ("num", "depth", "batch_size"):
            require(getattr(self, name) >= 1, f"sample.{name} must be at least 1, not {getattr(self, name)}")
        lookup("sample.sampler", self.sampler, dict.fromkeys((ANCESTRAL, FLOW)))
        lookup("sample.output", self.output, dict.fromkeys((ARGMAX, SOFTMAX)))
        for t in self.reconstruct:
            number = isinstance(t, int | float) and not isinstance(t, bool)
            require(number and 0 < t <= 1, f"sample.reconstruct must hold times above 0 and at most 1, not {t!r}")
        shown = [f"sample.path={self.path}"] * self.path + ["sample.reconstruct"] * bool(self.reconstruct)
        require(
            self.sampler == ANCESTRAL or not shown,
            f"{' and '.join(shown)} would show the steps of sample.sampler={ANCESTRAL}; {self.sampler} takes none",
        )

    @classmethod
    def of(cls, config: ConfigDict) -> "SampleConfig":
        """From `config.sample`; raises InputError where `config.loss` has no steps of that depth."""
        section = unpack(cls, config.sample, "sample")
        ratio, depth = config.loss.variance_ratio, config.loss.depth
        require(
            section.sampler == FLOW or ratio != LEARNED or section.depth == depth,
            f"sample.depth={section.depth} must be loss.depth={depth}, since the learned ratio is one a step",
        )
        return section

    @property
    def file_name(self) -> str:
        """What of it file names say besides the sampler: '-softmax-seed0'."""
        return ("" if self.output == ARGMAX else f"-{self.output}") + f"-seed{self.seed}"

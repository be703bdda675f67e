"""Likelihood training and evaluation of diffusion models: DiffEnc, VDM and relatives in JAX.

The names below are imported when they are first used, so that `import diffenc_jax` loads neither JAX nor Flax.
"""

from etils import epy

with epy.lazy_api_imports(globals()):
    from diffenc_jax.api import Run, TrainedRun, open
    from diffenc_jax.config import Config
    from diffenc_jax.core.errors import InputError, Interrupted, RunError
    from diffenc_jax.core.versions import __version__
    from diffenc_jax.data.images import Batch
    from diffenc_jax.diffusion import ancestral, density, encoders, flow, losses, schedules
    from diffenc_jax.diffusion.process import Prediction, Process
    from diffenc_jax.train.flops import load_config

__all__ = ["Run", "TrainedRun", "open", "Config", "InputError", "Interrupted", "RunError", "__version__", "Batch"]
__all__ += ["ancestral", "density", "encoders", "flow", "losses", "schedules", "Prediction", "Process", "load_config"]


def __dir__() -> list[str]:
    return sorted(__all__)

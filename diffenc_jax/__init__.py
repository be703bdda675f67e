"""Likelihood training and evaluation of diffusion models: DiffEnc, VDM and relatives in JAX.

The names below are imported when they are first used, so that `import diffenc_jax` loads neither JAX nor Flax.
"""

import sys

from etils import epy

with epy.lazy_api_imports(globals()):
    from diffenc_jax.api import Run as Run
    from diffenc_jax.api import TrainedRun as TrainedRun
    from diffenc_jax.api import open as open
    from diffenc_jax.config import Config as Config
    from diffenc_jax.core.errors import InputError as InputError
    from diffenc_jax.core.errors import Interrupted as Interrupted
    from diffenc_jax.core.errors import RunError as RunError
    from diffenc_jax.core.versions import __version__ as __version__
    from diffenc_jax.data.images import Batch as Batch
    from diffenc_jax.diffusion import ancestral as ancestral
    from diffenc_jax.diffusion import encoders as encoders
    from diffenc_jax.diffusion import flow as flow
    from diffenc_jax.diffusion import losses as losses
    from diffenc_jax.diffusion import schedules as schedules
    from diffenc_jax.diffusion.process import Prediction as Prediction
    from diffenc_jax.diffusion.process import Process as Process
    from diffenc_jax.train.flops import load_config as load_config

__all__ = [name for name in dir(sys.modules[__name__]) if name not in globals()]

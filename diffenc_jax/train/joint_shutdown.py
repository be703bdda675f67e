"""SIGTERM to a run of several processes, which must all stop after the same step."""

import itertools
import signal

import jax
from jax.experimental import multihost_utils

from diffenc_jax.train.shutdown import Shutdown

# JAX's preemption service counts looks for the life of the process, which may open several shutdowns.
_LOOKS = itertools.count(1)


class JointShutdown(Shutdown):
    """A shutdown that all processes of a run see at the same look, the next that none of them has taken.

    JAX's preemption service takes the SIGTERM that any of them gets and tells the others. All must look equally
    often. SIGINT ends the process as ever.
    """

    def __enter__(self) -> "JointShutdown":
        return self

    def requested(self) -> bool:
        if multihost_utils.reached_preemption_sync_point(next(_LOOKS)):
            self.signal = signal.SIGTERM
        return super().requested()


def shutdown_of_run() -> Shutdown:
    """What holds back the signals that this process, or the run that it is one of, is sent."""
    return JointShutdown() if jax.distributed.is_initialized() else Shutdown()

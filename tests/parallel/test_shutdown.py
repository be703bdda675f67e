"""Signals that a loop checks between steps."""

import os
import signal

import pytest

from diffenc_jax.core.errors import Interrupted
from diffenc_jax.parallel.shutdown import Shutdown, shutdown_of_run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_held_back_and_reported(number):
    before = signal.getsignal(number)
    with shutdown_of_run() as shutdown:
        assert not shutdown.requested()
        shutdown.check()
        os.kill(os.getpid(), number)
        assert shutdown.requested()
        with pytest.raises(Interrupted) as stopped:
            shutdown.check()
        assert stopped.value.signal == number
    assert signal.getsignal(number) == before


def test_a_second_interrupt_is_not_held_back():
    with Shutdown():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)

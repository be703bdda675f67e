"""A compiled step and its memory, by the compiler of this machine."""

import jax
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.costs import hlo
from diffenc_jax.lab.costs.compiled import DoesNotFit, compile_step
from diffenc_jax.model import spec_of
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.flops import count
from tests import tiny


@pytest.mark.slow
def test_memory_is_the_donated_state_and_temporaries():
    config = tiny.config("vdm", model__score__width=32, train__batch_size=8)
    memory, compiled, seconds = compile_step(config, make_mesh())
    # Parameters, their average, two moments; the batch of 8 x 8 pixels.
    state = 4 * 4 * count(config, spec_of(config)).total_params + config.train.batch_size * 64
    assert state <= memory.state < 1.02 * state
    assert memory.total == memory.state + memory.temporaries > memory.state
    assert sum(kernel.runs * kernel.moved for kernel in hlo.kernels(compiled.as_text())) > memory.state
    assert seconds > 0


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.5G of 15.75G hbm.", int(20.5 * 2**30)),
        ("RESOURCE_EXHAUSTED: no more is known", None),
        ("INTERNAL: it is broken\nat line 1", "the compiler failed: INTERNAL: it is broken"),
    ],
)
def test_failures_of_the_compiler(monkeypatch, said, expected):
    """Too little memory says what is needed; any other failure is one line."""

    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError(said)

    monkeypatch.setattr(jax.stages.Lowered, "compile", fail)
    with pytest.raises((DoesNotFit, InputError)) as caught:
        compile_step(tiny.config("vdm", small=True), make_mesh())
    assert getattr(caught.value, "needed", str(caught.value)) == expected

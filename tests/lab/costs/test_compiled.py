"""Memory and work of a compiled step, by the compiler of this machine."""

import jax
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.costs.compiled import DoesNotFit, Work, compile_step
from diffenc_jax.model import ImageSpec
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.flops import count
from tests import tiny

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)


@pytest.mark.slow
def test_memory_is_the_donated_state_and_temporaries():
    config = tiny.config("vdm", model__score__width=32, train__batch_size=8)
    memory, work, seconds = compile_step(config, SPEC, make_mesh())
    counts = count(config, SPEC)
    state = 4 * 4 * counts.total_params + config.train.batch_size * 16  # parameters, their average, two moments; batch
    assert state <= memory.state < 1.02 * state
    assert memory.total == memory.state + memory.temporaries > memory.state
    assert work.flops == counts.flops_per_step
    assert work.total("bytes") > memory.state
    assert seconds > 0


class Compiled:
    """Stands for a compiled program that adds two arrays of 256 values, `kernels` times."""

    def __init__(self, kernels):
        add = '  %add.{} = f32[256] add(%x, %x), backend_config={{"estimated_cycles":"20"}}\n'
        adds = "".join(add.format(number) for number in range(kernels))
        self.text = f"ENTRY %main {{\n  %x = f32[256] parameter(0)\n{adds}}}\n"

    def as_text(self):
        return self.text


def test_work_is_that_of_the_text():
    work = Work.of(Compiled(2), flops=7.0)
    assert work.flops == 7.0
    assert [work.total(quantity) for quantity in ("kernels", "bytes", "cycles")] == [2, 6144, 40]


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
        compile_step(tiny.config("vdm", small=True), SPEC, make_mesh())
    assert getattr(caught.value, "needed", str(caught.value)) == expected

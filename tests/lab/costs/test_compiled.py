"""Memory and work of a compiled step, by the compiler of this machine."""

import jax
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.costs.compiled import Compiler, DoesNotFit, Work
from diffenc_jax.model import ImageSpec
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.flops import count
from tests import tiny

SHAPE = (4, 4, 1)
SMALL = dict(model__score__width=32, train__batch_size=8)


def compiler(arm="vdm", **changes):
    spec = ImageSpec(SHAPE, tiny.LEVELS)
    return Compiler(tiny.config(arm, **(SMALL | changes)), spec, make_mesh(), "cpu", quick=False)


@pytest.fixture(scope="module")
def small():
    return compiler()


@pytest.mark.slow
def test_memory_is_the_donated_state_and_temporaries(small):
    config = tiny.config("vdm", **SMALL)
    memory, seconds = small.memory()
    params = count(config, ImageSpec(SHAPE, tiny.LEVELS)).total_params
    state = 4 * 4 * params + config.train.batch_size * 16  # parameters, their average, two moments; and the batch
    assert state <= memory.state < 1.02 * state
    assert memory.total == memory.state + memory.temporaries > memory.state
    assert seconds > 0


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("arm", "kind", "layers"), [("diffenc", "unet", 5), ("vdm", "transformer", 6)])
def test_the_work_of_many_layers_follows_from_that_of_few(arm, kind, layers):
    """Compared with all layers compiled; the transformer joins its layers by skip connections."""
    changes = {"model__score": {**tiny.SCORE_NETWORKS[kind], "width": 32, "layers": layers}, "train__batch_size": 8}
    work, _ = compiler(arm, **changes).work()
    every, _ = compiler(arm, **changes).unrolled_work(tiny.config(arm, **changes))
    assert work.flops == pytest.approx(every.flops, rel=0.02)  # masks of dropout are drawn for several layers at once
    assert work.accessed == pytest.approx(every.accessed, rel=0.05)


def test_cycles_are_those_of_the_main_program():
    class Compiled:
        def cost_analysis(self):
            return {"flops": 3.0, "bytes accessed": 5.0}

        def as_text(self):
            cycles = '  %x = f32[] add(%a), backend_config={{"estimated_cycles":"{}"}}\n'
            return f"%fused {{\n{cycles.format(7)}}}\n\nENTRY %main {{\n{cycles.format(300)}{cycles.format(20)}}}\n"

    assert Work.of(Compiled()) == Work(3.0, 5.0, 320)


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
        Compiler(
            tiny.config("vdm", small=True), ImageSpec(SHAPE, tiny.LEVELS), make_mesh(), "cpu", quick=False
        ).memory()
    assert getattr(caught.value, "needed", str(caught.value)) == expected

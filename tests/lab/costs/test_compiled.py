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
    return Compiler(tiny.config(arm, **(SMALL | changes)), spec, make_mesh(), quick=False)


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


class Compiled:
    """Stands for a compiled program that adds two arrays of 256 values, `kernels` times."""

    def __init__(self, kernels, analysis):
        add = '  %add.{} = f32[256] add(%x, %x), backend_config={{"estimated_cycles":"20"}}\n'
        adds = "".join(add.format(number) for number in range(kernels))
        self.text = f"ENTRY %main {{\n  %x = f32[256] parameter(0)\n{adds}}}\n"
        self.analysis = analysis

    def cost_analysis(self):
        return self.analysis

    def as_text(self):
        return self.text


def test_work_is_that_of_the_analysis_and_of_the_text():
    analysis = {"flops": 3.0, "bytes accessed": 5.0}
    work, on_gpus = Work.of(Compiled(2, analysis)), Work.of(Compiled(2, None), flops=7.0)
    assert (work.flops, work.accessed) == (3.0, 5.0)
    assert (on_gpus.flops, on_gpus.accessed) == (7.0, 2 * 3 * 1024)
    assert work.counts == on_gpus.counts
    assert [work.total(quantity) for quantity in ("kernels", "bytes", "cycles")] == [2, 6144, 40]
    more = work.extrapolated(Work.of(Compiled(3, {"flops": 4.0, "bytes accessed": 4.0})), 10)
    assert (more.flops, more.accessed, more.total("kernels"), more.total("cycles")) == (13.0, -5.0, 12, 240)


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
        Compiler(tiny.config("vdm", small=True), ImageSpec(SHAPE, tiny.LEVELS), make_mesh(), quick=False).memory()
    assert getattr(caught.value, "needed", str(caught.value)) == expected

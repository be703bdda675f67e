"""Memory and work of a compiled step, by the compiler of this machine."""

import jax
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.studies.compile_check.compiled import Compiler, DoesNotFit
from diffenc_jax.model import ImageSpec
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.flops import count
from tests import tiny

SHAPE = (4, 4, 1)
SMALL = dict(model__score__width=32, train__batch_size=8)


def compiler(arm="vdm", **changes):
    spec = ImageSpec(SHAPE, tiny.LEVELS)
    return Compiler(tiny.config(arm, **(SMALL | changes)), spec, make_mesh(), "cpu", quick=False)


@pytest.mark.slow
def test_memory_is_the_donated_state_and_temporaries():
    config = tiny.config("vdm", **SMALL)
    memory, seconds = compiler().memory()
    params = count(config, ImageSpec(SHAPE, tiny.LEVELS)).total_params
    state = 4 * 4 * params + config.train.batch_size * 16  # parameters, their average, two moments; and the batch
    assert state <= memory.state < 1.02 * state
    assert memory.total == memory.state + memory.temporaries > memory.state
    assert seconds > 0


@pytest.mark.slow
@pytest.mark.parametrize("layers", [5, 6])
@pytest.mark.parametrize(("arm", "kind"), [("vdm", "unet"), ("diffenc", "unet"), ("vdm", "transformer")])
def test_the_work_of_many_layers_follows_from_that_of_few(arm, kind, layers):
    """Compared with all layers compiled; the transformer joins its layers by skip connections."""
    changes = {"model__score": {**tiny.SCORE_NETWORKS[kind], "width": 32, "layers": layers}, "train__batch_size": 8}
    found, _ = compiler(arm, **changes).work()
    every, _ = compiler(arm, **changes).unrolled_work(tiny.config(arm, **changes))
    assert found.flops == pytest.approx(every.flops, rel=0.02)  # masks of dropout are drawn for several layers at once
    assert found.accessed == pytest.approx(every.accessed, rel=0.05)


@pytest.mark.parametrize(
    ("said", "needed"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (68.50G) "
            "exceeds available HBM (15.75G).",
            int(68.5 * 2**30),
        ),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.5G of 15.75G hbm.", int(20.5 * 2**30)),
        ("RESOURCE_EXHAUSTED: no more is known", None),
    ],
)
def test_a_step_that_does_not_fit_says_what_it_needs(monkeypatch, said, needed):
    fail_with(monkeypatch, said)
    with pytest.raises(DoesNotFit) as caught:
        compiler().memory()
    assert caught.value.needed == needed


def test_another_failure_of_the_compiler_is_one_line(monkeypatch):
    fail_with(monkeypatch, "INTERNAL: it is broken\nat line 1")
    with pytest.raises(InputError, match=r"^the compiler failed: INTERNAL: it is broken$"):
        compiler().memory()


def fail_with(monkeypatch, message):
    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError(message)

    monkeypatch.setattr(jax.stages.Lowered, "compile", fail)


def test_a_step_that_cannot_be_trained_is_refused_before_anything_is_compiled():
    with pytest.raises(InputError, match=r"train\.batch_size=9 does not divide into train.accumulate=2 parts"):
        compiler(train__batch_size=9, train__accumulate=2)

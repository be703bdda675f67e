"""Programs that need more memory than there is end in one line: what is needed, what there is, and what to lower."""

from types import SimpleNamespace

import jax
import pytest

from diffenc_jax.core.errors import RunError
from diffenc_jax.parallel import memory
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.program import TrainingProgram
from tests import tiny

ADVICE = "lower train.batch_size=8, raise train.accumulate=1, or take model.remat=block"


@pytest.fixture(scope="module")
def program():
    """A training step on a device of 16 GiB."""
    config = tiny.config("vdm", small=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "device_memory", lambda: 2**34)
        yield TrainingProgram(tiny.model(config), config, make_mesh())


ERRORS = [
    ("Out of memory allocating 140342230816 bytes.", "at least 130.70 GiB"),
    ("Ran out of memory in memory space hbm. Used 20.5G of 15.75G hbm.", "at least 20.50 GiB"),
    ("Failed to allocate request for 1.5TiB on device", "more memory than is available"),
]


@pytest.mark.parametrize(("said", "needs"), ERRORS)
def test_an_error_of_the_compiler_or_of_a_call(program, monkeypatch, said, needs):
    def fail(*_):
        raise jax.errors.JaxRuntimeError(f"RESOURCE_EXHAUSTED: {said}")

    monkeypatch.setattr(jax.stages.Lowered, "compile", fail)
    message = f"^out of memory: a training step needs {needs}, and 16.00 GiB are available; {ADVICE}$"
    with pytest.raises(RunError, match=message):
        program.compiled()
    with pytest.raises(RunError, match=message), program.within_memory():
        fail()


def test_a_compiled_step_that_cannot_fit_is_not_run(program, monkeypatch):
    sizes = SimpleNamespace(**{f"{kind}_size_in_bytes": 2**33 for kind in ("argument", "output", "alias", "temp")})
    compiled = SimpleNamespace(memory_analysis=lambda: sizes)
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda _: compiled)
    assert program.compiled() is compiled
    sizes.temp_size_in_bytes += 2**30
    with pytest.raises(RunError, match=r"a training step needs at least 17.00 GiB, and 16.00 GiB are available; lower"):
        program.compiled()

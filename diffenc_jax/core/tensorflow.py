"""TensorFlow: imported when it is used, kept away from GPUs, and silent."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


class _Deferred(ModuleType):
    """Stand-in for a module, which imports the module when an attribute is read."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def imported_when_used(*names: str) -> Iterator[None]:
    """Context in which `import` binds stand-ins for these modules; each module is imported when it is first used.

    Modules that are imported already stay as they are.
    """
    deferred = {name: _Deferred(name) for name in names if name not in sys.modules}
    sys.modules.update(deferred)
    try:
        yield
    finally:
        for name in deferred:
            del sys.modules[name]


def hide_gpus() -> None:
    """Keep TensorFlow from taking the memory of GPUs; call it before TensorFlow is used."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")

"""The configurations that are shipped."""

import importlib.util
from pathlib import Path

CONFIGS = Path(__file__).parent.parent / "configs"


def load(name):
    """The module configs/<name>.py."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

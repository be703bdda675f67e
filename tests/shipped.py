"""The configurations that are shipped, and what they are meant for."""

import importlib.util
from pathlib import Path

CONFIGS = Path(__file__).parent.parent / "configs"
# Of the images, by configuration: (height, width, channels).
SHAPES = {
    "cifar10": (32, 32, 3),
    "digits": (8, 8, 1),
    "fashion_mnist": (28, 28, 1),
    "imagenet32": (32, 32, 3),
    "imagenet64": (64, 64, 3),
    "mnist": (28, 28, 1),
    "synthetic": (1, 1, 2),
}


def load(name):
    """The module configs/<name>.py."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

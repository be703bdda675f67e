"""The configurations that are installed with the package."""

import importlib.util
from pathlib import Path

from diffenc_jax.config import load_config

CONFIGS = Path(__file__).parent.parent / "configs"
COMPARED = ["diffenc", "nontrainable", "vdm"]
MATCHED = [*COMPARED, "vdm-params", "vdm-flops"]
PUBLISHED = {name: [f"{arm}-published" for arm in COMPARED] for name in ("cifar10", "digits", "imagenet32")}
PUBLISHED["mnist"] = ["diffenc-8-2-published", "nontrainable-8-published", "vdm-8-published"]
PUBLISHED["cifar10"] += PUBLISHED["mnist"]
# Arms of the digits for the question when an encoder helps; see docs/encoder.md.
CONTROLS = ["shrinking", "vdm-schedule", "diffenc-schedule", "diffenc-dct-schedule"]
UNBOUNDED = ["diffenc-unbounded", "diffenc-residual"]
PROCESSES = ["diffenc-image", "diffenc-affine", "vdm-polynomial", "vdm-mulan", "vdm-code"]
EQUAL = [f"{arm}-matched" for arm in ("vdm", "diffenc", "diffenc-image", "vdm-polynomial", "vdm-mulan")]
OTHER_NETWORKS = ["diffenc-transformer", "diffenc-dct", "vdm-transformer"]
EIGHT_LAYERS = ["diffenc-8-2", "nontrainable-8", "vdm-8", "vdm-8-params", "vdm-8-flops"]
ARMS = {
    "cifar10": [*MATCHED, *EIGHT_LAYERS, *OTHER_NETWORKS, *PROCESSES, *EQUAL, *PUBLISHED["cifar10"]],
    "digits": [*MATCHED, *OTHER_NETWORKS, *UNBOUNDED, *PROCESSES, *EQUAL, *CONTROLS, *PUBLISHED["digits"]],
    "imagenet32": [*MATCHED, *PUBLISHED["imagenet32"]],
    "mnist": [*MATCHED, "diffenc-8-2", "nontrainable-8", "vdm-8", *PUBLISHED["mnist"]],
    **dict.fromkeys(("fashion_mnist", "fashion_mnist_small", "imagenet64"), MATCHED),
    "synthetic": [*COMPARED, "vdm-flops"],
}


def config(name, arm="diffenc", overrides=()):
    """`Config` of configs/<name>.py."""
    return load_config(f"{CONFIGS / name}.py:{arm}", overrides)


def load(name):
    """The module configs/<name>.py."""
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

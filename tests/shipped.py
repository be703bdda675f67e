"""The configurations that are installed with the package."""

import importlib.util
from pathlib import Path

from diffenc_jax.config import load_config

CONFIGS = Path(__file__).parent.parent / "configs"
COMPARED = ["diffenc", "nontrainable", "vdm"]
MATCHED = [*COMPARED, "vdm-params", "vdm-flops"]
EIGHT_LAYERS = ["diffenc-8-2", "nontrainable-8", "vdm-8"]
PROCESSES = ["diffenc-image", "diffenc-affine", "vdm-polynomial", "vdm-mulan", "vdm-code"]
EQUAL = [f"{arm}-matched" for arm in ("vdm", "diffenc", "diffenc-image", "vdm-polynomial", "vdm-mulan")]
OTHER_NETWORKS = ["diffenc-transformer", "diffenc-dct", "vdm-transformer"]
# Arms of the digits for the question when an encoder helps; see docs/encoder.md.
CONTROLS = ["shrinking", "vdm-schedule", "diffenc-schedule", "diffenc-dct-schedule"]
ARMS = {
    "arrays": [f"{arm}{suffix}" for arm in COMPARED for suffix in ("", "-series", "-fields")],
    "cifar10": [*COMPARED, *EIGHT_LAYERS],
    "cifar10_matched": [*MATCHED, *EIGHT_LAYERS, "vdm-8-params", "vdm-8-flops", "diffenc-affine", *EQUAL],
    "cifar10_variants": [*COMPARED, *OTHER_NETWORKS, *PROCESSES],
    "digits": COMPARED,
    "digits_matched": [*MATCHED, "diffenc-affine", *EQUAL],
    "digits_variants": [*COMPARED, *OTHER_NETWORKS, *PROCESSES, *CONTROLS, "diffenc-unbounded", "diffenc-residual"],
    "mnist": [*MATCHED, *EIGHT_LAYERS],
    **dict.fromkeys(("fashion_mnist", "fashion_mnist_small", "imagenet32", "imagenet64"), MATCHED),
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

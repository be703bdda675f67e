"""Configurations: the published recipe, checked unpacking, comparison and hash.

A configuration is an ml_collections ConfigDict of plain values. A file in configs/ takes
`recipe` and changes a few lines.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from diffenc_jax.errors import InputError, lookup

T = TypeVar("T")

# A variance ratio that is among the parameters.
LEARNED = "learned"

IDENTITY = ConfigDict({"kind": "identity"})
NONTRAINABLE = ConfigDict({"kind": "nontrainable"})
# The three compared models, as changes of a recipe.
ARMS = {"diffenc": {}, "nontrainable": {"model.encoder": NONTRAINABLE}, "vdm": {"model.encoder": IDENTITY}}

# Keys that change how a run is carried out or looked at, not what it computes. A run may go on under others.
FREE_SECTIONS = ("checkpoint", "eval", "fit", "log", "mesh", "ode", "sample")
FREE_KEYS = ("data.dir", "model.scan", "model.remat", "train.on_nonfinite", "train.steps")
# Keys that runs of earlier versions lack, and the value by which those went: with it, a run is still the same run.
LATER_KEYS = {
    "model.derivative_head": False,
    "data.stripes": 1,
    "train.accumulate": 1,
    "train.ends_every": 1,
    "train.on_nonfinite": "stop",
    "train.time_sampling": "uniform",
}


def score_network(**changes: Any) -> ConfigDict:
    """The published score network of CIFAR-10: 128 wide, 32 layers, nothing pooled."""
    network = dict(width=128, layers=32, levels=0, groups=32, mid_groups=32, out_groups=32)
    return ConfigDict({**network, "dropout": 0.1, "fourier_bins": (2.0, 1.0), **changes})


def encoder_network(**changes: Any) -> ConfigDict:
    """The published encoder network of the large models: 64 wide, 4 layers on 2 levels."""
    network = dict(width=64, layers=4, levels=2, groups=32, mid_groups=32, out_groups=16)
    return ConfigDict({"kind": "trainable", **network, "dropout": 0.1, "fourier_bins": (), **changes})


def transformer_network(**changes: Any) -> ConfigDict:
    """Another for CIFAR-10, of as many parameters and two fifths of the FLOPs: patches of 2x2 pixels, 128 wide."""
    network = dict(patch=2, width=128, layers=4, heads=4, dropout=0.1)
    return ConfigDict({"kind": "transformer", **network, **changes})


def dct_network(**changes: Any) -> ConfigDict:
    """One that is linear in the image: a gain and an offset for every frequency."""
    return ConfigDict({"kind": "dct", "width": 32, **changes})


def recipe(name: str, arm: str) -> ConfigDict:
    """The recipe of DiffEnc-32-4 on CIFAR-10 (arXiv 2310.19789), the base of every configuration."""
    config = ConfigDict()
    config.name = name
    config.arm = arm
    config.seed = 0
    config.model = ConfigDict(
        dict(
            score=score_network(),
            encoder=encoder_network(),
            prediction="v",  # what the score network's output estimates: v, eps or x
            derivative_head=False,  # a second head for dx_t/dγ: with a trainable encoder, the exact likelihood needs it
            # gamma_min None: 0.166 of a pixel's bin, -13.3 for 256 levels.
            schedule=dict(kind="fixed_linear", gamma_min=placeholder(float), gamma_max=5.0),
            dtype="float32",  # what the networks' blocks compute in: float32 or bfloat16
            scan=placeholder(bool),  # loop over alike layers; None: on accelerators
            # what the backward pass finds kept, see nets.blocks.REMAT: none, products or block; None: none on CPUs,
            # products on accelerators
            remat=placeholder(str),
        )
    )
    # depth None: infinite. variance_ratio: a number, learned, optimal, optimal_channel or optimal_pixel.
    config.loss = ConfigDict(
        dict(depth=placeholder(int), extrapolation="linear", variance_ratio=placeholder(object), times="uniform")
    )
    config.loss.variance_ratio = 1.0
    # source: a name, or a path to .npy, .npz, IDX or a folder of pictures or batches; dir: where data sets are kept;
    # stripes: see data/pipeline.py.
    config.data = ConfigDict(dict(source=name, dir=placeholder(str), levels=256, stripes=32))
    config.train = ConfigDict(
        dict(
            steps=8_000_000,
            batch_size=128,
            accumulate=1,  # parts that a batch is worked through in; see train/gradients.py
            ends_every=8,  # of how many images one has its end points looked at, 0.5 % of the bound; published: 1
            time_sampling="uniform",  # or importance: by a density that follows the loss; see train/times.py
            on_nonfinite="stop",  # or skip: a step whose loss or gradient is not finite changes nothing
            learning_rate=2e-4,
            warmup_steps=100,
            b1=0.9,
            b2=0.99,
            epsilon=1e-8,
            weight_decay=0.01,
            ema_decay=0.9999,
        )
    )
    config.log = ConfigDict(dict(every_steps=1000))
    # on_failure: of a save or a log, for want of space say: stop, or go_on with what was saved before.
    config.checkpoint = ConfigDict(dict(every_steps=10_000, keep_every_steps=1_000_000, on_failure="stop"))
    # estimator: bound, importance_weighted or ode; see estimators/config.py.
    config.eval = ConfigDict(dict(every_steps=100_000, split="test", batch_size=128, passes=2, seed=0))
    config.eval.update(dict(estimator="bound", time_sampling="importance", draws=1, checkpoints="newest"))
    config.eval.dtype = placeholder(str)  # None: as model.dtype
    config.ode = ConfigDict(dict(divergence="hutchinson", dequantisation="truncated_normal", rtol=1e-4, atol=1e-4))
    # What optimal times and ratios are fitted on: see calibrate.FitConfig.
    config.fit = ConfigDict(dict(images=64, grid=480, seed=0))
    # sampler: ancestral, or flow, as config.ode says; output: argmax or softmax; see sampling/config.py.
    config.sample = ConfigDict(dict(num=64, depth=1000, seed=0, batch_size=128, sampler="ancestral", output="argmax"))
    config.sample.update(dict(path=False, reconstruct=()))
    config.mesh = ConfigDict(dict(fsdp=1))
    return config


def with_changes(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """Replaces values or whole sections, given by keys such as 'model.encoder'; returns `config`."""
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        # A copy, so that an override of one configuration does not reach the others made of the same section.
        (config[section] if section else config)[name] = ConfigDict(value) if isinstance(value, ConfigDict) else value
    return config


def choose_arm(config: ConfigDict, arms: Mapping[str, Mapping[str, Any]]) -> ConfigDict:
    """Applies the changes of `arms[config.arm]`; see `with_changes`.

    Raises:
      InputError: the arm is not among `arms`.
    """
    return with_changes(config, lookup("arm", config.arm, arms))


def matched(arm: str, changes: Mapping[str, Any], layers: int, steps: int) -> dict[str, dict[str, Any]]:
    """`arm`, one of {name: changes}, with what the arm that it is compared with has more of.

    Returns:
      '<arm>-params', whose score network has `layers`, so many that the numbers of parameters are alike; and
      '<arm>-flops', trained for `steps`, so many that the FLOPs of the whole trainings are.
    """
    return {
        f"{arm}-params": {**changes, "model.score.layers": layers},
        f"{arm}-flops": {**changes, "train.steps": steps},
    }


def check_sections(config: ConfigDict) -> None:
    """Raises InputError unless `config` has the sections of `recipe` and no other, their keys, and seeds of 32 bits."""
    base = recipe("", "")
    known, given = set(base), set(config)
    require(given == known, f"a configuration has the sections {sorted(known)}; these differ: {sorted(given ^ known)}")
    for name in (name for name in sorted(known) if isinstance(base[name], ConfigDict)):
        missing = sorted(set(base[name]) - set(config[name]))
        require(not missing, f"configuration keys {missing} are missing in {name}")
    for key, value in flatten(config).items():
        if key.rpartition(".")[2] == "seed":
            whole = isinstance(value, int) and not isinstance(value, bool)
            require(whole and 0 <= value < 2**32, f"{key} must be a whole number in 0 .. 2^32 - 1, not {value!r}")


def check_plain(config: Mapping[str, Any], path: str = "") -> None:
    """Raises InputError unless it holds what JSON can: a workdir keeps it, and keys are compared by name."""
    for key, value in config.items():
        where = f"{path}{key}"
        require(isinstance(key, str), f"{path}{key!r} is no configuration key, which is text")
        if isinstance(value, Mapping | ConfigDict):
            check_plain(value, f"{where}.")
        else:
            require(
                _is_plain(value), f"{where} must be a number, text, truth value, None or tuple of these, not {value!r}"
            )


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, int | float | str)


def require(condition: bool, message: str) -> None:
    """Raises InputError(message) unless `condition` holds."""
    if not condition:
        raise InputError(message)


def unpack(cls: type[T], section: Mapping[str, Any], path: str, **given: Any) -> T:
    """The dataclass `cls` from a section of a configuration, every key read.

    Its fields without default are the keys; `given` are values of those with.

    Raises:
      InputError: a key is missing, or is one that nothing reads.
    """
    names = [field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING]
    unknown = sorted(set(section) - set(names))
    missing = sorted(set(names) - set(section))
    require(not unknown, f"unknown configuration keys {unknown} in {path}; known: {', '.join(names)}")
    require(not missing, f"configuration keys {missing} are missing in {path}")
    values = {name: section[name] for name in names}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}, **given)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'train.steps': 100, ...}, JSON's values."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The flattened keys that decide what a run computes; the rest may differ when it goes on."""
    return {
        key: value
        for key, value in flatten(config).items()
        if key.split(".")[0] not in FREE_SECTIONS
        and key not in FREE_KEYS
        and not (key in LATER_KEYS and value == LATER_KEYS[key])
    }


def completed(stored: Mapping[str, Any]) -> ConfigDict:
    """The configuration of a run that an older version may have stored, with what came since as it was before.

    How its networks are computed is left to the machine that looks at it, which may be of another kind.
    """
    config = ConfigDict(stored)
    config.model.scan, config.model.remat = placeholder(bool), placeholder(str)
    defaults = recipe(stored["name"], stored["arm"])
    for section in FREE_SECTIONS:
        config[section] = ConfigDict({**defaults[section], **stored.get(section, {})})
    return with_changes(config, {key: value for key, value in LATER_KEYS.items() if key not in flatten(stored)})


def config_hash(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits over `identity(config)`."""
    text = json.dumps(identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """'key: ours, not theirs' for every identifying key that differs."""
    a, b = identity(ours), identity(theirs)
    missing = {key: LATER_KEYS.get(key, "(absent)") for key in a.keys() | b.keys()}
    pairs = [(key, (missing | a)[key], (missing | b)[key]) for key in sorted(missing)]
    return [f"{key}={here} (there {there})" for key, here, there in pairs if here != there]

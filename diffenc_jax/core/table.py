"""The parts of the library by kind and short name. Those of the lab are in `lab/table.py`; see `core/parts.py`."""

from diffenc_jax.core.parts import Entry

_COMMANDS = "diffenc_jax.commands"
_NETS = "diffenc_jax.nets"
_ENCODERS = "diffenc_jax.diffusion.encoders"
_SCHEDULES = "diffenc_jax.diffusion.schedules"
_SOURCES = "diffenc_jax.data.sources"

PARTS: dict[str, dict[str, Entry]] = {
    "command": {
        "train": Entry(f"{_COMMANDS}.train", summary="train a model, evaluate it and draw samples"),
        "eval": Entry(f"{_COMMANDS}.evaluate", summary="evaluate checkpoints of a trained run"),
        "sample": Entry(f"{_COMMANDS}.sample", summary="draw samples from a trained run"),
        "prepare-data": Entry(
            f"{_COMMANDS}.prepare_data",
            summary="download and prepare the images of a configuration, in a folder or a bucket",
            computes=False,
        ),
        "config-keys": Entry(
            f"{_COMMANDS}.config_keys",
            summary="list all keys of a configuration, with defaults and meanings",
            computes=False,
        ),
    },
    "score": {
        "transformer": Entry(f"{_NETS}.transformer:Transformer"),
        "unet": Entry(f"{_NETS}.unet:UNet"),
    },
    "network": {
        "frequency_gains": Entry(f"{_NETS}.dct:FrequencyGains"),
        "transformer": Entry(f"{_NETS}.transformer:Transformer"),
        "unet": Entry(f"{_NETS}.unet:UNet"),
    },
    "encoder": {
        "affine": Entry(f"{_ENCODERS}:Affine"),
        "dct": Entry(f"{_ENCODERS}:Unbounded", network="frequency_gains"),
        "identity": Entry(f"{_ENCODERS}:Identity"),
        "nontrainable": Entry(f"{_ENCODERS}:NonTrainable"),
        "residual": Entry(f"{_ENCODERS}:Residual"),
        "shrinking": Entry(f"{_ENCODERS}:Shrinking"),
        "trainable": Entry(f"{_ENCODERS}:Trainable"),
        "transformer": Entry(f"{_ENCODERS}:Trainable", network="transformer"),
        "unbounded": Entry(f"{_ENCODERS}:Unbounded"),
    },
    "code": {
        "k_hot": Entry("diffenc_jax.diffusion.codes:KHot"),
        "none": Entry("diffenc_jax.diffusion.codes:NoCode"),
    },
    "schedule": {
        "fixed_linear": Entry(f"{_SCHEDULES}:FixedLinear"),
        "fixed_poly10": Entry(f"{_SCHEDULES}:FixedPoly10"),
        "learned_linear": Entry(f"{_SCHEDULES}:LearnedLinear"),
        "monotone": Entry(f"{_SCHEDULES}:Monotone"),
        "polynomial": Entry(f"{_SCHEDULES}:Polynomial"),
    },
    "prediction": {
        "eps": Entry("diffenc_jax.diffusion.gaussian:velocity_from_noise"),
        "v": Entry("diffenc_jax.diffusion.gaussian:velocity_from_velocity"),
        "x": Entry("diffenc_jax.diffusion.gaussian:velocity_from_image"),
    },
    "extrapolation": {
        "exponential": Entry("diffenc_jax.diffusion.reverse:exponential"),
        "linear": Entry("diffenc_jax.diffusion.reverse:linear"),
    },
    "estimator": {
        "bound": Entry("diffenc_jax.evaluation.bound:Bound"),
        "importance_weighted": Entry("diffenc_jax.evaluation.importance_weighted:ImportanceWeighted"),
        "ode": Entry("diffenc_jax.evaluation.ode:Ode"),
    },
    "sampler": {
        "ancestral": Entry("diffenc_jax.sampling.samplers:Ancestral"),
        "flow": Entry("diffenc_jax.sampling.samplers:Flow"),
    },
    "optimizer": {
        "adamw": Entry("diffenc_jax.train.optimizers:AdamW"),
        "lion": Entry("diffenc_jax.train.optimizers:Lion"),
    },
    "data": {
        "cifar10": Entry(f"{_SOURCES}:CIFAR10"),
        "digits": Entry(f"{_SOURCES}:DIGITS"),
        "fashion_mnist": Entry(f"{_SOURCES}:FASHION_MNIST"),
        "imagenet32": Entry(f"{_SOURCES}:IMAGENET32"),
        "imagenet64": Entry(f"{_SOURCES}:IMAGENET64"),
        "mnist": Entry(f"{_SOURCES}:MNIST"),
        "synthetic": Entry(f"{_SOURCES}:SYNTHETIC"),
    },
}

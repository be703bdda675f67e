"""The kinds of parts, and the parts of the library by kind and short name; see `core/parts.py`."""

from diffenc_jax.core.parts import Entry, Kind

KINDS = {
    "score": Kind("score network", "diffenc_jax.nets.network:ScoreNetwork", "model.score.kind", "model.score"),
    "encoder": Kind("encoder", "diffenc_jax.diffusion.encoders:Encoder", "model.encoder.kind", "model.encoder"),
    "code": Kind("code", "diffenc_jax.diffusion.codes:LatentCode", "model.code.kind", "model.code"),
    "decoder": Kind("decoder", "diffenc_jax.diffusion.decoders:Decoder", "model.decoder.kind", "model.decoder"),
    "schedule": Kind("schedule", "diffenc_jax.diffusion.schedules:Schedule", "model.schedule.kind", "model.schedule"),
    "network": Kind("network", "diffenc_jax.nets.network:Network"),
    "prediction": Kind("model.prediction", "collections.abc:Callable", "model.prediction", objects=True),
    "extrapolation": Kind(
        "loss.extrapolation", "diffenc_jax.diffusion.reverse:Extrapolated", "loss.extrapolation", objects=True
    ),
    "estimator": Kind("eval.estimator", "diffenc_jax.evaluation.estimator:Estimator", "eval.estimator", "eval.options"),
    "sampler": Kind("sample.sampler", "diffenc_jax.sampling.samplers:Sampler", "sample.sampler", "sample.options"),
    "optimizer": Kind(
        *("optimizer", "collections.abc:Callable", "train.optimizer.kind", "train.optimizer"),
        objects=True,
        libraries=("optax", "optax.contrib"),
    ),
    "writer": Kind("writer", "diffenc_jax.train.writer:MetricWriter", "log.writers"),
    "data": Kind("data set", "diffenc_jax.data.sources:NamedSource", "data.source", objects=True),
}


def _command(module: str, summary: str, computes: bool = True) -> Entry:
    return Entry(f"diffenc_jax.commands.{module}", summary=summary, computes=computes)


def _parts(module: str, **attributes: str) -> dict[str, Entry]:
    """Entries by short name of parts of one module, given by their names in it."""
    return {name: Entry(f"diffenc_jax.{module}:{attribute}") for name, attribute in attributes.items()}


_DATA = ("cifar10", "digits", "fashion_mnist", "imagenet32", "imagenet64", "mnist", "synthetic")
_SCORE_NETWORKS = {
    **_parts("nets.mlp", mlp="Mlp"),
    **_parts("nets.transformer", transformer="Transformer"),
    **_parts("nets.unet", unet="UNet"),
}

PARTS: dict[str, dict[str, Entry]] = {
    "command": {
        "train": _command("train", "train a model, evaluate it and draw samples"),
        "eval": _command("evaluate", "evaluate checkpoints of a trained run"),
        "sample": _command("sample", "draw samples from a trained run"),
        "prepare-data": _command("prepare_data", "download and prepare the images of a configuration", computes=False),
        "config-keys": _command("config_keys", "list all keys of a configuration with their meanings", computes=False),
    },
    "score": _SCORE_NETWORKS,
    "network": _parts("nets.dct", frequency_gains="FrequencyGains") | _SCORE_NETWORKS,
    "encoder": {
        **_parts("diffusion.encoders", identity="Identity", nontrainable="NonTrainable", shrinking="Shrinking"),
        **_parts("diffusion.encoders", affine="Affine", residual="Residual"),
        **_parts("diffusion.encoders", trainable="Trainable", unbounded="Unbounded"),
        "dct": Entry("diffenc_jax.diffusion.encoders:Unbounded", network="frequency_gains"),
        "mlp": Entry("diffenc_jax.diffusion.encoders:Trainable", network="mlp"),
        "transformer": Entry("diffenc_jax.diffusion.encoders:Trainable", network="transformer"),
    },
    "code": _parts("diffusion.codes", k_hot="KHot", none="NoCode"),
    "decoder": _parts("diffusion.decoders", gaussian="Gaussian", levels="Levels"),
    "schedule": {
        **_parts("diffusion.schedules", fixed_linear="FixedLinear", learned_linear="LearnedLinear"),
        **_parts("diffusion.schedules", fixed_poly10="FixedPoly10", monotone="Monotone", polynomial="Polynomial"),
    },
    "prediction": {
        **_parts("diffusion.gaussian", change="velocity_from_change", eps="velocity_from_noise"),
        **_parts("diffusion.gaussian", v="velocity_from_velocity", x="velocity_from_image"),
    },
    "extrapolation": _parts("diffusion.reverse", exponential="exponential", linear="linear"),
    "estimator": {
        **_parts("evaluation.bound", bound="Bound"),
        **_parts("evaluation.importance_weighted", importance_weighted="ImportanceWeighted"),
        **_parts("evaluation.ode", ode="Ode"),
    },
    "sampler": _parts("sampling.samplers", ancestral="Ancestral", flow="Flow"),
    "optimizer": _parts("train.optimizers", adamw="AdamW") | _parts("train.muon", muon="Muon"),
    "writer": _parts("train.writer", tensorboard="TensorBoard"),
    "data": _parts("data.sources", **{name: name.upper() for name in _DATA}),
}

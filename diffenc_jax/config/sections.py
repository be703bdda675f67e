"""Sections of a configuration: every key with its default, its limits and its documentation."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from diffenc_jax.config.schema import Section, check_section, jsonable
from diffenc_jax.core.errors import require
from diffenc_jax.core.keys import FRACTION, POSITIVE, REQUIRED, Limits, at_least, count, key, seed

ENCODED, IMAGE = "encoded", "image"
LEARNED = "learned"
# Names of fitted tables of variance ratios, and the axes of an example, channels last, that share one ratio per step.
OPTIMAL = {"optimal": slice(None), "optimal_channel": slice(-1), "optimal_pixel": slice(0)}
# The fitted ratio that depends on the pixel's estimate, and the ratio from the score network's error head.
OPTIMAL_ESTIMATE, LEARNED_ERROR = "optimal_estimate", "learned_error"
FITTED_RATIOS = (*OPTIMAL, OPTIMAL_ESTIMATE)
IMPORTANCE_WEIGHTED = "importance_weighted"
NEWEST, ALL = "newest", "all"
ANCESTRAL, FLOW = "ancestral", "flow"
EXACT, HUTCHINSON = "exact", "hutchinson"
ARGMAX, SOFTMAX = "argmax", "softmax"
FLIP, ROTATE, COLORS = AUGMENTATIONS = ("flip", "rotate", "colors")
FIT_IMAGES = 64
TIME_SAMPLING = ("importance", "uniform")
DTYPES = ("bfloat16", "float32")
PIXEL_LEVELS = Limits("lie in 2 .. 256", lambda levels: 2 <= levels <= 256)
SIDES = Limits("lie in 1 .. 4096", lambda side: 1 <= side <= 4096)
METHODS = ("Bosh3", "Tsit5", "Dopri8")
FINEST = 1e-7  # the solver's tolerance that float32 still resolves
TOLERANCE = Limits(f"lie between {FINEST:g}, the precision of float32, and 1", lambda value: FINEST <= value < 1)


@dataclass(frozen=True)
class Options(Section):
    """Keys of a part by name, such as an estimator's. They are checked where the part is built.

    Attributes:
      options: the values. The mapping must not be changed.
    """

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any], path: str) -> Self:
        check_section(path, values)
        for name, value in values.items():
            plain = f"{path}.{name} must be a number, text, truth value, None or tuple of these, not {value!r}"
            require(isinstance(name, str) and _is_plain(value), plain)
        return cls({name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        return jsonable(self.options)


@dataclass(frozen=True)
class PartConfig(Options):
    """A section of `model` that names a part, such as `model.score` or `model.decoder`: the name, and its keys.

    Attributes:
      options: the other keys of the section. The mapping must not be changed.
    """

    kind: str = key("", "Name of the part, or its import path, package.module:Name.")

    @classmethod
    def parse(cls, values: Mapping[str, Any], path: str) -> Self:
        options = dict(Options.parse(values, path).options)
        kind = options.pop("kind", None)
        require(isinstance(kind, str), f"{path}.kind must be text, not {kind!r}")
        return cls(options, kind)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **super().to_dict()}


def _is_plain(value: Any) -> bool:
    """Whether JSON can hold `value`, with tuples as lists."""
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, int | float | str)


@dataclass(frozen=True)
class ModelConfig(Section, section="model"):
    """`model`: score network, encoder and noise schedule, and how the networks are computed."""

    score: PartConfig
    encoder: PartConfig
    code: PartConfig
    decoder: PartConfig
    schedule: PartConfig
    prediction: str = key("v", "Quantity that the score network estimates.", part="prediction")
    target: str = key(
        ENCODED,
        "Image that the model's x̂ estimates at z_t: 'encoded', which is x_t, as published, or 'image', which is x, "
        "from which the encoder gives x_t and its drift.",
        choices=(ENCODED, IMAGE),
    )
    derivative_head: bool = key(
        False, "Second head of the score network, for dx_t/dγ; the probability flow of a trainable encoder needs it."
    )
    error_head: bool = key(
        False, "Second head of the score network, for its squared error at z_t: loss.variance_ratio=learned_error."
    )
    labels: bool = key(False, "Whether score network and encoder are conditioned on the images' labels.")
    augmentation: bool = key(
        False, "Whether score network and encoder are conditioned on the augmentation of each image, train.augment."
    )
    dtype: str = key("float32", "Floating-point type of the networks' blocks.", choices=DTYPES)
    scan: bool = key(
        False, "Whether alike layers run in a loop, which compiles faster than unrolled layers but runs slower."
    )
    remat: str | None = key(
        None,
        "Rematerialisation: which activations of a block are saved for the backward pass.",
        none="'none' on CPUs and GPUs, 'products' on TPUs",
        choices=("block", "none", "products"),
    )


@dataclass(frozen=True)
class LossConfig(Section, section="loss"):
    """`loss`: the bound that training minimises, and that evaluation and sampling use."""

    depth: int | None = count(None, "Depth T of the bound.", unit="steps", none="infinite depth")
    extrapolation: str = key(
        "linear", "Correction of the generative mean for the encoder's drift over a step.", part="extrapolation"
    )
    variance_ratio: float | str = key(
        1.0,
        "w = σ_Q² / σ_P² of each step. 'learned' trains one per step; 'learned_error' comes from model.error_head; the "
        "others are fitted after training: 'optimal' one per step, 'optimal_channel' and 'optimal_pixel' one per step "
        "and channel or pixel, 'optimal_estimate' a function of the pixel's estimate x̂. Infinite depth requires 1.",
        limits=POSITIVE,
        choices=(LEARNED, LEARNED_ERROR, *FITTED_RATIOS),
    )
    times: str = key(
        "uniform",
        "End points of the steps: 'uniform' in t, or 'optimal', fitted on training images after training.",
        choices=("optimal", "uniform"),
    )

    def check(self) -> None:
        if self.depth is None:
            ratio = f"loss.variance_ratio={self.variance_ratio} needs a finite loss.depth, such as 1000"
            require(self.variance_ratio == 1, f"{ratio}: at infinite depth the bound diverges with any ratio but 1")
            require(self.times == "uniform", "loss.times=optimal needs a finite loss.depth, such as 1000")

    @property
    def name(self) -> str:
        """Name for files: 'continuous', 'depth50', 'depth50-exponential-optimal_pixel-times'."""
        if self.depth is None:
            return "continuous"
        ratio = self.variance_ratio if isinstance(self.variance_ratio, str) else f"ratio{self.variance_ratio:g}"
        differs = {
            f"depth{self.depth}": True,
            self.extrapolation: self.extrapolation != "linear",
            ratio: self.variance_ratio != 1,
            "times": self.times != "uniform",
        }
        return "-".join(name for name, is_there in differs.items() if is_there)

    @property
    def is_fitted(self) -> bool:
        """Whether ratios or times are fitted on training images after training."""
        return self.is_ratio_fitted or self.times == "optimal"

    @property
    def is_ratio_fitted(self) -> bool:
        """Whether the ratio is fitted on training images after training."""
        return self.variance_ratio in FITTED_RATIOS


@dataclass(frozen=True)
class DataConfig(Section, section="data"):
    """`data`: the images."""

    source: str = key(
        REQUIRED,
        "A data set's name; tfds:NAME[/CONFIG][:VERSION] for one of tensorflow-datasets; or the path of an .npy, .npz "
        "or IDX file, or of a folder of pictures or of IDX files.",
        part="data",
    )
    resize: int | None = key(
        None,
        "Side of the squares to which pictures of a folder or of tensorflow-datasets are cropped and resized.",
        unit="pixels",
        none="pictures as they are, all of one size",
        limits=SIDES,
    )
    dir: str | None = key(
        None,
        "Folder or gs://BUCKET/FOLDER in which data sets of tensorflow-datasets are prepared and kept.",
        none="TFDS_DATA_DIR of the environment, or else ~/tensorflow_datasets",
    )
    pixel_levels: int | None = key(
        256,
        "Number of values that a pixel can take.",
        none="real numbers, which model.decoder.kind=gaussian models",
        limits=PIXEL_LEVELS,
    )
    shuffle_shards: int = count(
        32,
        "Parts of consecutive training images that are shuffled separately, so that each host may hold some of them.",
    )


@dataclass(frozen=True)
class TrainConfig(Section, section="train"):
    """`train`: the length of training, its batches, and how parameters follow gradients."""

    optimizer: PartConfig
    steps: int = count(8_000_000, "Length of training.", unit="steps")
    flops_of: str | None = key(
        None,
        "Arm of the same configuration. This run gets the FLOPs of that arm's training, which decide train.steps; a "
        "given train.steps is the length of that arm's training.",
        none="the length train.steps",
    )
    batch_size: int = count(128, "Images per step, on all devices together.", unit="images")
    accumulate: int = count(
        1,
        "Equal parts in which a batch's gradient is computed, to save memory. Changes dropout masks and drawn codes.",
    )
    endpoint_interval: int = count(
        8,
        "Evaluate the end-point terms (reconstruction and latent loss) on one image in this many; published: 1.",
    )
    augment: str | None = key(
        None,
        "Random transformations of each training image, separated by commas: 'flip', from left to right; 'rotate', by "
        "0, 90, 180 or 270 degrees; 'colors', a permutation of the channels.",
        none="no augmentation",
    )
    time_sampling: str = key(
        "uniform",
        "Density of the times of the diffusion loss: 'uniform', or 'importance', which follows the loss by time.",
        choices=TIME_SAMPLING,
    )
    on_nonfinite: str = key(
        "stop",
        "Reaction to a loss or gradient that is not finite: 'stop' the run, or 'skip' the step.",
        choices=("skip", "stop"),
    )
    learning_rate: float = key(2e-4, "Learning rate after the warm-up.", limits=POSITIVE)
    warmup_steps: int = key(100, "Length of the linear warm-up of the learning rate.", unit="steps", limits=at_least(0))
    learning_rate_schedule: str = key(
        "constant",
        "Learning rate after the warm-up: 'constant'; 'cosine' or 'linear', which fall to 0 at train.steps; or "
        "'rsqrt', which falls as one over the root of the steps.",
        choices=("constant", "cosine", "linear", "rsqrt"),
    )
    gradient_clip_norm: float | None = key(
        None, "Norm to which a larger gradient is scaled down.", none="no limit", limits=POSITIVE
    )
    ema_decay: float = key(0.9999, "Decay rate of the parameters' moving average, which is evaluated.", limits=FRACTION)
    ema_warmup: bool = key(
        False, "Whether ema_decay is at most (1 + n) / (10 + n) at step n, so that the average forgets the start."
    )

    def check(self) -> None:
        allowed = f"{', '.join(AUGMENTATIONS)}, separated by commas, or be None"
        require(set(self._augment_names()) <= set(AUGMENTATIONS), f"train.augment={self.augment} must name {allowed}")

    @property
    def steps_decide_rates(self) -> bool:
        """Whether the learning rate of a step depends on the length of the training."""
        return self.learning_rate_schedule in ("cosine", "linear")

    @property
    def augmentations(self) -> tuple[str, ...]:
        """The kinds of augmentation, in the order of `AUGMENTATIONS`."""
        return tuple(kind for kind in AUGMENTATIONS if kind in self._augment_names())

    def _augment_names(self) -> list[str]:
        return [] if self.augment is None else [name.strip() for name in self.augment.split(",")]


@dataclass(frozen=True)
class LogConfig(Section, section="log"):
    """`log`: training metrics, and where they are written besides metrics.jsonl."""

    every_steps: int = count(1000, "Interval over which metrics are averaged and written.", unit="steps")
    writers: tuple[str, ...] = key(
        ("tensorboard",), "Writers of metrics and samples, separated by commas; empty for none.", part="writer"
    )
    samples: int = key(
        16,
        "Images to draw for the writers at each evaluation during training, with the settings of `sample`; 0 for none, "
        "and `diffenc train` then draws none at its end either.",
        unit="images",
        limits=at_least(0),
    )


@dataclass(frozen=True)
class CheckpointConfig(Section, section="checkpoint"):
    """`checkpoint`: saving of the training state."""

    every_steps: int = count(10_000, "Interval between checkpoints.", unit="steps")
    keep_every_steps: int = count(
        1_000_000,
        "Interval between checkpoints that are kept for good. Of the others, the newest two and the best are kept.",
        unit="steps",
    )
    on_failure: str = key(
        "stop",
        "Reaction to a checkpoint or log that cannot be written: 'stop' the run, or 'go_on'.",
        choices=("go_on", "stop"),
    )
    other_parts: bool = key(
        False, "Whether a run may go on, or be evaluated, after the source of its parts from other packages changed."
    )


@dataclass(frozen=True)
class EvalConfig(Section, section="eval"):
    """`eval`: what is evaluated, how often, and by which estimator."""

    every_steps: int = count(100_000, "Interval between evaluations during training.", unit="steps")
    split: str = key("test", "Split that is evaluated, all of its images in each pass.")
    batch_size: int = count(
        128,
        "Images per batch, rounded up to a multiple of the number of devices. Changes no value, except for rounding "
        "and the solver's error.",
        unit="images",
    )
    passes: int = count(2, "Evaluations of every image, each with its own noise. An even number spreads times best.")
    seed: int = seed("Seed of the noise. Runs that are compared should share it.")
    estimator: str = key("bound", "Estimator of the likelihood.", part="estimator")
    options: Options = dataclasses.field(default_factory=Options)
    time_sampling: str = key(
        "importance",
        "Density from which the bound's times are drawn: 'uniform', or 'importance', which follows the loss by time, "
        "measured on training images. The estimate stays unbiased.",
        choices=TIME_SAMPLING,
    )
    num_draws: int = count(1, "Paths per image and pass of the estimator importance_weighted; 1 for the others.")
    checkpoints: str = key(NEWEST, "Checkpoints to evaluate: 'newest', 'all', or steps such as '500,1000'.")
    dtype: str | None = key(
        None,
        "Floating-point type in which the networks compute. With 'float32', accelerators do not round factors to "
        "bfloat16 or TF32 either, as they do in training.",
        none="model.dtype, as in training",
        choices=DTYPES,
    )

    def check(self) -> None:
        self.chosen_steps([])
        reader = f"eval.num_draws={self.num_draws} is read only by eval.estimator={IMPORTANCE_WEIGHTED}"
        require(self.num_draws == 1 or self.estimator == IMPORTANCE_WEIGHTED, f"{reader}, and this is {self.estimator}")

    def chosen_steps(self, available: list[int]) -> list[int]:
        """Steps of the checkpoints to evaluate, from those `available`; steps given by number need not be available.

        Raises InputError if eval.checkpoints is neither a known word nor a list of steps.
        """
        if self.checkpoints in (NEWEST, ALL):
            return available[-1:] if self.checkpoints == NEWEST else available
        steps = self.checkpoints.split(",")
        is_list = all(step.strip().isdecimal() for step in steps)
        require(is_list, f"eval.checkpoints={self.checkpoints!r} must be {NEWEST}, {ALL}, or steps such as 500,1000")
        return [int(step) for step in steps]


@dataclass(frozen=True)
class OdeConfig(Section, section="ode"):
    """`ode`: the likelihood of the probability-flow ODE, and its solver, which the flow sampler shares."""

    divergence: str = key(
        HUTCHINSON,
        "Divergence of the flow: 'exact', or 'hutchinson', which is unbiased and takes one derivative per probe.",
        choices=(EXACT, HUTCHINSON),
    )
    probes: int = count(1, "Random probes per image and pass of divergence=hutchinson, averaged along one path.")
    dequantisation: str = key(
        "truncated_normal",
        "Distribution within a pixel's bin that turns pixels into real numbers.",
        choices=("truncated_normal", "uniform"),
    )
    dequantisation_draws: int = count(
        1, "Draws of the dequantisation noise per image and pass, importance-weighted; divergence=exact if several."
    )
    rtol: float = key(1e-4, "Relative tolerance of a step of the solver.", limits=TOLERANCE)
    atol: float = key(1e-4, "Absolute tolerance of a step of the solver.", limits=TOLERANCE)
    method: str = key(
        METHODS[0],
        "Runge-Kutta method of the solver, of third, fifth or eighth order. High orders need smooth networks, such as "
        "those with a small time_scale.",
        choices=METHODS,
    )

    def check(self) -> None:
        estimated, draws = self.divergence == HUTCHINSON, self.dequantisation_draws
        require(self.probes == 1 or estimated, f"ode.probes={self.probes} needs ode.divergence={HUTCHINSON}")
        why = "with an estimated divergence their importance-weighted mean would be no bound"
        require(draws == 1 or not estimated, f"ode.dequantisation_draws={draws} needs ode.divergence={EXACT}: {why}")


@dataclass(frozen=True)
class FitConfig(Section, section="fit"):
    """`fit`: the fit of optimal times and variance ratios on training images."""

    images: int | None = count(
        None,
        "Training images over which the costs of steps are averaged.",
        unit="images",
        none=f"{FIT_IMAGES}, or all training images if there are fewer",
    )
    grid: int = key(
        480,
        "Intervals of γ, at whose end points steps may begin and end; one noise per image and interval.",
        unit="intervals",
        limits=at_least(16),  # enough for two steps: evaluation.fit takes eight intervals per step
    )
    bins: int = count(
        96,
        "Bins of x̂ for variance ratios by optimal_estimate; fewer if bins would hold fewer than 80 values. Compressed "
        "files hold two numbers per bin and step.",
    )
    seed: int = seed("Seed of the choice of images, and of their noise.")


@dataclass(frozen=True)
class SampleConfig(Section, section="sample"):
    """`sample`: what is sampled, how, and which pictures are made."""

    num: int = count(64, "Number of images.", unit="images")
    depth: int = count(1000, "Steps of the ancestral sampler.", unit="steps")
    seed: int = seed(
        "Seed of the noise. The noise of image i depends only on (seed, i) and the step, so the number of images and "
        "the number of devices change no image."
    )
    batch_size: int = count(
        128, "Images per batch, rounded up to a multiple of the number of devices. Changes no image.", unit="images"
    )
    sampler: str = key(
        ANCESTRAL,
        "'ancestral' takes the generative model's own steps; 'flow' solves the probability-flow ODE, see ode.",
        part="sampler",
    )
    options: Options = dataclasses.field(default_factory=Options)
    label: int | None = key(
        None,
        "Class of the images, counted from 0, of a model with model.labels.",
        none="image i is of class i modulo the number of classes",
        limits=at_least(0),
    )
    output: str = key(
        ARGMAX,
        "How z_0 becomes pixels: 'argmax' takes the most probable value, 'softmax' draws from p(pixel | z_0).",
        choices=(ARGMAX, SOFTMAX),
    )

    @property
    def file_suffix(self) -> str:
        """End of file names that distinguishes samples of one sampler: '-seed0', '-softmax-label3-seed0'."""
        output = "" if self.output == ARGMAX else f"-{self.output}"
        return output + ("" if self.label is None else f"-label{self.label}") + f"-seed{self.seed}"


@dataclass(frozen=True)
class MeshConfig(Section, section="mesh"):
    """`mesh`: the layout of the devices."""

    fsdp: int = count(
        1,
        "Devices over which each copy of the training state is sharded; a divisor of their number.",
        unit="devices",
    )

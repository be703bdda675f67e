"""The experiments whose tables are in docs/results-*.md; `results.py` runs them."""

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import peers
import result_tables as tables

PEERS = "python benchmarks/peers.py --diffenc=DiffEnc --json=peers.jsonl"


class Step(NamedTuple):
    """A command, run in the common folder.

    Attributes:
      read: makes tables of its output and files, once it has ended.
      sources: files of text in the common folder that are kept with the tables, since they are not rounded.
    """

    command: str
    read: tables.Tables = lambda work, output: ()
    sources: Sequence[str] = ()


def compiled(kind: str, pair: peers.Pair, machine: str, flags: str, published: str = "") -> list[Step]:
    """Our step and the published one compiled for `machine`; `flags` tell the latter's script of it."""
    arm, published = pair.arm, published or f"published_{kind}-{pair.arm}.jsonl"
    command = f"diffenc compile-check --config=cifar10:{arm} --topology={machine}"
    theirs = f"python benchmarks/published_compiled.py --diffenc=DiffEnc --model={pair.model}{flags} --json={published}"
    types = "float32", "bfloat16"
    ours = [Step(f"{command} --config.model.dtype={dtype} --json={kind}-{arm}-{dtype}.json") for dtype in types]
    return [*ours, Step(theirs, partial(tables.on_a_device, kind, arm))]


def compiled_steps(name: str, out: str = "") -> list[Step]:
    """The table of this name by compiled_steps.py, whose results are in the folder `out`: 'tpu' or 'gpu' by default."""
    command = f"python benchmarks/compiled_steps.py --out={out or name.partition('-')[0]} --only={name}"
    return [Step(command, tables.printed)]


def study(name: str, run: str, flags: str = "") -> Step:
    """A study of a run, with the tables of its result."""
    return Step(f"diffenc {name} {run}{flags}", partial(tables.study, name, run))


def compression(run: str, images: int, batch: int, flags: str = "") -> Step:
    """Files of the images of a run beside those of picture formats."""
    command = f"python benchmarks/compression.py {run} --images={images} --config.loss.depth=50"
    return Step(f"{command} --batch-size={batch} {BEST}{flags}", tables.printed)


def quality(config: str, out: str, arms: Sequence[str], flags: str) -> Step:
    """Bits/dim and cost of arms of a configuration, which may have changes."""
    command = f"python benchmarks/time_to_quality.py --config={config} --out=quality/{Path(config).stem}-{out}{flags}"
    return Step(" ".join([command, *(f"--arm={shlex.quote(arm)}" for arm in arms)]), tables.printed)


def density(seeds: str, *names: str, flags: str = "") -> Step:
    """Densities of worlds and tables."""
    command = f"python benchmarks/densities.py --out=densities --seeds={seeds} --only={','.join(names)}{flags}"
    return Step(command, tables.printed)


def known_truth(name: str, flags: str, fit: str = "") -> dict[str, list[Step]]:
    """Arms on data with a known truth, and the parts of their regrets; examples/known_truth is to be installed."""
    (world, side), root = name.split("-"), f"runs/{name}"
    flags = f"{flags} --arms={TRUTH_ARMS} --config.data.source={world}:{side} --config.log.samples=0"
    arms = significance(f"{KNOWN_TRUTH}/{world}.py", root, flags)
    return {name: arms, f"{name}-parts": [Step(f"python benchmarks/regrets.py {root}{fit}", tables.printed)]}


def significance(config: str, root: str, flags: str, final: str = "", then: Sequence[Step] = ()) -> list[Step]:
    """Arms by seeds, with the tables of their summary; another evaluation by the flag `final`; and the steps `then`."""
    command, source = f"diffenc significance --config={config} --root={root} {flags}", [f"{root}/significance.json"]
    steps = [Step(command, partial(tables.summary_and_progress, root), source)]
    if final:
        steps.append(Step(f"{command} {final}", partial(tables.summary, root), source))
    return [*steps, *then]


def over_seeds(
    name: str, config: str, seeds: str, arms: str, passes: int, rest: str = " --parallel=2", **more: Any
) -> dict[str, list[Step]]:
    """`significance` of a configuration in the folder runs/NAME."""
    flags = f"--seeds={seeds} --arms={arms} --passes={passes}{rest}"
    return {name: significance(config, f"runs/{name}", flags, **more)}


KNOWN_TRUTH = "examples/known_truth/configs"
TRUTH_ARMS = "vdm-fast,diffenc-fast,nontrainable-fast,vdm-matched-fast,vdm-mulan-matched-fast,diffenc-affine-fast"
TRUTH_SEEDS = "--seeds=10-14 --passes=2"
# As many pixels as with 8x8, and fewer seeds.
LARGER_TRUTH = "--seeds=10-12 --passes=2 --config.train.batch_size=8 --config.eval.split=part", " --fit-images=16"
WITHOUT_ENCODER = " --models=vdm-fast,MAF,splines,BayesFlow"
FASHION = "--config.log.samples=0 --config.data.source=/usr/share/datasets/fashion-mnist"
# Seeds below 10 were used while the fast recipe was chosen; so were the images that --held-out takes from training.
FRESH, HELD_OUT = " --seeds=10-12", " --held-out=300"
FAST_ARMS = "vdm-fast,diffenc-fast,nontrainable-fast,vdm-params-fast,vdm-flops-fast"
RATES = [f"vdm-fast train.learning_rate={rate}" for rate in (0.014, 0.02, 0.028, 0.04, 0.056)]
BY_ADAMW = "vdm-fast train.optimizer.kind=adamw train.learning_rate"
ADAMW = [
    *(f"{BY_ADAMW}={rate}" for rate in (0.003, 0.006, 0.01, 0.015, 0.022)),
    *(f"{BY_ADAMW}=0.01 train.optimizer.{change}" for change in ("b1=0.8", "b1=0.95", "b2=0.95", "b2=0.999")),
    *(f"{BY_ADAMW}=0.01 train.warmup_steps={steps}" for steps in (50, 200)),
    *(f"{BY_ADAMW}=0.01 train.batch_size={size} train.steps={850 * 32 // size}" for size in (16, 64)),
    f"{BY_ADAMW}=0.01 model.score.dropout=0.1",
    f"{BY_ADAMW}=0.01 train.optimizer.weight_decay=0.1",
]
ADAMW_AGAIN = [
    *(f"{BY_ADAMW}={rate} train.optimizer.b1=0.8" for rate in (0.015, 0.022)),
    *(f"{BY_ADAMW}={rate} train.optimizer.b1=0.7" for rate in (0.01, 0.015)),
    *(f"{BY_ADAMW}={rate} train.optimizer.b1=0.8 train.batch_size=16 train.steps=1700" for rate in (0.01, 0.015)),
]
# Default recipe, fast recipe, and the latter with one change, or with the best of AdamW's settings.
LEVERS = [
    *("vdm", "vdm train.steps=500", "vdm-fast"),
    f"{BY_ADAMW}=0.01 train.optimizer.b1=0.8 train.batch_size=16 train.steps=1700",
    *(f"vdm-fast train.learning_rate_schedule=constant train.learning_rate={rate}" for rate in (0.005, 0.01)),
    *("vdm-fast train.learning_rate_schedule=cosine", "vdm-fast train.time_sampling=uniform"),
    *("vdm-fast train.ema_decay=0", "vdm-fast train.optimizer.momentum=0.95"),
    *("vdm-fast train.batch_size=64 train.steps=425", "vdm-fast model.score.dropout=0.1"),
]
BEST = "--config.loss.times=optimal --config.loss.variance_ratio=optimal_estimate"
ARMS = "vdm,diffenc,nontrainable,vdm-params,vdm-flops"
PROCESSES = "vdm-matched,vdm-polynomial-matched,vdm-mulan-matched,diffenc-matched,diffenc-image-matched,diffenc-affine"
FEW_STEPS = "vdm-T10,vdm-schedule-T10,diffenc-T10,diffenc-residual-T10,diffenc-dct-T10"
LONG = "--config.train.steps=16000 --config.eval.every_steps=4000"
VDM, DIFFENC, NOISY = "runs/digits/vdm-seed0", "runs/digits/diffenc-seed0", "runs/noise-end/diffenc-seed0"
EVAL = f"diffenc eval --config=digits:vdm --workdir={VDM}"
TRANSFORMER = "digits_variants:vdm-transformer"
REFERENCE = ("vdm", "nontrainable", "trainable", "trainable_learned_schedule", "multires")
SAVES = {
    "step before, s": ("step_seconds", 1),
    "call, s": ("save_seconds", 1),
    "step after, s": ("first_step_seconds", 1),
    "until complete, s": ("complete_seconds", 1),
    "step by that before": ("slower_share", 1),
    "memory by the share of a host": ("host_share", 1),
    "files": ("files", 1),
    "GB in files": ("files_bytes", 1e9),
}
SMALL, MIDDLE = "--width=256 --layers=3", "--width=512 --layers=6"
LARGE = tuple(f"--width=1024 --layers={layers}" for layers in (6, 10, 13))  # 4 to 8 GB
# Parts of compiled_steps.py.
COMPILED = (
    *("tpu-large", "tpu-largest", "tpu-batches", "tpu-scaling", "tpu-chips", "tpu-choices", "tpu-widths"),
    *("gpu", "gpu-large", "gpu-largest", "gpu-cards", "gpu-widths"),
)
PLACES = ("", " --bucket", " --hosts=2", " --hosts=2 --bucket")
# Steps that follow each other in the common folder, by the name of their result.
EXPERIMENTS = {
    **over_seeds("digits", "digits_matched", "0-4", ARMS, 64),
    **over_seeds("fashion", "fashion_mnist_small", "0-2", ARMS, 1, f" --parallel=2 {FASHION}"),
    **over_seeds("digits-fast", "digits_matched", "10-14", FAST_ARMS, 64),
    **over_seeds("fashion-fast", "fashion_mnist_small", "10-12", FAST_ARMS, 1, f" --parallel=2 {FASHION}"),
    **over_seeds("fashion-long", "fashion_mnist_small", "0", "vdm,diffenc", 1, f" --parallel=2 {LONG} {FASHION}"),
    **over_seeds("encoders", "digits_variants", "0-2", "diffenc,diffenc-transformer,diffenc-dct", 32),
    **over_seeds("processes", "digits_matched", "0-2", PROCESSES, 64),
    **over_seeds(
        "few-steps", "digits_variants", "0-2", FEW_STEPS, 32, final="--final=loss.variance_ratio=optimal_pixel"
    ),
    **over_seeds(
        *("noise-end", "digits_variants", "0-2", "vdm,diffenc-dct,diffenc", 32),
        rest=" --config.model.schedule.gamma_max=2 --parallel=2",
        then=[study("encoder-study", NOISY)],
    ),
    "swirl": [Step("diffenc train --config=synthetic --workdir=runs/swirl", tables.evaluations("runs/swirl", bound=2))],
    "depth": [study("depth-study", run, " --depths=5,10,20,50,100 --passes=32") for run in (VDM, DIFFENC)],
    "labels": [
        Step(f"diffenc train --config={TRANSFORMER} --config.model.labels=True --workdir=runs/labels"),
        *(
            study("classify", "runs/labels", f" --passes={passes}")  # examples/classify is to be installed
            for passes in (16, 128)
        ),
    ],
    "anomalies": [
        Step(f"diffenc train --config={TRANSFORMER} --workdir=runs/anomalies"),
        Step(
            "python benchmarks/anomalies.py runs/anomalies --others=/usr/share/datasets/fashion-mnist",
            tables.printed,
        ),
    ],
    "estimators": [
        *(
            Step(
                f"{EVAL} --config.eval.passes=2 --config.loss.depth=100 "
                f"--config.eval.estimator=importance_weighted --config.eval.num_draws={draws}"
            )
            for draws in (1, 4, 16)
        ),
        Step(
            f"{EVAL} --config.eval.passes=2 --config.eval.estimator=ode --config.ode.rtol=1e-3",
            tables.evaluations(VDM, bound=64, importance_weighted=2, ode=2),
        ),
    ],
    "encoder": [study("encoder-study", run) for run in (DIFFENC, "runs/digits/nontrainable-seed0")],
    "samples": [
        Step(f"diffenc sample --config=digits --workdir={DIFFENC} --config.sample.num=1000"),
        study("sample-quality", DIFFENC),
    ],
    "compression": [
        Step(f"{EVAL} --config.loss.depth=50 {BEST} --config.eval.passes=64"),
        Step(
            f"{EVAL} --config.loss.depth=50 {BEST} --config.eval.passes=8 --config.eval.estimator=code_length",
            tables.evaluations(VDM, depth=50, bound=64, code_length=8),
        ),
        compression(VDM, images=297, batch=4),
    ],
    "fashion-best": [
        Step(
            "diffenc train --config=fashion_mnist_small:vdm-long-fast --workdir=runs/fashion-best "
            "--config.model.score.width=64 --config.train.steps=24000 --config.eval.every_steps=8000 "
            f"{FASHION}",
            tables.evaluations("runs/fashion-best", bound=1),
        ),
        compression("runs/fashion-best", images=200, batch=8, flags=" --config.fit.bins=12"),
    ],
    "peers": [Step(PEERS, tables.beside_published, ["peers.jsonl"])],
    "tpu-searched": compiled_steps("searched", "tpu"),
    **{name: compiled_steps(name) for name in COMPILED},
    "gpu-jax-0.12": compiled_steps("gpu", "gpu-jax-0.12"),
    "published-tpu": compiled("tpu", peers.VDM, "v5e:1x1 --batch=32", "", "published_tpu.jsonl"),
    **{
        name: compiled("gpu", pair, "h100:1 --batch=128", " --topology=h100:1 --batch=128")
        for name, pair in (("published-gpu", peers.VDM), ("published-gpu-diffenc", peers.DIFFENC))
    },
    "hours": [Step("python benchmarks/hours.py --share=0.4", tables.printed)],
    "densities": [
        density("0", "gaussian-2", "gaussian-20", "mixture-2", "mixture-20", "banana-2", "posterior-10"),
        density("0", "gaussian-100", flags=" --models=vdm-fast,diffenc-fast,MAF,splines"),
    ],
    "densities-tables": [density("0-2", "wine", "diabetes", "breast_cancer", flags=WITHOUT_ENCODER)],
    "densities-fields": [
        density("0", "field-64", flags=WITHOUT_ENCODER),
        density("0", "field-8x8", flags=" --models=vdm-fast,MAF,splines"),
        density("0-2", "digits", flags=WITHOUT_ENCODER),
    ],
    "saves": [
        *(
            Step(f"python benchmarks/saves.py {flags} --json=saves.jsonl")
            for flags in (*(size + place for size in (SMALL, MIDDLE) for place in PLACES), *LARGE)
        ),
        Step(
            f"python benchmarks/saves.py {SMALL} --hosts=4 --json=saves.jsonl",
            tables.measured("saves.jsonl", "{state_gigabytes:.2f} GB, {place}, hosts: {hosts}", SAVES),
        ),
    ],
    "time-to-quality": [
        quality("digits", arm, [arm, f"{arm}-fast", f"{arm}-published"], FRESH) for arm in ("vdm", "diffenc")
    ],
    "time-to-quality-widths": [
        quality("digits", f"width-{width}", ["vdm", "vdm-fast"], f"{FRESH} --config.model.score.width={width}")
        for width in (16, 64, 128)
    ],
    **{
        name: [quality("fashion_mnist_small", arm, [arm, f"{arm}-fast"], f"{FRESH} {FASHION}") for arm in arms]
        for name, arms in {"time-to-quality-fashion": ["vdm", "diffenc"], "time-to-quality-long": ["vdm-long"]}.items()
    },
    **over_seeds(
        "fast-minutes", "digits", "10", "vdm,vdm-fast,diffenc,diffenc-fast", 8, " --config.eval.every_steps=100"
    ),
    "recipe-choices": [
        quality("digits", "adamw", ADAMW, f"{HELD_OUT} --seeds=0"),
        quality("digits", "adamw-again", ADAMW_AGAIN, f"{HELD_OUT} --seeds=0"),
    ],
    "recipe-levers": [quality("digits", "levers", LEVERS, f"{HELD_OUT} --seeds=0-2")],
    "recipe-rates": [
        quality(
            "digits",
            f"rates-{key}-{size}",
            RATES,
            f"{HELD_OUT} --seeds=0 --config.train.steps=300 --config.model.score.{key}={size}",
        )
        for key, sizes in (("width", (16, 32, 64, 128)), ("layers", (2, 8, 16)))
        for size in sizes
    ],
    **known_truth("ising-8", TRUTH_SEEDS),
    **known_truth("mesh-8", TRUTH_SEEDS),
    **known_truth("ising-16", *LARGER_TRUTH),
    **known_truth("mesh-16", *LARGER_TRUTH),
    "known-truth-flops": [
        quality(
            f"{KNOWN_TRUTH}/mesh.py",
            f"width-{width}",
            [f"{arm} train.steps={steps}" for arm in ("vdm-fast", "diffenc-fast") for steps in (250, 700, 1800)],
            f"{FRESH} --config.model.score.width={width}",
        )
        for width in (16, 32, 64)
    ],
    "importance": [
        Step("diffenc train --config=digits:vdm-fast --config.seed=10 --workdir=runs/importance"),
        *(
            Step(f"python benchmarks/importance.py runs/{run}", tables.printed)
            for run in ("importance", *(f"{world}-8/vdm-fast-seed10 --images=8" for world in ("ising", "mesh")))
        ),
    ],
    "parity": [Step("diffenc parity " + " ".join(f"reference/{name}.npz" for name in REFERENCE), tables.parity)],
}

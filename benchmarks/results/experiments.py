"""The commands of each result, which follow each other in a common folder; `python benchmarks/results` runs them."""

from shlex import quote

FASHION = "--config.log.samples=0 --config.data.source=/usr/share/datasets/fashion-mnist"
LONG = "--config.train.steps=16000 --config.eval.every_steps=4000"
ARMS = "vdm,diffenc,nontrainable,vdm-params,vdm-flops"
FAST_ARMS = "vdm-fast,diffenc-fast,nontrainable-fast,vdm-params-fast,vdm-flops-fast"
PROCESSES = "vdm-matched,vdm-polynomial-matched,vdm-mulan-matched,diffenc-matched,diffenc-image-matched,diffenc-affine"
FEW_STEPS = "vdm-T10,vdm-schedule-T10,diffenc-T10,diffenc-residual-T10,diffenc-dct-T10"
TRUTH_ARMS = "vdm-fast,diffenc-fast,nontrainable-fast,vdm-matched-fast,vdm-mulan-matched-fast,diffenc-affine-fast"
WORLDS = "examples/known_truth/configs"  # examples/known_truth is to be installed
# As many pixels as with 8x8, and fewer seeds.
SIDES = {8: "--seeds=10-14", 16: "--seeds=10-12 --config.train.batch_size=8 --config.eval.split=part"}
# Arms by seeds: configuration and flags.
BY_SEEDS = {
    "digits": f"digits_matched --seeds=0-4 --arms={ARMS} --passes=64 --parallel=2",
    "fashion": f"fashion_mnist_small --seeds=0-2 --arms={ARMS} --passes=1 --parallel=2 {FASHION}",
    "digits-fast": f"digits_matched --seeds=10-14 --arms={FAST_ARMS} --passes=64 --parallel=2",
    "fashion-fast": f"fashion_mnist_small --seeds=10-12 --arms={FAST_ARMS} --passes=1 --parallel=2 {FASHION}",
    "fashion-long": f"fashion_mnist_small --seeds=0 --arms=vdm,diffenc --passes=1 --parallel=2 {LONG} {FASHION}",
    "fast-minutes": "digits --seeds=10 --arms=vdm,vdm-fast,diffenc,diffenc-fast --passes=8 "
    "--config.eval.every_steps=100",
    "encoders": "digits_variants --seeds=0-2 --arms=diffenc,diffenc-transformer,diffenc-dct --passes=32 --parallel=2",
    "processes": f"digits_matched --seeds=0-2 --arms={PROCESSES} --passes=64 --parallel=2",
    "few-steps": f"digits_variants --seeds=0-2 --arms={FEW_STEPS} --passes=32 --parallel=2",
    "noise-end": "digits_variants --seeds=0-2 --arms=vdm,diffenc-dct,diffenc --passes=32 "
    "--config.model.schedule.gamma_max=2 --parallel=2",
    **{
        f"{world}-{side}": f"{WORLDS}/{world}.py {flags} --passes=2 --arms={TRUTH_ARMS} "
        f"--config.data.source={world}:{side} --config.log.samples=0"
        for side, flags in SIDES.items()
        for world in ("ising", "mesh")
    },
}
# Seeds below 10 were used while the fast recipe was chosen; so were the images that --held-out takes from training.
FRESH, HELD_OUT, THREE_HELD_OUT = "--seeds=10-12", "--held-out=300 --seeds=0", "--held-out=300 --seeds=0-2"
ADAMW = "vdm-fast train.optimizer.kind=adamw train.learning_rate"
SHORT = "train.batch_size=16 train.steps=1700"
ADAMW_ARMS = [
    *(f"{ADAMW}={rate}" for rate in (0.003, 0.006, 0.01, 0.015, 0.022)),
    *(f"{ADAMW}=0.01 train.optimizer.{change}" for change in ("b1=0.8", "b1=0.95", "b2=0.95", "b2=0.999")),
    *(f"{ADAMW}=0.01 train.warmup_steps={steps}" for steps in (50, 200)),
    *(f"{ADAMW}=0.01 {size}" for size in (SHORT, "train.batch_size=64 train.steps=425")),
    *(f"{ADAMW}=0.01 {change}" for change in ("model.score.dropout=0.1", "train.optimizer.weight_decay=0.1")),
]
ADAMW_AGAIN = [
    *(f"{ADAMW}={rate} train.optimizer.b1=0.8" for rate in (0.015, 0.022)),
    *(f"{ADAMW}={rate} train.optimizer.b1=0.7" for rate in (0.01, 0.015)),
    *(f"{ADAMW}={rate} train.optimizer.b1=0.8 {SHORT}" for rate in (0.01, 0.015)),
]
# Default recipe, fast recipe, and the latter with one change, or with the best of AdamW's settings.
LEVERS = [
    *("vdm", "vdm train.steps=500", "vdm-fast", f"{ADAMW}=0.01 train.optimizer.b1=0.8 {SHORT}"),
    *(f"vdm-fast train.learning_rate_schedule=constant train.learning_rate={rate}" for rate in (0.005, 0.01)),
    *("vdm-fast train.learning_rate_schedule=cosine", "vdm-fast train.time_sampling=uniform"),
    *("vdm-fast train.ema_decay=0", "vdm-fast train.optimizer.momentum=0.95"),
    *("vdm-fast train.batch_size=64 train.steps=425", "vdm-fast model.score.dropout=0.1"),
]
RATES = [f"vdm-fast train.learning_rate={rate}" for rate in (0.014, 0.02, 0.028, 0.04, 0.056)]
LENGTHS = [f"{arm} train.steps={steps}" for arm in ("vdm-fast", "diffenc-fast") for steps in (250, 700, 1800)]
NETWORKS = {"width": (16, 32, 64, 128), "layers": (2, 8, 16)}


def over_seeds(name: str) -> str:
    """Arms by seeds."""
    config, _, flags = BY_SEEDS[name].partition(" ")
    return f"diffenc significance --config={config} --root=runs/{name} {flags}"


def quality(config: str, out: str, arms: list[str], flags: str) -> str:
    """Bits/dim and cost of arms of a configuration, which may have changes."""
    chosen = " ".join(f"--arm={quote(arm)}" for arm in arms)
    return f"diffenc time-to-quality --config={config} --out=quality/{out} {flags} {chosen}"


def evaluated(run: str, copy: str, *settings: str) -> list[str]:
    """Evaluations of a copy of a run with several settings, side by side."""
    files = " ".join(f"runs/{copy}/eval/*-{kind}-*.json" for kind in KINDS[copy])
    copied = f"rm -rf runs/{copy} && cp -r {run} runs/{copy} && rm -r runs/{copy}/eval"
    evaluations = [f"diffenc eval runs/{copy} {setting}" for setting in settings]
    return [copied, *evaluations, f"diffenc compare --across-estimators {files}"]


def compression(run: str, images: int, batch: int, flags: str = "") -> str:
    """Files of the images of a run beside those of picture formats."""
    return f"python benchmarks/compression.py {run} --images={images} --batch-size={batch} {BEST}{flags}"


def compiled(kind: str, arm: str, model: str, machine: str) -> list[str]:
    """Our step and the published one, compiled for a machine."""
    check = f"diffenc compile-check --config=cifar10:{arm} --topology={machine} --config.model.dtype"
    ours = {dtype: f"{kind}-{arm}-{dtype}.json" for dtype in ("float32", "bfloat16")}
    theirs = f"python benchmarks/published_compiled.py --diffenc=DiffEnc --model=config_model_{model}.json"
    checks = [f"{check}={dtype} --json={file}" for dtype, file in ours.items()]
    flags = f"--topology={machine} " * (kind == "gpu")
    return [*checks, f"{theirs} {flags}--json={kind}-{arm}-published.jsonl --ours={','.join(ours.values())}"]


VDM, DIFFENC = "runs/digits/vdm-seed0", "runs/digits/diffenc-seed0"
TRANSFORMER = "diffenc train --config=digits_variants:vdm-transformer --workdir"
BEST = "--config.loss.depth=50 --config.loss.times=optimal --config.loss.variance_ratio=optimal_estimate"
DRAWS = "--config.eval.passes=2 --config.loss.depth=100 --config.eval.estimator=importance_weighted"
KINDS = {"estimators": ("continuous", "importance_weighted", "ode"), "compression": ("discrete", "code_length")}
PUBLISHED = {
    "published-tpu": ("tpu", "vdm-8", "VDM2_V_fixed_-13_3_5_0_unet_8_simple", "v5e:1x1 --batch=32"),
    "published-gpu": ("gpu", "vdm-8", "VDM2_V_fixed_-13_3_5_0_unet_8_simple", "h100:1 --batch=128"),
    "published-gpu-diffenc": ("gpu", "diffenc-8-2", "S3VA_fixed_-13_3_5_0_unet_8_unet_2_m1_to_1", "h100:1 --batch=128"),
}
# Parts of compiled_steps.py by their folder.
COMPILED = {
    "tpu": (
        "searched",
        *(f"tpu-{part}" for part in ("large", "largest", "batches", "scaling", "chips", "choices", "widths")),
    ),
    "gpu": ("gpu", "gpu-large", "gpu-largest", "gpu-cards", "gpu-widths"),
}
DENSITIES, WITHOUT_ENCODER = "diffenc densities --out=densities --seeds", "--models=vdm-fast,MAF,splines,BayesFlow"
PLACES = ("", " --bucket", " --hosts=2", " --hosts=2 --bucket")
SAVES = [f"{size}{place}" for size in ("--width=256 --layers=3", "--width=512 --layers=6") for place in PLACES]
LARGE = [f"--width=1024 --layers={layers}" for layers in (6, 10, 13)]  # 4 to 8 GB
MORE_HOSTS = "--width=256 --layers=3 --hosts=4"
REFERENCE = ("vdm", "nontrainable", "trainable", "trainable_learned_schedule", "multires")

EXPERIMENTS: dict[str, list[str]] = {
    **{name: [over_seeds(name)] for name in BY_SEEDS},
    "few-steps": [f"{over_seeds('few-steps')}{final}" for final in ("", " --final=loss.variance_ratio=optimal_pixel")],
    "noise-end": [over_seeds("noise-end"), "diffenc encoder-study runs/noise-end/diffenc-seed0"],
    "swirl": ["diffenc train --config=synthetic --workdir=runs/swirl", "diffenc compare runs/swirl"],
    "depth": [f"diffenc depth-study {run} --depths=5,10,20,50,100 --passes=32" for run in (VDM, DIFFENC)],
    "encoder": [f"diffenc encoder-study {run}" for run in (DIFFENC, "runs/digits/nontrainable-seed0")],
    "samples": [f"diffenc sample {DIFFENC} --config.sample.num=1000", f"diffenc sample-quality {DIFFENC}"],
    "labels": [
        f"{TRANSFORMER}=runs/labels --config.model.labels=True",
        *(f"diffenc classify runs/labels --passes={passes}" for passes in (16, 128)),  # of examples/classify
    ],
    "anomalies": [
        f"{TRANSFORMER}=runs/anomalies",
        "diffenc anomalies runs/anomalies --others=/usr/share/datasets/fashion-mnist",
    ],
    "estimators": evaluated(
        *(VDM, "estimators", "--config.eval.passes=64"),
        *(f"{DRAWS} --config.eval.num_draws={draws}" for draws in (1, 4, 16)),
        "--config.eval.passes=2 --config.eval.estimator=ode --config.ode.rtol=1e-3",
    ),
    "compression": [
        *evaluated(
            *(VDM, "compression", f"{BEST} --config.eval.passes=64"),
            f"{BEST} --config.eval.passes=8 --config.eval.estimator=code_length",
        ),
        compression(VDM, images=297, batch=4),
    ],
    "fashion-best": [
        "diffenc train --config=fashion_mnist_small:vdm-long-fast --workdir=runs/fashion-best "
        f"--config.model.score.width=64 --config.train.steps=24000 --config.eval.every_steps=8000 {FASHION}",
        "diffenc compare runs/fashion-best",
        compression("runs/fashion-best", images=200, batch=8, flags=" --config.fit.bins=12"),
    ],
    "peers": ["python benchmarks/peers.py --diffenc=DiffEnc --json=peers.jsonl"],
    **{name: compiled(*pair) for name, pair in PUBLISHED.items()},
    **{
        part.replace("searched", "tpu-searched"): [f"python benchmarks/compiled_steps.py --out={out} --only={part}"]
        for out, parts in COMPILED.items()
        for part in parts
    },
    "gpu-jax-0.12": ["python benchmarks/compiled_steps.py --out=gpu-jax-0.12 --only=gpu"],
    "hours": ["python benchmarks/hours.py --share=0.4"],
    "saves": [f"python benchmarks/saves.py {flags} --json=saves.jsonl" for flags in (*SAVES, *LARGE, MORE_HOSTS)]
    + ["python benchmarks/saves.py --table=saves.jsonl"],
    "densities": [
        f"{DENSITIES}=0 --only=gaussian-2,gaussian-20,mixture-2,mixture-20,banana-2,posterior-10",
        f"{DENSITIES}=0 --only=gaussian-100 --models=vdm-fast,diffenc-fast,MAF,splines",
    ],
    "densities-tables": [f"{DENSITIES}=0-2 --only=wine,diabetes,breast_cancer {WITHOUT_ENCODER}"],
    "densities-fields": [
        f"{DENSITIES}=0 --only=field-64 {WITHOUT_ENCODER}",
        f"{DENSITIES}=0 --only=field-8x8 --models=vdm-fast,MAF,splines",
        f"{DENSITIES}=0-2 --only=digits {WITHOUT_ENCODER}",
    ],
    "time-to-quality": [
        quality("digits", f"digits-{arm}", [arm, f"{arm}-fast", f"{arm}-published"], FRESH)
        for arm in ("vdm", "diffenc")
    ],
    "time-to-quality-widths": [
        quality("digits", f"digits-width-{width}", ["vdm", "vdm-fast"], f"{FRESH} --config.model.score.width={width}")
        for width in (16, 64, 128)
    ],
    **{
        f"time-to-quality-{name}": [
            quality("fashion_mnist_small", f"fashion-{arm}", [arm, f"{arm}-fast"], f"{FRESH} {FASHION}") for arm in arms
        ]
        for name, arms in {"fashion": ["vdm", "diffenc"], "long": ["vdm-long"]}.items()
    },
    "recipe-choices": [
        quality("digits", "digits-adamw", ADAMW_ARMS, HELD_OUT),
        quality("digits", "digits-adamw-again", ADAMW_AGAIN, HELD_OUT),
    ],
    "recipe-levers": [quality("digits", "digits-levers", LEVERS, THREE_HELD_OUT)],
    "recipe-rates": [
        quality(
            *("digits", f"digits-rates-{key}-{size}", RATES),
            f"{HELD_OUT} --config.train.steps=300 --config.model.score.{key}={size}",
        )
        for key, sizes in NETWORKS.items()
        for size in sizes
    ],
    "known-truth-flops": [
        quality(f"{WORLDS}/mesh.py", f"mesh-width-{width}", LENGTHS, f"{FRESH} --config.model.score.width={width}")
        for width in (16, 32, 64)
    ],
    **{
        f"{world}-{side}-parts": [f"diffenc regrets runs/{world}-{side}{' --fit-images=16' * (side == 16)}"]
        for side in SIDES
        for world in ("ising", "mesh")
    },
    "importance": [
        "diffenc train --config=digits:vdm-fast --config.seed=10 --workdir=runs/importance",
        "diffenc draws-study runs/importance",
        *(f"diffenc draws-study runs/{world}-8/vdm-fast-seed10 --images=8" for world in ("ising", "mesh")),
    ],
    "parity": [f"diffenc parity {' '.join(f'reference/{name}.npz' for name in REFERENCE)}"],
}

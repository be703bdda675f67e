"""What `main` can do with a configuration and a workdir: train, eval, sample."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from diffenc_jax import workdir as workdirs
from diffenc_jax.calibrate import FIT_SPLIT, steps_for
from diffenc_jax.config import check_sections, require, unpack
from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd
from diffenc_jax.data.dataset import Dataset, load
from diffenc_jax.diffusion.losses import Terms
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.evaluate import EvalConfig, Evaluator, format_record
from diffenc_jax.model import ImageSpec, LossConfig, Model, Params, build
from diffenc_jax.sample import SampleConfig, sample, write
from diffenc_jax.streams import stream
from diffenc_jax.train import sharding
from diffenc_jax.train.checkpoint import Checkpoints, abstract_like
from diffenc_jax.train.loop import Trainer


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains to the last step, evaluates, samples, and shows what came of it."""
    start = time.perf_counter()
    console = Console()
    check_sections(config)
    workdirs.check(workdir, config, must_exist=False)
    _check_trainable(workdir)
    sampling = SampleConfig.of(config)
    mesh = sharding.make_mesh(config.mesh.fsdp)
    dataset = load(config, *dict.fromkeys(("train", config.eval.split)))
    model = _build(config, dataset)
    state, record = Trainer(model, config, dataset, mesh, workdir).run(console)
    steps = _sampling_steps(model, state.ema, config, dataset, mesh)
    picture = _sample(model, state.ema, steps, record["step"], sampling, workdir)
    _show(console, record, dataset, picture, time.perf_counter() - start)


def evaluate(config: ConfigDict, workdir: Path) -> None:
    """Evaluates the newest checkpoint's EMA parameters on the whole of `config.eval.split`."""
    console = Console()
    step, mesh = _open(config, workdir)
    EvalConfig.of(config, mesh)
    dataset = _load(config)
    model = _build(config, dataset)
    evaluator = Evaluator(model, config, dataset, mesh)
    params = _read_ema(model, workdir, step, mesh)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"evaluating step {step}", total=evaluator.batches)
        record = evaluator.record(params, step, workdir, on_batch=lambda: progress.advance(task))
    console.print(f"step {step}: {record['dataset']['split']} {format_record(record)}", highlight=False)
    console.print(_by_term(record), highlight=False)


def draw(config: ConfigDict, workdir: Path) -> None:
    """Draws a grid of samples from the newest checkpoint's EMA parameters."""
    step, mesh = _open(config, workdir)
    sampling = SampleConfig.of(config)
    dataset = _load(config)
    model = _build(config, dataset)
    params = _read_ema(model, workdir, step, mesh)
    steps = _sampling_steps(model, params, config, dataset, mesh)
    picture = _sample(model, params, steps, step, sampling, workdir)
    Console().print(f"step {step}: {sampling.num} samples in {picture}", highlight=False, soft_wrap=True)


MODES = {"train": train, "eval": evaluate, "sample": draw}


def _check_trainable(workdir: Path) -> None:
    """Raises InputError if what `workdir` holds can be evaluated and sampled from, but not trained on."""
    with Checkpoints(workdir) as checkpoints:
        step = checkpoints.latest_step()
        require(
            step is None or not checkpoints.holds_ema_alone(step),
            f"{workdir} holds averaged parameters only, no optimizer state, so training cannot go on from them; "
            "give another --workdir",
        )


def _open(config: ConfigDict, workdir: Path) -> tuple[int, Mesh]:
    """The newest step of a trained workdir, and the mesh to read it onto."""
    check_sections(config)
    workdirs.check(workdir, config, must_exist=True)
    with Checkpoints(workdir) as checkpoints:
        step = checkpoints.latest_step()
    require(step is not None, f"{workdir} holds no checkpoint yet; train it first")
    return step, sharding.make_mesh(config.mesh.fsdp)


def _load(config: ConfigDict) -> Dataset:
    """The split to evaluate on, and the one to fit on where something is to be fitted."""
    fitted = unpack(LossConfig, config.loss, "loss").fitted
    return load(config, *dict.fromkeys((config.eval.split, FIT_SPLIT) if fitted else (config.eval.split,)))


def _build(config: ConfigDict, dataset: Dataset) -> Model:
    return build(config, ImageSpec(dataset.shape, dataset.levels))


def _read_ema(model: Model, workdir: Path, step: int, mesh: Mesh) -> Params:
    shapes = jax.eval_shape(model.init, stream(0, "params"))
    with Checkpoints(workdir) as checkpoints:
        return checkpoints.restore_ema(step, abstract_like(shapes, sharding.of_state(mesh, shapes)))


def _sampling_steps(model: Model, params: Params, config: ConfigDict, dataset: Dataset, mesh: Mesh) -> Steps:
    loss = dataclasses.replace(model.loss, depth=config.sample.depth)
    return steps_for(loss, model, params, config, dataset, mesh)


def _sample(model: Model, params: Params, steps: Steps, step: int, settings: SampleConfig, workdir: Path) -> Path:
    images = sample(model, params, steps, settings)
    name = f"{step}-depth{settings.depth}-seed{settings.seed}.png"
    return write(images, model.spec.levels, workdir / "samples" / name)


def _by_term(record: dict[str, Any]) -> str:
    return ", ".join(f"{name} {record['bpd'][name]:.4f}" for name in Terms._fields)


def _show(console: Console, record: dict[str, Any], dataset: Dataset, picture: Path, seconds: float) -> None:
    """The closing table of a training run."""
    split, levels = record["dataset"]["split"], dataset.levels
    table = Table(title=f"{dataset.name}, {record['arm']}, step {record['step']}", title_justify="left")
    table.add_column(f"{split}, bits/dim")
    table.add_column("", justify="right")
    for name in Terms._fields:
        table.add_row(f"  {name}", f"{record['bpd'][name]:.4f}")
    table.add_row("total", format_record(record).removesuffix(" bits/dim"), style="bold", end_section=True)
    histogram = histogram_bpd(dataset.splits["train"], dataset.splits[split], levels)
    table.add_row("per-pixel histogram", f"{histogram:.4f}")
    table.add_row(f"uniform, log2 {levels}", f"{uniform_bpd(levels):.4f}")
    console.print(table)
    console.print(f"parameters: {record['params']:,}", highlight=False)
    console.print(f"time: {seconds:.0f} s", highlight=False)
    console.print(f"samples: {picture}", highlight=False, soft_wrap=True)

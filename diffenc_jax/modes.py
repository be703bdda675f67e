"""What `main` can do with a configuration and a workdir: train, eval, sample."""

import dataclasses
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from diffenc_jax import hosts
from diffenc_jax import workdir as workdirs
from diffenc_jax.calibrate import steps_for
from diffenc_jax.config import check_sections, require, unpack
from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd
from diffenc_jax.data.dataset import Dataset, load
from diffenc_jax.errors import Interrupted
from diffenc_jax.estimators import needs_training_images
from diffenc_jax.estimators.base import Estimator
from diffenc_jax.evaluate import Evaluator
from diffenc_jax.model import ImageSpec, LossConfig, Model, Params, build
from diffenc_jax.records import format_record, format_terms
from diffenc_jax.sample import SampleConfig, sample, write
from diffenc_jax.train import sharding
from diffenc_jax.train.batches import needed
from diffenc_jax.train.checkpoint import Checkpoints
from diffenc_jax.train.joint_shutdown import shutdown_of_run
from diffenc_jax.train.loop import Trainer
from diffenc_jax.trained import Trained, open_trained


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains to the last step, evaluates, samples, and shows what came of it."""
    start = time.perf_counter()
    check_sections(config)
    workdirs.check(workdir, config, must_exist=False)
    _check_trainable(workdir)
    SampleConfig.of(config)  # refused now, not after training
    mesh = sharding.make_mesh(config.mesh.fsdp)
    dataset = load(config, *dict.fromkeys(("train", config.eval.split)), part=needed(config, mesh))
    model = build(config, ImageSpec(dataset.shape, dataset.levels))
    model.check_depth("sample.depth", config.sample.depth)
    console = _console()
    state, record = Trainer(model, config, dataset, mesh, workdir).run(console)
    picture = _sample(model, state.ema, record["step"], config, dataset, mesh, workdir)
    _show(console, record, dataset, picture, time.perf_counter() - start)


def evaluate(config: ConfigDict, workdir: Path) -> None:
    """Evaluates checkpoints' EMA parameters on the whole of `config.eval.split`, as `config.eval` says."""
    run = open_trained(config, workdir, fitting=needs_training_images(config))
    console = _console()
    evaluator = Evaluator(run.model, config, run.dataset, run.mesh)
    steps = evaluator.settings.chosen(run.steps)
    missing = sorted(set(steps) - set(run.steps))
    require(not missing, f"{workdir} holds no checkpoint of the steps {missing}; it has those of {run.steps}")
    for chosen in map(run.at, steps):
        record = _evaluate(evaluator, chosen, console)
        _show_record(console, record, evaluator.estimator)


def draw(config: ConfigDict, workdir: Path) -> None:
    """Draws a grid of samples from the newest checkpoint's EMA parameters."""
    sampling = SampleConfig.of(config)
    run = open_trained(config, workdir, fitting=_loss(config).fitted)
    run.model.check_depth("sample.depth", sampling.depth)
    picture = _sample(run.model, run.params, run.step, config, run.dataset, run.mesh, workdir)
    _console().print(f"step {run.step}: {sampling.num} samples in {picture}", highlight=False, soft_wrap=True)


MODES = {"train": train, "eval": evaluate, "sample": draw}


def _console() -> Console:
    """The first host's terminal."""
    return Console(quiet=not hosts.is_first())


def _loss(config: ConfigDict) -> LossConfig:
    return unpack(LossConfig, config.loss, "loss")


def _check_trainable(workdir: Path) -> None:
    """Raises InputError if what `workdir` holds can be evaluated and sampled from, but not trained on."""
    with Checkpoints(workdir) as checkpoints:
        step = checkpoints.latest_step()
        require(
            step is None or not checkpoints.holds_ema_alone(step),
            f"{workdir} holds averaged parameters only, no optimizer state, so training cannot go on from them; "
            "give another --workdir",
        )


def _sample(
    model: Model, params: Params, step: int, config: ConfigDict, dataset: Dataset, mesh: Mesh, workdir: Path
) -> Path:
    """The picture of samples that `config.sample` asks for."""
    settings = SampleConfig.of(config)
    loss = dataclasses.replace(model.loss, depth=settings.depth)
    images = sample(model, params, steps_for(loss, model, params, config, dataset, mesh), settings)
    picture = workdir / "samples" / f"{step}-{loss.name}-seed{settings.seed}.png"
    if hosts.is_first():
        write(images, model.spec.levels, picture)
    return picture


def _evaluate(evaluator: Evaluator, run: Trained, console: Console) -> dict[str, Any]:
    """The record of `run`; raises Interrupted at a signal, with what is done so far saved."""
    with (
        shutdown_of_run() as shutdown,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task(f"evaluating step {run.step}", total=evaluator.batches())

        def on_batch():
            progress.advance(task)
            shutdown.check()

        try:
            return evaluator.record(run.params, run.step, run.workdir, on_batch=on_batch)
        except Interrupted:
            console.print("stopped by a signal; the same command goes on from here", highlight=False)
            raise


def _show_record(console: Console, record: dict[str, Any], estimator: Estimator) -> None:
    """Prints bits/dim in all and by term, and what the estimator remarks on."""
    say = partial(console.print, highlight=False, soft_wrap=True)
    say(f"step {record['step']}: {record['dataset']['split']} {format_record(record)}")
    for name, value in format_terms(record):
        say(f"  {name} {value}")
    for key, phrase in estimator.phrases.items():
        if key in record:
            say(f"  {phrase.format(record[key])}")


def _show(console: Console, record: dict[str, Any], dataset: Dataset, picture: Path, seconds: float) -> None:
    """The closing table of a training run."""
    split, levels = record["dataset"]["split"], dataset.levels
    table = Table(title=f"{dataset.name}, {record['arm']}, step {record['step']}", title_justify="left")
    table.add_column(f"{split}, bits/dim")
    table.add_column("", justify="right")
    for name, value in format_terms(record):
        table.add_row(f"  {name}", value)
    table.add_row("total", format_record(record).removesuffix(" bits/dim"), style="bold", end_section=True)
    train, test = dataset.splits["train"], dataset.splits[split]
    if isinstance(train, np.ndarray):  # not where other hosts hold a part
        table.add_row("per-pixel histogram", f"{histogram_bpd(train, test, levels):.4f}")
    table.add_row(f"uniform, log2 {levels}", f"{uniform_bpd(levels):.4f}")
    console.print(table)
    console.print(f"parameters: {record['params']:,}", highlight=False)
    console.print(f"time: {seconds:.0f} s", highlight=False)
    console.print(f"samples: {picture}", highlight=False, soft_wrap=True)

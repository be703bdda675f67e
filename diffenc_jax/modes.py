"""What `main` can do with a configuration and a workdir: train, eval, sample."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from diffenc_jax import hosts
from diffenc_jax import workdir as workdirs
from diffenc_jax.config import check_sections, require, unpack
from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd
from diffenc_jax.data.dataset import Dataset, load
from diffenc_jax.errors import Interrupted
from diffenc_jax.estimators import needs_training_images
from diffenc_jax.estimators.base import Estimator
from diffenc_jax.evaluate import Evaluator
from diffenc_jax.model import ImageSpec, LossConfig, Params, build
from diffenc_jax.records import format_record, format_terms
from diffenc_jax.sampling.config import ANCESTRAL, SampleConfig
from diffenc_jax.sampling.files import Sampling
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
    sampling = Sampling(model, config, dataset, mesh)
    console = _console()
    state, record = Trainer(model, config, dataset, mesh, workdir).run(console)
    files = _sample(sampling, state.ema, record["step"], workdir, console)
    _show(console, record, dataset, time.perf_counter() - start)
    _show_files(console, files)


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
    """Draws samples from the newest checkpoint's EMA parameters, as `config.sample` says."""
    settings = SampleConfig.of(config)
    run = open_trained(config, workdir, fitting=settings.sampler == ANCESTRAL and _loss(config).fitted)
    sampling = Sampling(run.model, config, run.dataset, run.mesh)
    console = _console()
    files = _sample(sampling, run.params, run.step, workdir, console)
    console.print(f"step {run.step}: {settings.num} samples", highlight=False)
    _show_files(console, files)


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


@contextmanager
def _watched(console: Console, text: str, total: float) -> Iterator[Callable[[float], None]]:
    """What is told of each part of some work; it moves a bar on a terminal, and raises Interrupted after a signal.

    Args:
      console: where the bar is, and where an interruption is said.
      text: what is done.
      total: what the parts add up to.
    """
    with (
        shutdown_of_run() as shutdown,
        Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task(text, total=total)

        def on_part(part):
            progress.advance(task, part)
            shutdown.check()

        try:
            yield on_part
        except Interrupted:
            console.print("stopped by a signal; the same command goes on from here", highlight=False)
            raise


def _sample(sampling: Sampling, params: Params, step: int, workdir: Path, console: Console) -> dict[str, Path]:
    """The files of samples by what they are; raises Interrupted at a signal, with the images so far saved."""
    with _watched(console, f"sampling step {step}", sampling.work()) as on_part:
        return sampling.write(params, step, workdir, on_part)


def _evaluate(evaluator: Evaluator, run: Trained, console: Console) -> dict[str, Any]:
    """The record of `run`; raises Interrupted at a signal, with what is done so far saved."""
    with _watched(console, f"evaluating step {run.step}", evaluator.batches()) as on_part:
        return evaluator.record(run.params, run.step, run.workdir, on_batch=partial(on_part, 1))


def _show_record(console: Console, record: dict[str, Any], estimator: Estimator) -> None:
    """Prints bits/dim in all and by term, and what the estimator remarks on."""
    say = partial(console.print, highlight=False, soft_wrap=True)
    say(f"step {record['step']}: {record['dataset']['split']} {format_record(record)}")
    for name, value in format_terms(record):
        say(f"  {name} {value}")
    for key, phrase in estimator.phrases.items():
        if key in record:
            say(f"  {phrase.format(record[key])}")


def _show(console: Console, record: dict[str, Any], dataset: Dataset, seconds: float) -> None:
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


def _show_files(console: Console, files: dict[str, Path]) -> None:
    """Prints a line for each."""
    for name, path in files.items():
        console.print(f"{name}: {path}", highlight=False, soft_wrap=True)

"""Training of a grid's missing runs, each in its own process, and measurement of the costs of a training step."""

from pathlib import Path

from rich.console import Console

from diffenc_jax.lab.studies.significance.devices import shares
from diffenc_jax.lab.studies.significance.finished import matching_record, read_costs
from diffenc_jax.lab.studies.significance.grid import Grid, workdir_of
from diffenc_jax.lab.studies.significance.processes import Job, run_jobs
from diffenc_jax.lab.studies.significance.progress import JobsProgress


def make_missing(grid: Grid, root: Path, parallel: int, console: Console) -> list[str]:
    """Train and evaluate the missing runs, `parallel` at a time, then measure the costs that are unknown.

    Several machines may do so at once with the same root: each run is made by one of them. What remains of a run whose
    machine is gone is made by another.

    Returns:
      A line per failure.

    Raises:
      InputError: a process refuses its input.
      Interrupted: a signal came; all processes have saved and ended.
    """
    runs = [_run_job(grid, root, arm, seed) for arm, seed in missing_runs(grid, root)]
    with JobsProgress(console, len(runs)) as progress:
        progress.print_line(f"{len(runs)} of {len(grid.arms) * len(grid.seeds)} runs to be made")
        failures = run_jobs(runs, shares(parallel), progress.print_line, progress.show)
    # Steps are timed without other processes on the machine.
    costs = [job for job in (_cost_job(grid, root, arm) for arm in grid.measured_arms) if not job.is_done()]
    with JobsProgress(console, len(costs)) as progress:
        return failures + run_jobs(costs, shares(1), progress.print_line, progress.show)


def missing_runs(grid: Grid, root: Path) -> list[tuple[str, int]]:
    """(arm, seed) of each run that is not finished."""
    return [(arm, seed) for arm, seed in grid.runs() if not _run_job(grid, root, arm, seed).is_done()]


def _run_job(grid: Grid, root: Path, arm: str, seed: int) -> Job:
    workdir, config = workdir_of(root, arm, seed), grid.run_config(arm, seed)
    final = grid.final_config(config)
    return Job(
        f"{arm}, seed {seed}",
        grid.run_commands(root, arm, seed),
        root / "logs" / f"{arm}-seed{seed}.log",
        workdir,
        config.train.steps,
        is_done=lambda: matching_record(workdir, config, final) is not None,
    )


def _cost_job(grid: Grid, root: Path, arm: str) -> Job:
    return Job(
        f"{arm}, cost of a step",
        [grid.cost_command(root, arm)],
        root / "logs" / f"{arm}-cost.log",
        is_done=lambda: arm in read_costs(root, [arm]),
    )

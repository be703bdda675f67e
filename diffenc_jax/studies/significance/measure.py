"""Training of a grid's missing runs, each in its own process, and measurement of the costs of a training step."""

from pathlib import Path

from rich.console import Console

from diffenc_jax.studies.significance.devices import shares
from diffenc_jax.studies.significance.finished import matching_record, read_costs
from diffenc_jax.studies.significance.grid import Grid, workdir_of
from diffenc_jax.studies.significance.processes import Job, run_jobs
from diffenc_jax.studies.significance.progress import JobsProgress


def make_missing(grid: Grid, root: Path, parallel: int, console: Console) -> list[str]:
    """Train and evaluate the missing runs, `parallel` at a time, then measure the arms whose costs are unknown.

    Returns:
      A line per failure.

    Raises:
      InputError: a process refuses its input.
      Interrupted: a signal came; all processes have saved and ended.
    """
    logs, runs = root / "logs", []
    for arm, seed in grid.runs():
        workdir, config = workdir_of(root, arm, seed), grid.final_config(arm, seed)
        if not matching_record(workdir, config):
            commands, log = grid.run_commands(root, arm, seed), logs / f"{arm}-seed{seed}.log"
            runs.append(Job(f"{arm}, seed {seed}", commands, log, workdir, config.train.steps))
    known = read_costs(root, grid.arms)
    costs = [
        Job(f"{arm}, cost of a step", [grid.cost_command(root, arm)], logs / f"{arm}-cost.log")
        for arm in grid.arms
        if arm not in known
    ]
    with JobsProgress(console, len(runs)) as progress:
        progress.print_line(f"{len(runs)} of {len(grid.arms) * len(grid.seeds)} runs to be made")
        failures = run_jobs(runs, shares(parallel), progress.print_line, progress.show)
    # Steps are timed without other processes on the machine.
    with JobsProgress(console, len(costs)) as progress:
        return failures + run_jobs(costs, shares(1), progress.print_line, progress.show)

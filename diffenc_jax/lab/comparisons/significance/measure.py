"""Training of a grid's missing runs, each in its own process, and measurement of the costs of a training step."""

from collections.abc import Callable
from pathlib import Path

from diffenc_jax.lab.comparisons.significance.devices import shares
from diffenc_jax.lab.comparisons.significance.finished import final_record, read_costs
from diffenc_jax.lab.comparisons.significance.grid import Grid, workdir_of
from diffenc_jax.lab.comparisons.significance.processes import Job, run_jobs


def make_missing(grid: Grid, root: Path, parallel: int, say: Callable[[str], None]) -> list[str]:
    """Train and evaluate the missing runs, `parallel` at a time, then measure the costs that are unknown.

    Several machines may do so at once with the same root: each run is made by one of them. What remains of a run whose
    machine is gone is made by another.

    Args:
      say: prints one line of progress.

    Returns:
      A line per failure.

    Raises:
      InputError: a process refuses its input.
      Interrupted: a signal came; all processes have saved and ended.
    """
    runs = [_run_job(grid, root, arm, seed) for arm, seed in grid.runs()]
    missing = [job for job in runs if not job.is_done()]
    say(f"{len(missing)} of {len(runs)} runs to be made")
    failures = run_jobs(missing, shares(parallel), say)
    # Steps are timed without other processes on the machine.
    costs = [_cost_job(grid, root, arm) for arm in grid.trained if arm not in read_costs(root, grid.trained)]
    return failures + run_jobs(costs, shares(1), say)


def _run_job(grid: Grid, root: Path, arm: str, seed: int) -> Job:
    workdir, config = workdir_of(root, arm, seed), grid.run_config(arm, seed)
    log, is_done = root / "logs" / f"{arm}-seed{seed}.log", lambda: final_record(grid, workdir, config) is not None
    return Job(f"{arm}, seed {seed}", grid.run_commands(root, arm, seed), log, is_done)


def _cost_job(grid: Grid, root: Path, arm: str) -> Job:
    log, is_done = root / "logs" / f"{arm}-cost.log", lambda: arm in read_costs(root, [arm])
    return Job(f"{arm}, cost of a step", [grid.cost_command(root, arm)], log, is_done)

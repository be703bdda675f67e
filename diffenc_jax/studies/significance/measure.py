"""Training of a grid's missing runs, each in its own process, and measurement of the costs of a training step."""

from collections.abc import Callable
from pathlib import Path

from diffenc_jax.studies.significance.devices import shares
from diffenc_jax.studies.significance.finished import matching_record, read_costs
from diffenc_jax.studies.significance.grid import Grid, workdir_of
from diffenc_jax.studies.significance.processes import Job, run_jobs


def make_missing(grid: Grid, root: Path, parallel: int, say: Callable[[str], None]) -> list[str]:
    """Train and evaluate the missing runs, `parallel` at a time, then measure the arms whose costs are unknown.

    Returns:
      A line per failure.

    Raises:
      InputError: a process refuses its input.
      Interrupted: a signal came; all processes have saved and ended.
    """
    logs = root / "logs"
    runs = [
        Job(f"{arm}, seed {seed}", grid.run_commands(root, arm, seed), logs / f"{arm}-seed{seed}.log")
        for arm, seed in grid.runs()
        if not matching_record(workdir_of(root, arm, seed), grid.final_config(arm, seed))
    ]
    known = read_costs(root, grid.arms)
    costs = [
        Job(f"{arm}, cost of a step", [grid.cost_command(root, arm)], logs / f"{arm}-cost.log")
        for arm in grid.arms
        if arm not in known
    ]
    say(f"{len(runs)} of {len(grid.arms) * len(grid.seeds)} runs to be made")
    # Steps are timed without other processes on the machine.
    return run_jobs(runs, shares(parallel), say) + run_jobs(costs, shares(1), say)

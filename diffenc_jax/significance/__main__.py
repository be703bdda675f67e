"""Significance over seeds: trains what is missing of arms x seeds, and says what the differences are worth.

python -m diffenc_jax.significance --config=configs/digits.py --arms=vdm,nontrainable,diffenc --seeds=0-4 --root=DIR
    [--reference=ARM] [--passes=N] [--difference=0.01] [--parallel=N] [--plan] [--config.key=value ...]
python -m diffenc_jax.significance report --root=DIR [--reference=ARM] [--difference=0.01]

Every run is a process and a workdir of its own (DIR/<arm>-seed<seed>), goes on where it was stopped, and is evaluated
under the noise of its seed, in common with the other arms of that seed. Then a step of each arm is measured
(diffenc_jax/costs.py), and the report is written: significance.md, the same unrounded in significance.json, raw values
in values.csv, and figures. --plan prints the commands instead, one a line, to be run in any order and anywhere that DIR
is at hand; `report` works on the runs that are there, and says which are missing.
"""

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffenc_jax.commands import positive, positive_number
from diffenc_jax.commands import run as run_command

DIFFERENCE = 0.01


def make(experiment: Any, root: Path, parallel: int) -> list[str]:
    """Trains, evaluates and measures what is missing; returns a line for each failure."""
    from diffenc_jax.significance import experiment as layout
    from diffenc_jax.significance.devices import shares
    from diffenc_jax.significance.processes import Job, run
    from diffenc_jax.significance.results import costs, record_of

    def say(text):
        print(text, flush=True)

    def log(name):
        return root / "logs" / f"{name}.log"

    runs = [
        Job(f"{arm}, seed {seed}", experiment.commands(root, arm, seed), log(f"{arm}-seed{seed}"))
        for arm, seed in experiment.runs()
        if not record_of(layout.folder(root, arm, seed), experiment.configuration(arm, seed))
    ]
    known = costs(root, experiment.arms)
    steps = [
        Job(f"{arm}, a step's cost", [experiment.cost_command(root, arm)], log(f"{arm}-cost"))
        for arm in experiment.arms
        if arm not in known
    ]
    say(f"{len(runs)} of {len(experiment.arms) * len(experiment.seeds)} runs to be made")
    # Seconds are measured alone on the machine.
    return run(runs, shares(parallel), say) + run(steps, shares(1), say)


def write_report(root: Path, reference: str | None, matters: float) -> None:
    """Writes and shows what the runs in `root` say."""
    from rich.console import Console
    from rich.markdown import Markdown

    from diffenc_jax.config import require
    from diffenc_jax.significance import experiment as layout
    from diffenc_jax.significance import plots, report, results
    from diffenc_jax.significance.analysis import analyse

    noted = layout.read(root)
    runs, missing = results.collect(root, noted)
    if not runs:
        print("\n".join(f"{run.arm}, seed {run.seed}: {run.why}" for run in missing))
        return
    arms = list(dict.fromkeys(run.arm for run in [*runs, *missing]))
    reference = reference or (noted.reference if noted else arms[0])
    require(reference in arms, f"--reference={reference} is not among {', '.join(arms)}")
    analysis, costs = analyse(runs, reference, matters), results.costs(root, arms)
    text = report.page(analysis, runs, missing, costs, noted and noted.command(root))
    dataset = runs[0].evaluation.record["dataset"]
    figures = plots.draw(analysis, f"{dataset['name']}, {dataset['split']}")
    figures["curves"] = plots.learning(results.curves(runs))
    content = {
        "experiment": None if noted is None else vars(noted),
        **analysis,
        "costs": costs,
        "missing": [run._asdict() for run in missing],
        "software": {name: version(name) for name in ("diffenc_jax", "numpy", "scipy")},
    }
    report.write(root, text, content, runs)
    written = plots.write(figures, root)
    console = Console()
    console.print(Markdown(text) if console.is_terminal else text, highlight=False, soft_wrap=True, markup=False)
    print(f"written to {root}: significance.md, significance.json, values.csv, {', '.join(f.name for f in written)}")


def _arguments(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The arguments, and the configuration's overrides 'key=value'."""
    parser = argparse.ArgumentParser(
        prog="python -m diffenc_jax.significance",
        description="Arms x seeds: trains what is missing, and says what the differences are worth.",
        epilog="--config.key=value overrides a key of the configuration, for all arms.",
        allow_abbrev=False,
    )
    parser.add_argument("action", nargs="?", choices=["report"], help="report on the runs that are there, train none")
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="where the runs are kept")
    parser.add_argument("--config", metavar="FILE", help="configuration, such as configs/digits.py")
    parser.add_argument("--arms", type=_arms, help="by commas")
    parser.add_argument("--seeds", type=_seeds, help="such as 0-4, or 0,2,7")
    parser.add_argument("--reference", metavar="ARM", help="what the others are compared with (default: the first arm)")
    parser.add_argument("--passes", type=positive, help="looks at every image at the end (default: eval.passes)")
    parser.add_argument("--difference", type=positive_number, default=DIFFERENCE, help="bits/dim that would matter")
    parser.add_argument("--parallel", type=positive, default=1, help="runs at a time, on this machine's devices")
    parser.add_argument("--plan", action="store_true", help="print the commands, one a line, and run nothing")
    overrides = [argument.removeprefix("--config.") for argument in argv if argument.startswith("--config.")]
    for override in overrides:
        if "=" not in override:
            parser.error(f"--config.{override} has no value; give --config.key=value")
    arguments = parser.parse_args([argument for argument in argv if not argument.startswith("--config.")])
    needed = [name for name in ("config", "arms", "seeds") if getattr(arguments, name) is None]
    unread = [f"--{name}" for name in ("config", "arms", "seeds", "passes", "plan") if getattr(arguments, name)]
    if arguments.action is None and needed:
        parser.error(f"--{needed[0]} is missing; give --config, --arms, --seeds and --root, or report and --root")
    if arguments.action and (unread or overrides):
        parser.error(f"report does not read {(unread or ['--config.key=value'])[0]}: it takes the runs as they are")
    return arguments, overrides


def _arms(text: str) -> tuple[str, ...]:
    arms = tuple(part.strip() for part in text.split(","))
    if "" in arms or len(set(arms)) < len(arms):
        raise argparse.ArgumentTypeError(f"{text!r} must name each arm once, by commas")
    return arms


def _seeds(text: str) -> tuple[int, ...]:
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not (first.isdecimal() and (last or first).isdecimal() and int(last or first) >= int(first)):
            raise argparse.ArgumentTypeError(f"{text!r} must be seeds such as 0-4, or 0,2,7")
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r} names a seed twice")
    return tuple(seeds)


def main(argv: list[str]) -> int:
    """Exit code: 0, 1 if a run failed, 2 for bad input, 128 + its number after a signal."""
    arguments, overrides = _arguments(argv)
    failures: list[str] = []

    def body():
        if arguments.action is None:
            from diffenc_jax.significance.experiment import Experiment

            wanted = Experiment(
                config=arguments.config,
                arms=arguments.arms,
                seeds=arguments.seeds,
                overrides=tuple(overrides),
                passes=arguments.passes,
                reference=arguments.reference or arguments.arms[0],
            )
            wanted.check(arguments.root)
            wanted.write(arguments.root)
            if arguments.plan:
                print("\n".join(wanted.lines(arguments.root)))
                return
            failures.extend(make(wanted, arguments.root, arguments.parallel))
        write_report(arguments.root, arguments.reference, arguments.difference)

    code = run_command(body, interrupted="what is done is kept, the same command goes on from there")
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return code or int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

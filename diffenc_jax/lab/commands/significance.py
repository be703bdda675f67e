"""Train arms by seeds and test the differences between the arms.

`diffenc significance --config=NAME --arms=A,B --seeds=0-4 --root=DIR` trains the missing runs. Every run is a
process with its own workdir, DIR/<arm>-seed<seed>, and resumes where it stopped. Its evaluation takes its noise from
its seed, so the arms of one seed have common noise. Then a training step of each arm is measured, and the summary is
written: significance.md, unrounded numbers in significance.json, the values of the runs in values.csv, and figures.

`--final=loss.variance_ratio=optimal_pixel` compares the same trained runs in another evaluation.

--train-only leaves out the samples of the runs and the cost of a step; the same command without it measures the costs.

Several machines may run the same command with a common root, such as gs://BUCKET/FOLDER: each run is made by one of
them, and if that one is gone, another one resumes the run.

`diffenc significance report --root=DIR` summarizes the existing runs and names the missing ones. The last summary of
other content is kept in DIR/earlier.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from diffenc_jax.commands.arguments import add_config, add_difference, place, positive
from diffenc_jax.lab.commands.grids import add_runs, make, note, print_failures, summarize

EXAMPLE = """\
diffenc significance --config=digits --arms=vdm,diffenc --seeds=0-4 \\
    --root=runs/digits-seeds
diffenc significance report --root=runs/digits-seeds"""
ON_INTERRUPT = "finished work is kept, the same command resumes"
MOST_SEEDS = 10_000
NEEDED = ("config", "arms", "seeds")


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("action", nargs="?", type=_action, metavar="report", help="summarize the existing runs and train none")
    add("--root", type=place, required=True, metavar="DIR", help="folder of the workdirs")
    add_config(parser, required=False)
    add("--arms", type=_arms, metavar="ARM,...", help="arms to compare; required, except for report")
    add("--seeds", type=_seeds, metavar="SEED,...", help="seeds, such as 0-4 or 0,2,7; required, except for report")
    add(
        "--reference",
        metavar="ARM",
        help="arm to compare the others with (default: the first; for report, that of the study in DIR)",
    )
    add("--passes", type=positive, metavar="P", help="passes of the final evaluation (default: eval.passes)")
    add(
        "--final",
        type=_change,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a key of eval, fit, loss or ode only for the final evaluation, such as "
        "loss.variance_ratio=optimal_pixel; may be repeated",
    )
    augmented = "compare arms with different augmentation of their training images (train.augment), otherwise refused"
    add("--across-augmentation", action="store_true", help=augmented)
    only = "only train and evaluate the runs and compare them: draw no samples, measure no costs of a step"
    add("--train-only", action="store_true", help=only)
    add_difference(parser)
    add_runs(parser)


def run(arguments: Namespace) -> int:
    _check(arguments)
    if arguments.action:
        summarize(arguments.root, arguments.reference, arguments.difference, arguments.across_augmentation)
        return 0
    from diffenc_jax.lab.studies.significance.grid import Grid

    grid = Grid(
        config=arguments.config,
        arms=arguments.arms,
        seeds=arguments.seeds,
        overrides=tuple(arguments.overrides),
        passes=arguments.passes,
        reference=arguments.reference or arguments.arms[0],
        final=tuple(arguments.final),
        across_augmentation=arguments.across_augmentation,
        train_only=arguments.train_only,
    )
    note(grid, arguments.root)
    if arguments.plan:
        print("\n".join(grid.plan(arguments.root)))
        return 0
    failures = make(grid, arguments.root, arguments.parallel)
    arguments.wrote_to = [arguments.root]
    summarize(arguments.root, arguments.reference, arguments.difference)
    return print_failures(failures)


def _check(arguments: Namespace) -> None:
    from diffenc_jax.core.errors import require
    from diffenc_jax.core.text import require_printable

    require_printable(arguments.reference or "")
    options = (*NEEDED, "passes", "final", "plan", "train_only")
    given = [f"--{name.replace('_', '-')}" for name in options if getattr(arguments, name)]
    given += ["--config.key=value"] * bool(arguments.overrides)
    if arguments.action:
        require(not given, f"report does not read {(given or [''])[0]}: it takes the runs as they are")
    else:
        missing = [f"--{name}" for name in NEEDED if not getattr(arguments, name)]
        text = "give --config, --arms, --seeds and --root, or report and --root"
        require(not missing, f"{(missing or [''])[0]} is missing; {text}")


def _action(text: str) -> str:
    if text != "report":
        raise ArgumentTypeError(
            f"{text!r} is not report; commas separate arms and seeds, as in --arms=vdm,diffenc --seeds=0,1"
        )
    return text


def _arms(text: str) -> tuple[str, ...]:
    arms = tuple(_parts(text, "arms"))
    if "" in arms or len(set(arms)) < len(arms):
        raise ArgumentTypeError(f"{text!r} must name each arm once, separated by commas")
    return arms


def _parts(text: str, what: str) -> list[str]:
    """The parts of `text` between commas."""
    parts = [part.strip() for part in text.split(",")]
    if any(" " in part for part in parts):
        raise ArgumentTypeError(f"{text!r}: {what} are separated by commas, not by spaces")
    return parts


def _change(text: str) -> str:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as loss.variance_ratio=optimal_pixel")
    return text


def _seeds(text: str) -> tuple[int, ...]:
    seeds: list[int] = []
    for part in _parts(text, "seeds"):
        first, _, last = part.partition("-")
        known = first.isdecimal() and (last or first).isdecimal() and int(last or first) >= int(first)
        if not known or int(last or first) >= int(first) + MOST_SEEDS:
            raise ArgumentTypeError(f"{text!r} must be seeds such as 0-4, or 0,2,7, at most {MOST_SEEDS} of them")
        seeds += range(int(first), int(last or first) + 1)
    if len(set(seeds)) < len(seeds):
        raise ArgumentTypeError(f"{text!r} names a seed twice")
    return tuple(seeds)

"""An experiment: arms x seeds of one configuration file, each a run in a workdir of its own under one root."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from diffenc_jax import cli, workdir
from diffenc_jax.config import flatten, require
from diffenc_jax.errors import InputError

FILE = "experiment.json"
MAIN, COSTS = "diffenc_jax.main", "diffenc_jax.costs"
# Keys that an experiment sets itself, and what to give instead.
SET_HERE = {"seed": "--seeds", "eval.seed": "--seeds, which are the evaluations' seeds too", "arm": "--arms"}


@dataclass(frozen=True)
class Experiment:
    """What is compared.

    A run's evaluation takes its noise from the run's seed: runs of one seed have data order, times and noise in
    common in training and evaluation, and what is left of the evaluation's noise differs from seed to seed as
    everything else does, so that tests over seeds account for it.

    Attributes:
      config: path of the configuration file.
      overrides: 'key=value' for all arms.
      passes: looks at every image in the final evaluation; None: as the configuration says.
      reference: the arm that each other is compared with.
    """

    config: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    overrides: tuple[str, ...]
    passes: int | None
    reference: str

    def __post_init__(self):
        require(":" not in self.config, f"--config={self.config} names an arm; give arms by --arms")
        require(self.reference in self.arms, f"--reference={self.reference} is not among {', '.join(self.arms)}")

    def runs(self) -> Iterator[tuple[str, int]]:
        """(arm, seed), one seed after the other, so that what is there first can be compared."""
        return ((arm, seed) for seed in self.seeds for arm in self.arms)

    def training(self, arm: str, seed: int) -> list[str]:
        """Arguments of `diffenc_jax.main` that are the run's, but for its workdir."""
        return [f"--config={self.config}:{arm}", *(f"--config.{override}" for override in self._given(seed))]

    def configuration(self, arm: str, seed: int) -> ConfigDict:
        """What the run's final evaluation goes by; raises InputError where the file or a key is wrong."""
        evaluating = () if self.passes is None else (f"eval.passes={self.passes}",)
        return cli.load(f"{self.config}:{arm}", (*self._given(seed), *evaluating))

    def _given(self, seed: int) -> tuple[str, ...]:
        """All 'key=value' that a run of `seed` is trained with."""
        return (f"seed={seed}", f"eval.seed={seed}", *self.overrides)

    def commands(self, root: Path, arm: str, seed: int) -> list[list[str]]:
        """What makes the run: arguments of python, one list a process, each of which may be repeated."""
        run = ["-m", MAIN, *self.training(arm, seed), f"--workdir={folder(root, arm, seed)}"]
        if self.passes is None:
            return [run]
        return [run, [*run, "--mode=eval", f"--config.eval.passes={self.passes}"]]

    def cost_command(self, root: Path, arm: str) -> list[str]:
        """What measures a training step of `arm`."""
        return ["-m", COSTS, *self.training(arm, self.seeds[0]), f"--json={cost_file(root, arm)}"]

    def command(self, root: Path) -> str:
        """What makes all of it, for a shell."""
        seeds = ",".join(map(str, self.seeds))
        given = [f"--config={self.config}", f"--arms={','.join(self.arms)}", f"--seeds={seeds}", f"--root={root}"]
        given += [f"--reference={self.reference}"] + ([] if self.passes is None else [f"--passes={self.passes}"])
        given += [f"--config.{override}" for override in self.overrides]
        return shlex.join(["python", "-m", "diffenc_jax.significance", *given])

    def lines(self, root: Path) -> list[str]:
        """All commands for a shell, a line a run, then a line an arm for what it costs."""
        runs = (self.commands(root, arm, seed) for arm, seed in self.runs())
        costs = ([self.cost_command(root, arm)] for arm in self.arms)
        return [" && ".join(shlex.join(["python", *command]) for command in line) for line in (*runs, *costs)]

    def check(self, root: Path) -> None:
        """Raises InputError where a configuration is wrong or a workdir holds another run."""
        for override in self.overrides:
            key = override.split("=")[0]
            require(key not in SET_HERE, f"--config.{key} is not free here; give {SET_HERE.get(key)}")
        self._check_arms_stay_apart()
        for arm, seed in self.runs():
            workdir.check(folder(root, arm, seed), self.configuration(arm, seed), must_exist=False)

    def _check_arms_stay_apart(self) -> None:
        """Raises InputError where an override would undo what the arms differ in."""
        plain = {arm: flatten(cli.load(f"{self.config}:{arm}")) for arm in self.arms}
        for override in self.overrides:
            key = override.split("=")[0]
            values = {arm: flat.get(key, "has none") for arm, flat in plain.items()}
            differ = any(value != values[self.arms[0]] for value in values.values())
            text = ", ".join(f"{arm} {value}" for arm, value in values.items())
            require(not differ, f"--config.{key} is what the arms differ in ({text}); change the configuration file")

    def write(self, root: Path) -> "Experiment":
        """Notes it in `root`; returns it with the arms and seeds that were asked for there before.

        Raises:
          InputError: another experiment is noted there, or nothing can be.
        """
        known = read(root)
        whole = self if known is None else self._with(known, root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            workdir.replace(root / FILE, json.dumps(asdict(whole), indent=1) + "\n")
        except OSError as error:
            raise InputError(f"{root} cannot be written to: {error.strerror}; give another --root") from error
        return whole

    def _with(self, known: "Experiment", root: Path) -> "Experiment":
        for key in ("config", "overrides"):
            ours, theirs = getattr(self, key), getattr(known, key)
            require(
                ours == theirs,
                f"{root} holds another experiment, its {key}: {_text(theirs)}, not {_text(ours)}; give another --root",
            )
        arms = tuple(dict.fromkeys((*known.arms, *self.arms)))
        return replace(self, arms=arms, seeds=tuple(sorted({*known.seeds, *self.seeds})))


def folder(root: Path, arm: str, seed: int) -> Path:
    """The workdir of a run."""
    return root / f"{arm}-seed{seed}"


def cost_file(root: Path, arm: str) -> Path:
    """Where it is written what a training step of `arm` costs."""
    return root / "costs" / f"{arm}.json"


def read(root: Path) -> Experiment | None:
    """The experiment that is noted in `root`, if there is one.

    Raises:
      InputError: the note cannot be read.
    """
    path = root / FILE
    if not path.exists():
        return None
    try:
        noted = json.loads(path.read_text())
        return Experiment(**{k: tuple(v) if isinstance(v, list) else v for k, v in noted.items()})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read: {error}; delete it, and the runs there are still found") from error


def _text(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(value) or "none"

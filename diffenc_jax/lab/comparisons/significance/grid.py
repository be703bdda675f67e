"""Grid of arms and seeds of one configuration: each pair is a run with its own workdir in a common root."""

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffenc_jax.config import Config, flatten, load_config
from diffenc_jax.config.load import read_changes
from diffenc_jax.config.sections import LEARNED
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError, first_line, require
from diffenc_jax.core.keys import REQUIRED, SEEDS, Keyed, count, key, keys_of
from diffenc_jax.lab.comparisons.compare import different_images
from diffenc_jax.runs.files import exists, read_json, write_json, writing
from diffenc_jax.runs.stored import StoredRun

FILE, OTHER_FILE = "grid.json", "experiment.json"  # the second is only read
OTHER_ROOT = "give another --root"
# Arguments of python that start a training run, and the measurement of a training step.
MAIN, COSTS = ("-m", "diffenc_jax.main"), ("-m", "diffenc_jax", "costs")
# Keys that the grid sets itself, and the options to give instead.
SET_HERE = {"seed": "--seeds", "eval.seed": "--seeds, which are the evaluations' seeds too", "arm": "--arms"}
# Sections that a final evaluation may change.
EVALUATED = ("eval", "fit", "loss", "ode")


@dataclass(frozen=True)
class Grid(Keyed):
    """Runs that are compared.

    The noise of an evaluation follows from the run's seed. Runs with the same seed share data order, times and noise in
    training and evaluation. The remaining noise of the evaluation differs between seeds, so tests over seeds account
    for it.

    Attributes:
      plugins: packages whose parts `final` may name, and which may therefore be imported; not noted in a root.
    """

    config: str = key(doc="name or path of the configuration")
    arms: tuple[str, ...] = key(doc="arms of the configuration")
    seeds: tuple[int, ...] = key(doc="training seeds", limits=SEEDS)
    overrides: tuple[str, ...] = key(doc='"key=value" for all arms')
    passes: int | None = count(REQUIRED, "passes of the final evaluation", none="those of the configuration")
    reference: str = key(doc="arm with which the others are compared")
    final: tuple[str, ...] = key((), '"key=value" for the final evaluation of all runs, in the sections `EVALUATED`')
    plugins: Collection[str] = ()

    def check(self) -> None:
        require(":" not in self.config, f"--config={self.config} names an arm; give arms by --arms")
        require(self.reference in self.arms, f"--reference={self.reference} is not among {', '.join(self.arms)}")

    def runs(self) -> Iterator[tuple[str, int]]:
        """All (arm, seed), ordered by seed, so that the first finished runs can be compared."""
        return ((arm, seed) for seed in self.seeds for arm in self.arms)

    def run_config(self, arm: str, seed: int) -> Config:
        """The configuration of a run; raises InputError if the file or a key is wrong."""
        from diffenc_jax.train import flops  # imported here, since reports load no JAX

        return flops.load_config(f"{self.config}:{arm}", self._overrides(seed))

    def final_config(self, trained: Config) -> Config:
        """The configuration of the final evaluation of the run `trained`; raises InputError if it is invalid."""
        changes = parts.allowed(read_changes(self._final()), self.plugins)
        return trained.replace({"eval.seed": trained.seed, **changes})

    def run_commands(self, root: Path, arm: str, seed: int) -> list[list[str]]:
        """Arguments of python for each process that makes the run. Each process may be repeated."""
        train = [*MAIN, *self._flags(arm, seed), f"--workdir={workdir_of(root, arm, seed)}"]
        changes = [f"--config.{change}" for change in self._final()]
        return [train, [*train, "--mode=eval", *changes]] if changes else [train]

    def cost_command(self, root: Path, arm: str) -> list[str]:
        """Arguments of python for the measurement of a training step of `arm`."""
        return [*COSTS, *self._flags(arm, self.seeds[0]), f"--json={cost_file(root, arm)}"]

    def plan(self, root: Path) -> list[str]:
        """Shell commands, a line per run and then a line per arm for the cost of its training step."""
        runs = (self.run_commands(root, arm, seed) for arm, seed in self.runs())
        costs = ([self.cost_command(root, arm)] for arm in self.arms)
        return [" && ".join(shlex.join(["python", *command]) for command in line) for line in (*runs, *costs)]

    def check_runs(self, root: Path) -> None:
        """Raise InputError if a run of the grid cannot be made.

        The reasons: a configuration is invalid, an override undoes an arm, the final evaluation changes a key that it
        may not change, a workdir holds another run or a run with other sources of its parts, or arms have different
        images.
        """
        from diffenc_jax.runs.origin import check_parts  # imported here, since reports load no JAX

        self._check_keys()
        evaluated: dict[str, Config] = {}
        for arm, seed in self.runs():
            trained, run = self.run_config(arm, seed), StoredRun(workdir_of(root, arm, seed))
            run.check(trained, False, OTHER_ROOT)
            check_parts(run, trained, trains=True)
            final = evaluated[arm] = self.final_config(trained)
            learned = LEARNED in (trained.loss.variance_ratio, final.loss.variance_ratio)
            text = f"--final changes the loss of {arm} where loss.variance_ratio={LEARNED} was learned in training"
            require(trained.loss == final.loss or not learned, f"{text}; leave out --final=loss.KEY=VALUE")
        self._check_images(evaluated)

    def note_in(self, root: Path) -> None:
        """Write the grid to `root`, merged with the arms and seeds of a grid already noted there.

        Raises:
          InputError: `root` holds a grid of another configuration, or cannot be written to.
        """
        noted, known = self, read_grid(root)
        if known is not None:
            for name in ("config", "overrides"):
                ours, theirs = getattr(self, name), getattr(known, name)
                text = f"{root} holds another experiment, its {name}: {theirs or 'none'}, not {ours or 'none'}"
                require(ours == theirs, f"{text}; {OTHER_ROOT}")
            arms, seeds = dict.fromkeys((*known.arms, *self.arms)), {*known.seeds, *self.seeds}
            noted = replace(self, arms=tuple(arms), seeds=tuple(sorted(seeds)))
        with writing(root, OTHER_ROOT):
            write_json(root / FILE, noted.note())

    def note(self) -> dict[str, Any]:
        """The keys of the grid with their values, as JSON."""
        return {name: getattr(self, name) for name in keys_of(Grid)}

    def _check_keys(self) -> None:
        """Raise InputError if an override undoes an arm, or `final` changes a key that it may not change."""
        plain = {arm: flatten(load_config(f"{self.config}:{arm}").to_dict()) for arm in self.arms}
        for name in (override.partition("=")[0] for override in self.overrides):
            require(name not in SET_HERE, f"--config.{name} is set by the study; give {SET_HERE.get(name)}")
            values = {arm: flat.get(name, "has none") for arm, flat in plain.items()}
            text = ", ".join(f"{arm} {value}" for arm, value in values.items())
            differ = any(value != values[self.arms[0]] for value in values.values())
            require(not differ, f"--config.{name} distinguishes the arms ({text}); change the configuration file")
        set_here = SET_HERE | {"eval.passes": "--passes"}
        for name in (change.partition("=")[0] for change in self.final):
            require(name not in set_here, f"--final={name} is set by the study; give {set_here.get(name)}")
            text = f"--final={name} is no key of {', '.join(EVALUATED)}; --config.{name} changes the runs"
            require(name.partition(".")[0] in EVALUATED, text)

    def _check_images(self, evaluated: Mapping[str, Config]) -> None:
        """Raise InputError unless all arms have the same images; images are read only if the arms' data differ.

        Args:
          evaluated: configurations of the final evaluation by arm.
        """
        from diffenc_jax.data.dataset import load_dataset  # imported here, since reports read no images

        if len({config.data for config in evaluated.values()}) == 1:
            return
        entries: dict[str, Any] = {}
        for arm, config in evaluated.items():
            dataset = load_dataset(config.data, config.eval.split, labels=config.model.labels)
            entries[arm] = dataset.split(config.eval.split).fingerprint
            reason = different_images(entries[self.arms[0]], entries[arm])
            require(not reason, f"--arms={self.arms[0]},{arm}: {reason}")

    def _final(self) -> tuple[str, ...]:
        """Changes of a run's configuration for its final evaluation."""
        return (*(() if self.passes is None else (f"eval.passes={self.passes}",)), *self.final)

    def _flags(self, arm: str, seed: int) -> list[str]:
        return [f"--config={self.config}:{arm}", *(f"--config.{override}" for override in self._overrides(seed))]

    def _overrides(self, seed: int) -> tuple[str, ...]:
        return (f"seed={seed}", f"eval.seed={seed}", *self.overrides)


def workdir_of(root: Path, arm: str, seed: int) -> Path:
    """Workdir of a run."""
    return root / f"{arm}-seed{seed}"


def cost_file(root: Path, arm: str) -> Path:
    """File with the cost of a training step of `arm`."""
    return root / "costs" / f"{arm}.json"


def read_grid(root: Path, plugins: Collection[str] = ()) -> Grid | None:
    """The grid noted in `root`, with these plugins, or None; raises InputError if the note cannot be read."""
    path = next((root / name for name in (FILE, OTHER_FILE) if exists(root / name)), None)
    if path is None:
        return None
    advice = "delete it, the runs beside it are still found"
    content = read_json(path, advice)
    try:
        return Grid(**content, plugins=plugins)
    except (TypeError, InputError) as error:
        raise InputError(f"{path} is damaged: {first_line(error)}; {advice}") from error

"""Jobs that train, evaluate or sample a run: their arguments, the cluster that they join, and their output."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from diffenc_jax.commands import options
from diffenc_jax.core.errors import refusing, require
from diffenc_jax.core.runtime import keep_programs

with epy.lazy_imports():  # help needs none of them
    import jax

    from diffenc_jax import api
    from diffenc_jax.config import load
    from diffenc_jax.core import numbers, terminal
    from diffenc_jax.data import sources
    from diffenc_jax.parallel import cluster, hosts
    from diffenc_jax.runs import record_types, stored

if TYPE_CHECKING:
    from rich.console import Console

    from diffenc_jax.config import Config
    from diffenc_jax.runs.stored import StoredRun
    from diffenc_jax.sampling.sampling import Sampling

# A process that is silent for this long counts as lost, and the other processes of its run end.
LOST_SECONDS = 30


@dataclass(frozen=True)
class Job:
    """The configuration of a run, the run as it is stored, and the console of this process.

    The console is quiet on all hosts but the first. `data` is where the data of a run are, if `config` does not say it.
    """

    config: "Config"
    stored: "StoredRun"
    console: "Console"
    data: str | None = None

    def open(self) -> "api.TrainedRun":
        """The trained run with this configuration; raises InputError or RunError as `diffenc_jax.open` does."""
        return api.open(self.stored, config=self.config, data=self.data)

    def print(self, text: str) -> None:
        """Print one line, unwrapped."""
        terminal.print_line(self.console, text)

    def print_record(self, record: "record_types.Record") -> None:
        """Print bits/dim of an evaluation, in total and by term."""
        self.print(numbers.record_line(record))
        for name, value in numbers.format_terms(record):
            self.print(f"  {name} {value}")

    def write_samples(self, sampling: "Sampling", params: Any, step: int, run: "StoredRun") -> dict[str, Path]:
        """Draw and write samples; returns their files by content.

        Raises Interrupted after a signal; all finished batches are saved.
        """
        with options.watched(self.console, f"sampling step {step}", 1.0) as on_part:
            return sampling.write(params, step, run, on_part)

    def print_files(self, files: dict[str, Path]) -> None:
        """Print one line per file."""
        for name, path in files.items():
            self.print(f"{name}: {path}")


def add_job_arguments(parser: argparse.ArgumentParser, *read: str) -> None:
    """Add the arguments that train, eval and sample share. RUN, the folder of a run, may take the place of --config.

    Args:
      read: keys and sections of a run's configuration that may then be changed; without any, all.
    """
    keys = (*read, "checkpoint.other_parts", "data.dir", "data.source", "mesh") if read else ()
    changes = f"a key of {', '.join(keys)}" if read else "what may differ when a run resumes, such as train.steps"
    text = f"folder of the run, in place of --config; --config.key=value then changes {changes}"
    parser.add_argument("run", nargs="?", type=options.location, metavar="RUN", help=text)
    options.add_plugins(parser)
    options.add_config(parser, required=False)
    options.add_workdir(parser)
    parser.set_defaults(read=keys)
    group = parser.add_argument_group("several hosts")
    text = "join the other hosts of a TPU slice or SLURM job, or run only this process (default: fail if others exist)"
    group.add_argument("--distributed", action=argparse.BooleanOptionalAction, help=text)
    text = "address of process 0, where JAX does not find the hosts itself"
    group.add_argument("--coordinator", metavar="HOST:PORT", help=text)
    group.add_argument("--processes", type=options.positive, metavar="N", help="number of processes")
    group.add_argument("--process", type=int, metavar="I", help="index of this process, from 0")


def start_job(arguments: argparse.Namespace) -> Job:
    """Load the configuration, join the cluster and set the compilation cache; raises InputError.

    The first host notes the command in the workdir when the command has finished.
    """
    process, processes, coordinator = arguments.process, arguments.processes, arguments.coordinator or ""
    if (process, processes) != (None, None):
        complete = ":" in coordinator and None not in (process, processes) and 0 <= process < processes
        require(complete, "--coordinator=HOST:PORT, --processes=N and --process=0 .. N - 1 belong together")
    one = "name one run: by its folder, or by --config=NAME[:ARM] and perhaps --workdir"
    require((arguments.run is None) != (arguments.config is None), one)
    require(arguments.run is None or arguments.workdir is None, one)
    run = None if arguments.run is None else stored.StoredRun(arguments.run)
    if arguments.distributed or coordinator:
        # Bad input is refused before waiting for the other hosts.
        _ = _changed(run, arguments) if run else load.load_config(arguments.config, arguments.overrides)
        _join_cluster(arguments)
    elif arguments.distributed is None:
        cluster.require_alone()
    config, data = _changed(run, arguments) if run else options.load_arguments_config(arguments), None
    if run:
        place = sources.located(config.data, run.workdir)
        own = run.config.allowing(arguments.plugins).data.source
        config, data = config.replace({"data.source": own}), place.source
    run = run or stored.StoredRun(options.workdir_of(arguments, config))
    keep_programs(run.workdir.parent)
    cluster.require_connected()
    arguments.wrote_to = [run.workdir] if hosts.is_first() else []
    return Job(config, run, terminal.make_console(quiet=not hosts.is_first()), data)


def _changed(run: "StoredRun", arguments: argparse.Namespace) -> "Config":
    """The configuration of the run in the folder RUN, with the changes that the command reads."""
    return run.config.allowing(arguments.plugins).replace(options.changes_of(arguments))


def _join_cluster(arguments: argparse.Namespace) -> None:
    advice = "start the run with a script of launch/, or give --coordinator, --processes and --process"
    with refusing("no cluster was found", advice):
        jax.distributed.initialize(
            arguments.coordinator,
            arguments.processes,
            arguments.process,
            heartbeat_timeout_seconds=LOST_SECONDS,
            shutdown_timeout_seconds=LOST_SECONDS,
        )

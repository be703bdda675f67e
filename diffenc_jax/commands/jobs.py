"""Jobs that train, evaluate or sample a run: their arguments, the cluster that they join, and their output."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffenc_jax.commands.arguments import (
    add_config,
    add_plugins,
    add_workdir,
    changes_of,
    load_arguments_config,
    location,
    positive,
    watched,
    workdir_of,
)
from diffenc_jax.core.errors import refusing, require
from diffenc_jax.core.runtime import keep_programs

if TYPE_CHECKING:
    from rich.console import Console

    from diffenc_jax.config import Config
    from diffenc_jax.runs.record_types import Record
    from diffenc_jax.runs.stored import StoredRun
    from diffenc_jax.sampling.sampling import Sampling

# A process that is silent for this long counts as lost, and the other processes of its run end.
LOST_SECONDS = 30


@dataclass(frozen=True)
class Job:
    """The configuration of a run, the run as it is stored, and the console of this process.

    The console is quiet on all hosts but the first.
    """

    config: "Config"
    stored: "StoredRun"
    console: "Console"

    def print(self, text: str) -> None:
        """Print one line, unwrapped."""
        from diffenc_jax.core import terminal

        terminal.print_line(self.console, text)

    def print_record(self, record: "Record") -> None:
        """Print bits/dim of an evaluation, in total and by term."""
        from diffenc_jax.core.numbers import format_terms, record_line

        self.print(record_line(record))
        for name, value in format_terms(record):
            self.print(f"  {name} {value}")

    def write_samples(self, sampling: "Sampling", params: Any, step: int, run: "StoredRun") -> dict[str, Path]:
        """Draw and write samples; returns their files by content.

        Raises Interrupted after a signal; all finished batches are saved.
        """
        with watched(self.console, f"sampling step {step}", 1.0) as on_part:
            return sampling.write(params, step, run, on_part)

    def print_files(self, files: dict[str, Path]) -> None:
        """Print one line per file."""
        for name, path in files.items():
            self.print(f"{name}: {path}")


def add_trained_job_arguments(parser: argparse.ArgumentParser, *read: str) -> None:
    """Add RUN, the folder of a trained run, and the arguments of a job that may change the keys and sections `read`."""
    read = (*read, "checkpoint.other_parts", "data.dir", "mesh")
    text = f"folder of the run, in place of --config; --config.key=value then changes a key of {', '.join(read)}"
    parser.add_argument("run", nargs="?", type=location, metavar="RUN", help=text)
    add_job_arguments(parser, trained=True)
    add_plugins(parser)
    parser.set_defaults(read=read)


def add_job_arguments(parser: argparse.ArgumentParser, trained: bool = False) -> None:
    """Add the arguments that train, eval and sample share; --config is required unless the run is `trained`."""
    add_config(parser, required=not trained)
    add_workdir(parser)
    parser.set_defaults(run=None)
    group = parser.add_argument_group("several hosts")
    text = "join the other hosts of a TPU slice or SLURM job, or run only this process (default: fail if others exist)"
    group.add_argument("--distributed", action=argparse.BooleanOptionalAction, help=text)
    text = "address of process 0, where JAX does not find the hosts itself"
    group.add_argument("--coordinator", metavar="HOST:PORT", help=text)
    group.add_argument("--processes", type=positive, metavar="N", help="number of processes")
    group.add_argument("--process", type=int, metavar="I", help="index of this process, from 0")


def start_job(arguments: argparse.Namespace) -> Job:
    """Load the configuration, join the cluster and set the compilation cache; raises InputError.

    The first host notes the command in the workdir when the command has finished.
    """
    from diffenc_jax.config import load_config
    from diffenc_jax.parallel import cluster
    from diffenc_jax.runs.stored import StoredRun

    process, processes, coordinator = arguments.process, arguments.processes, arguments.coordinator or ""
    if (process, processes) != (None, None):
        complete = ":" in coordinator and None not in (process, processes) and 0 <= process < processes
        require(complete, "--coordinator=HOST:PORT, --processes=N and --process=0 .. N - 1 belong together")
    one = "name one run: by its folder, or by --config=NAME[:ARM] and perhaps --workdir"
    require((arguments.run is None) != (arguments.config is None), one)
    require(arguments.run is None or arguments.workdir is None, one)
    stored = None if arguments.run is None else StoredRun(arguments.run)
    if arguments.distributed or coordinator:
        # Bad input is refused before waiting for the other hosts.
        _ = _changed(stored, arguments) if stored else load_config(arguments.config, arguments.overrides)
        _join_cluster(arguments)
    elif arguments.distributed is None:
        cluster.require_alone()
    config = _changed(stored, arguments) if stored else load_arguments_config(arguments)
    stored = stored or StoredRun(workdir_of(arguments, config))
    keep_programs(stored.workdir.parent)

    from diffenc_jax.core.terminal import make_console
    from diffenc_jax.parallel import hosts

    cluster.require_connected()
    arguments.wrote_to = [stored.workdir] if hosts.is_first() else []
    return Job(config, stored, make_console(quiet=not hosts.is_first()))


def _changed(stored: "StoredRun", arguments: argparse.Namespace) -> "Config":
    """The configuration of the run in the folder RUN, with the changes that the command reads."""
    return stored.config.allowing(arguments.plugins).replace(changes_of(arguments))


def _join_cluster(arguments: argparse.Namespace) -> None:
    import jax

    advice = "start the run with a script of launch/, or give --coordinator, --processes and --process"
    with refusing("no cluster was found", advice):
        jax.distributed.initialize(
            arguments.coordinator,
            arguments.processes,
            arguments.process,
            heartbeat_timeout_seconds=LOST_SECONDS,
            shutdown_timeout_seconds=LOST_SECONDS,
        )

"""Trains, evaluates or samples.

python -m diffenc_jax.main --config=configs/digits.py[:arm] [--workdir=DIR] [--mode=train|eval|sample]
    [--config.key=value ...] [--distributed | --coordinator=HOST:PORT --processes=N --process=I]
    [--compilation_cache=DIR|none]
"""

import signal
import sys
from pathlib import Path

from absl import app, flags, logging

from diffenc_jax import cli, memory
from diffenc_jax.errors import InputError, Interrupted, RunError

MODE = flags.DEFINE_enum("mode", "train", ["train", "eval", "sample"], "What to do.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Join the other hosts of a TPU slice or SLURM job.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "Join processes elsewhere: host:port of process 0,")
PROCESSES = flags.DEFINE_integer("processes", None, "how many processes there are,")
PROCESS = flags.DEFINE_integer("process", None, "and which of them, from 0, this is.")
flags.register_validator(
    COORDINATOR, lambda value: value is None or ":" in value, "must be host:port, such as localhost:8476"
)
CACHE = flags.DEFINE_string(
    "compilation_cache", None, "Where compiled programs are kept for the next start, or none; default beside --workdir."
)
# After which a process that is not heard of is lost, and the others end.
LOST_SECONDS = 30
flags.adopt_module_key_flags(cli)  # --help shows them


def main(_: list[str]) -> None:
    """Runs the chosen mode."""
    from diffenc_jax import modes

    logging.set_verbosity(logging.FATAL)  # what matters we say ourselves, in a line
    try:
        if DISTRIBUTED.value or COORDINATOR.value:
            _join_cluster()
        _keep_programs()
        modes.MODES[MODE.value](cli.CONFIG.value, cli.workdir())
    except (InputError, RunError) as error:
        cli.fail(str(error), code=2 if isinstance(error, InputError) else 1)
    except OSError as error:  # the disk is full, say
        if error.filename is None:
            raise
        cli.fail(f"{error.filename}: {error.strerror}", code=1)
    except RuntimeError as error:
        from diffenc_jax import hosts

        hosts.end_if_alone(error)
        raise
    except (Interrupted, KeyboardInterrupt) as stop:
        sys.exit(128 + (stop.signal if isinstance(stop, Interrupted) else signal.SIGINT))


def _join_cluster() -> None:
    import jax

    try:
        jax.distributed.initialize(
            COORDINATOR.value,
            PROCESSES.value,
            PROCESS.value,
            heartbeat_timeout_seconds=LOST_SECONDS,
            shutdown_timeout_seconds=LOST_SECONDS,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(
            f"no cluster to join was found: {cli.last_line(error)} Start it by one of launch/, or give --coordinator, "
            "--processes and --process"
        ) from error


def _keep_programs() -> None:
    """Keeps compiled programs, unless JAX was told where by its own variable."""
    import jax

    if CACHE.value == "none" or jax.config.jax_compilation_cache_dir is not None:
        return
    folder = CACHE.value or cli.workdir().parent / "compilation_cache"
    jax.config.update("jax_compilation_cache_dir", str(Path(folder).absolute()))


if __name__ == "__main__":
    memory.prepare()
    app.run(main, flags_parser=cli.parse)

"""Turns a published checkpoint into a workdir that --mode=eval and --mode=sample read.

python -m diffenc_jax.interop.published CHECKPOINT --config=configs/NAME.py[:arm] [--workdir=DIR]
    [--config.key=value ...]

CHECKPOINT is a file that DiffEnc's code (bemigini/DiffEnc) or VDM's (google-research/vdm) saved; its
averaged parameters are taken. The configuration must describe its model, and is given again to
python -m diffenc_jax.main.
"""

from pathlib import Path

from absl import app, flags, logging

from diffenc_jax import cli
from diffenc_jax.errors import InputError

flags.adopt_module_key_flags(cli)  # --help shows them


def main(argv: list[str]) -> None:
    """Converts, and says what came of it."""
    from diffenc_jax.interop.convert import convert

    logging.set_verbosity(logging.ERROR)  # what matters we say ourselves
    try:
        print(convert(Path(argv[1]), cli.CONFIG.value, cli.workdir()))
    except InputError as error:
        cli.fail(str(error))


if __name__ == "__main__":
    app.run(main, flags_parser=lambda argv: cli.parse(argv, positional=("CHECKPOINT",)))

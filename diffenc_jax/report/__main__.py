"""One page about runs: all that their workdirs hold, in one file of HTML.

python -m diffenc_jax.report WORKDIR... [--out=report.html] [--reference=ARM] [--difference=0.01]

WORKDIR is a run's workdir, or the --root of `python -m diffenc_jax.significance`. The page shows bits/dim by term with
errors, differences and, where an arm has several seeds, what they are worth; curves; bits by time, the depth study,
samples and the encoder's figures, where they were made, and else the command that makes them; costs; the configuration
beside the published recipe; images, software and the commands that make it all again. Pictures are in the file, nothing
in it is fetched or run, so that it can be sent, printed and kept. No model is built for it: it is made in seconds, on
any machine that has the workdirs.
"""

import argparse
import sys
from pathlib import Path

from diffenc_jax.commands import positive_number, run

OUT = Path("report.html")
DIFFERENCE = 0.01


def write(places: list[Path], out: Path, reference: str | None, matters: float) -> None:
    """Writes the page of the runs in `places` to `out`, and says so.

    Raises:
      InputError: there is no run, they are of other images than each other, or `out` cannot be written.
    """
    from diffenc_jax.errors import InputError
    from diffenc_jax.report.collect import collect
    from diffenc_jax.report.html import render
    from diffenc_jax.report.page import make
    from diffenc_jax.workdir import replace

    if out.is_dir() or not out.parent.is_dir():
        what = "is a folder; name a file" if out.is_dir() else f"cannot be written: there is no folder {out.parent}"
        raise InputError(f"--out={out} {what}")
    collection = collect(places)
    text = render(make(collection, places, out, reference, matters))
    try:
        replace(out, text)
    except OSError as error:
        raise InputError(f"--out={out} cannot be written: {error.strerror}") from error
    for note in collection.notes:
        print(f"note: {note}", file=sys.stderr)
    runs = len(collection.runs)
    print(f"{runs} run{'s' * (runs > 1)} in {out} ({len(text.encode()) / 1e6:.1f} MB)")


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m diffenc_jax.report",
        description="All that is known of runs, in one page of HTML that needs nothing else.",
    )
    parser.add_argument("places", type=Path, nargs="+", metavar="WORKDIR", help="of a run, or --root of significance")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="the page (default %(default)s)")
    parser.add_argument("--reference", metavar="ARM", help="what the other arms are compared with (default: the first)")
    parser.add_argument("--difference", type=positive_number, default=DIFFERENCE, help="bits/dim that would matter")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Exit code: 0, or 2 for bad input."""
    arguments = _arguments(argv)
    return run(
        lambda: write(arguments.places, arguments.out, arguments.reference, arguments.difference),
        interrupted="nothing was written",
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Write one page of HTML about runs.

WORKDIR is the workdir of a run, or the --root of `diffenc significance`. The page shows bits/dim by term with standard
errors, differences and, if an arm has several seeds, their significance; curves; the results of all studies, and
samples, or the commands that make them; costs; the configuration compared with the published recipe; images, software
and the commands that were run. The page contains its pictures and needs neither network nor scripts, so it can be sent,
printed and archived. An existing page is replaced, but no other file. No model is built, so the command takes only
seconds.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from diffenc_jax.commands.arguments import add_plugins, location, writable_file
from diffenc_jax.lab.commands.significance import add_difference

EXAMPLE = """\
diffenc report runs/digits-diffenc-seed0 --out=digits.html
diffenc report runs/digits-seeds --out=study.html"""
ON_INTERRUPT = "nothing is written"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("places", type=location, nargs="+", metavar="WORKDIR", help="folder of a run, or of a study")
    add("--out", type=location, default=Path("report.html"), metavar="FILE", help="file for the page")
    reference = "arm to compare the others with (default: that of the study, or else the first)"
    add("--reference", metavar="ARM", help=reference)
    add_difference(parser)
    add_plugins(parser)


def run(arguments: Namespace) -> None:
    from diffenc_jax.core.text import printable
    from diffenc_jax.lab.report.collect import collect
    from diffenc_jax.lab.report.html import MARK
    from diffenc_jax.lab.report.page import make_page
    from diffenc_jax.runs.files import write_text

    places, out = arguments.places, arguments.out
    writable_file("out", str(out), MARK)
    collection = collect(places, arguments.plugins)
    text = make_page(collection, arguments.reference, arguments.difference)
    write_text(out, text)
    for note in collection.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    count = len(collection.runs)
    print(f"{count} run{'s' * (count > 1)} in {out} ({len(text.encode()) / 1e6:.1f} MB)")

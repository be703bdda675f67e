"""Compare evaluations of the same images, with standard errors of their differences.

Reads records of evaluations and their values per image (.npz beside each). The folder of a run stands for the record of
its last evaluated step and, of several, the one with most passes. Prints one row per record, in increasing bits/dim:
its standard errors from the noise and from the images, its difference to the reference, paired by image, and a 95 %
interval of that difference. With three records or more the intervals are simultaneous: all of them hold with
probability 95 %. Records of other images, or of the same images in another order, are refused, and so are records of
different estimators unless --across-estimators is given.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from diffenc_jax.commands.arguments import add_json, place, writable_file

EXAMPLE = "diffenc compare runs/digits-vdm-seed0 runs/digits-diffenc-seed0"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    given = "record of an evaluation, eval/*.json, or folder of a run"
    add("records", nargs="+", type=place, metavar="RECORD", help=given)
    add("--reference", type=place, metavar="RECORD", help="the record to compare with (default: the first)")
    add("--across-estimators", action="store_true", help="compare records of different estimators")
    add_json(parser, "the table")


def run(arguments: Namespace) -> None:
    from diffenc_jax.core.errors import require
    from diffenc_jax.core.terminal import print_table
    from diffenc_jax.lab.comparisons.compare.measure import check_comparable, compare
    from diffenc_jax.lab.comparisons.compare.table import comparison_json, comparison_table, notes
    from diffenc_jax.runs.files import is_folder, write_json
    from diffenc_jax.runs.records import last_record, read_evaluation
    from diffenc_jax.runs.storage import identity

    def file_of(path: Path) -> Path:
        return last_record(path) if is_folder(path) else path

    paths = [file_of(path) for path in arguments.records]
    reference = identity(file_of(arguments.reference) if arguments.reference else paths[0])
    places, output = [identity(path) for path in paths], writable_file("json", arguments.json)
    for path in paths:
        require(places.count(identity(path)) == 1, f"{path} is given twice; give every record once")
    is_free = output is None or identity(output) not in places
    require(is_free, f"--json={output} would replace a record; name another file")
    require(reference in places, f"--reference={arguments.reference} is not among the records; give one of them")
    paths.sort(key=lambda path: identity(path) != reference)  # the reference first
    evaluations = [read_evaluation(path) for path in paths]
    check_comparable(evaluations, arguments.across_estimators)
    rows = compare(evaluations)
    if output is not None:
        write_json(output, comparison_json(rows))
    print_table(comparison_table(rows, with_files=True)._replace(caption=""))
    print("\n".join(notes(rows)))

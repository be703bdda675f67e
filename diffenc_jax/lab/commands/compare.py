"""Compare evaluations of the same images, with standard errors of their differences.

Reads records of evaluations and their values per image (.npz beside each). For the folder of a run, takes the record of
its last evaluated step; if there are several, the record with the most passes. Prints one row per record, in increasing
bits/dim: the standard errors by noise and by images, the difference to the first record, paired by image, and a 95 %
interval of this difference. With three records or more the intervals are simultaneous: all of them hold with
probability 95 %. Records of different images, or of the same images in another order, are refused. Records of different
estimators are refused unless --across-estimators is given.
"""

from argparse import ArgumentParser, Namespace

from etils import epy

from diffenc_jax.commands.options import add_json, location, writable_file
from diffenc_jax.core.errors import require

with epy.lazy_imports():  # help needs none of them
    from diffenc_jax.core import terminal
    from diffenc_jax.lab.comparisons import compare
    from diffenc_jax.runs import files, records, storage, stored

EXAMPLE = "diffenc compare runs/digits-vdm-seed0 runs/digits-diffenc-seed0"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    given = "record of an evaluation, eval/*.json, or folder of a run; the first is the reference"
    add("records", nargs="+", type=location, metavar="RECORD", help=given)
    add("--across-estimators", action="store_true", help="compare records of different estimators")
    add_json(parser, "the table")


def run(arguments: Namespace) -> None:
    output, by_file = writable_file("json", arguments.json), {}  # records by the identity of the file
    for given in arguments.records:
        is_run = files.is_folder(given)
        path, record = stored.StoredRun(given).last_record() if is_run else (given, records.read_record(given))
        require(storage.identity(path) not in by_file, f"{path} is given twice; give every record once")
        by_file[storage.identity(path)] = path, record
    is_free = output is None or storage.identity(output) not in by_file
    require(is_free, f"--json={output} would replace a record; name another file")
    evaluations = [records.read_evaluation(*one) for one in by_file.values()]
    compare.check_comparable(evaluations, arguments.across_estimators)
    rows = compare.compare(evaluations)
    said = [*compare.notes(rows), *compare.cautions(evaluations)]
    if output is not None:
        files.write_json(output, compare.comparison_json(rows, said))
    terminal.print_document(compare.comparison_table(rows, with_files=True)._replace(caption=""))
    print("\n".join(said))

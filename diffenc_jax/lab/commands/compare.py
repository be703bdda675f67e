"""Compare evaluations of the same images, with standard errors of their differences.

Reads records of evaluations and their values per image (.npz beside each). The folder of a run stands for the record of
its last evaluated step and, of several, the one with most passes. Prints one row per record, in increasing bits/dim:
its standard errors from the noise and from the images, its difference to the reference, paired by image, and a 95 %
interval of that difference. With three records or more the intervals are simultaneous: all of them hold with
probability 95 %. Records of other images, or of the same images in another order, are refused, and so are records of
different estimators unless --across-estimators is given.

Records of all parts of the images, joined with '+' as in LEFT+RIGHT, stand for the record of the whole images: the nats
of an image add up. A path that exists as it is given is taken so, also with '+' in its name.
"""

from argparse import ArgumentParser, Namespace
from itertools import chain
from pathlib import Path

from diffenc_jax.commands.arguments import add_json, place, writable_file

EXAMPLE = "diffenc compare runs/digits-vdm-seed0 runs/digits-diffenc-seed0"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    given = "record of an evaluation, eval/*.json, or folder of a run; or those of all parts, joined with '+'"
    add("records", nargs="+", type=_places, metavar="RECORD", help=given)
    add("--reference", type=_places, metavar="RECORD", help="the record to compare with (default: the first)")
    add("--across-estimators", action="store_true", help="compare records of different estimators")
    add_json(parser, "the table")


def run(arguments: Namespace) -> None:
    from diffenc_jax.core.errors import require
    from diffenc_jax.core.terminal import print_table
    from diffenc_jax.lab.comparisons.compare import (
        cautions,
        check_comparable,
        compare,
        comparison_json,
        comparison_table,
        notes,
    )
    from diffenc_jax.lab.comparisons.joined import joined
    from diffenc_jax.runs.files import is_folder, write_json
    from diffenc_jax.runs.records import last_record, read_evaluation
    from diffenc_jax.runs.storage import exists, identity

    def files_of(given: tuple[Path, list[Path]]) -> list[Path]:
        """The record, or those of the parts."""
        typed, parts = given
        paths = parts if len(parts) > 1 and not exists(typed) else [typed]
        return [last_record(path) if is_folder(path) else path for path in paths]

    records: dict[frozenset[Path], list[Path]] = {}  # by the identities of the files
    for files in map(files_of, arguments.records):
        key = frozenset(map(identity, files))
        require(key not in records, f"{'+'.join(map(str, files))} is given twice; give every record once")
        records[key] = files
    output, first = writable_file("json", arguments.json), arguments.reference or arguments.records[0]
    is_free = output is None or identity(output) not in frozenset().union(*records)
    require(is_free, f"--json={output} would replace a record; name another file")
    reference = frozenset(map(identity, files_of(first)))
    require(reference in records, f"--reference={first[0]} is not among the records; give one of them")
    records = {reference: records[reference]} | records  # the reference first
    single = [[read_evaluation(file) for file in files] for files in records.values()]
    evaluations = [*map(joined, single)]
    check_comparable(evaluations, arguments.across_estimators)
    rows = compare(evaluations)
    said = [*notes(rows), *cautions(chain.from_iterable(single))]
    if output is not None:
        write_json(output, comparison_json(rows, said))
    print_table(comparison_table(rows, with_files=True)._replace(caption=""))
    print("\n".join(said))


def _places(text: str) -> tuple[Path, list[Path]]:
    """Argument type: the place as it is typed, and the places that '+' joins; an empty one is none that exists."""
    return place(text), [place(part or text) for part in text.split("+")]

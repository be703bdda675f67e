"""Evaluations side by side, and whether they differ by more than their errors.

python -m diffenc_jax.compare RECORD.json... [--across-estimators] [--json=FILE]

Reads records of evaluations and the values beside them (.npz), and prints a row for each, the best
bits/dim first: its standard errors from the noise and the images, what it exceeds the best by, image
by image, and a 95 % interval of that. What cannot be compared is refused: other images, or the same
in another order; and, unless --across-estimators is given, other estimators.
"""

import argparse
import json
import math
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffenc_jax.commands import run
from diffenc_jax.errors import InputError
from diffenc_jax.stats.uncertainty import StandardErrors, difference, interval, standard_errors

# What a record must hold to be compared.
NEEDED = {
    "step": int,
    "seed": int,
    "arm": str,
    "dataset.name": str,
    "dataset.version": str,
    "dataset.split": str,
    "dataset.num_examples": int,
    "dataset.dims": int,
    "dataset.sha256": str,
    "dataset.sha256_any_order": str,
    "dataset.known_as": dict | None,
    "estimator.kind": str,
    "estimator.passes": int,
    "estimator.replicates": int | None,
    "estimator.seed": int,
    "bpd.total": float,
    "software": dict,
    "device": str,
}
# What makes the noise of two evaluations the same.
NOISE = ("kind", "seed", "passes", "replicates")
# Estimators may differ in these: how much work was done, what came of it, and what only changes the variance.
FREE = {"passes", "replicates", "seed", "time_sampling", "fit"}
# How far the mean of the values may be off the record's total, by rounding.
TOLERANCE = 1e-6
# Columns where the output is no terminal, which has a width of its own.
WIDTH = 200
UNKNOWN = "–"
HEADS = ("arm", "seed", "step", "estimator")
HEADS += ("bits/dim ± noise ± images", "difference ± noise ± images", "95 % interval")


class Evaluation(NamedTuple):
    """A record and its values.

    Attributes:
      path: of the record.
      record: what it holds.
      bits: [passes, images], bits/dim, all terms together.
    """

    path: Path
    record: dict[str, Any]
    bits: np.ndarray

    @property
    def replicates(self) -> int | None:
        """How many independent ones its passes are dealt into; None if into none."""
        return self.record["estimator"]["replicates"]


class Row(NamedTuple):
    """A line of the table; all in bits/dim. What compares with the best is None in its own row.

    Attributes:
      evaluation: that it is about.
      bpd: mean over passes and images.
      error: of it.
      excess: over the best.
      excess_error: of that, paired by image.
      excess_interval: 95 %, from the total error; None for a single image.
      common_noise: whether it has the noise of the best.
    """

    evaluation: Evaluation
    bpd: float
    error: StandardErrors
    excess: float | None = None
    excess_error: StandardErrors | None = None
    excess_interval: tuple[float, float] | None = None
    common_noise: bool | None = None


def read(path: Path) -> Evaluation:
    """The record at `path` and the values beside it.

    Raises:
      InputError: there is none, or its values are missing or others; the message names the file.
    """
    return with_values(path, read_record(path))


def with_values(path: Path, record: dict[str, Any]) -> Evaluation:
    """The `record` at `path` with the values beside it; raises InputError where they are missing or others."""
    bits = _nats(path, record) / (record["dataset"]["dims"] * math.log(2))
    total = record["bpd"]["total"]
    if not np.isclose(bits.mean(), total, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        raise InputError(f"{path} says {total:.6f} bits/dim, its .npz {bits.mean():.6f}; they are of two evaluations")
    return Evaluation(path, record, bits)


def read_record(path: Path) -> dict[str, Any]:
    """The record at `path`; raises InputError where there is none that can be compared."""
    try:
        record = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give a record such as eval/*.json") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); give a record such as eval/*.json") from error
    for key, kind in NEEDED.items():
        if not isinstance(_at(record, key), kind):
            raise InputError(f"{path} is no record that can be compared: it lacks {key}; evaluate anew if it is old")
    estimator, dataset = record["estimator"], record["dataset"]
    passes, replicates = estimator["passes"], estimator["replicates"]
    if min(passes, dataset["num_examples"], dataset["dims"]) < 1:
        raise InputError(f"{path} says that nothing was evaluated: passes, num_examples and dims must be at least 1")
    if replicates is not None and (replicates < 2 or passes % replicates):
        raise InputError(f"{path} says {replicates} replicates of {passes} passes; they must be a divisor above 1")
    return record


def _at(record: Any, key: str) -> Any:
    """The value at a dotted key; Ellipsis, which JSON has not, where there is none."""
    for part in key.split("."):
        if not isinstance(record, dict) or part not in record:
            return ...
        record = record[part]
    return record


def _nats(path: Path, record: dict[str, Any]) -> np.ndarray:
    """[passes, images] of the .npz beside `path`, the record's terms together."""
    values, shape = path.with_suffix(".npz"), (record["estimator"]["passes"], record["dataset"]["num_examples"])
    try:
        with np.load(values, allow_pickle=False) as archive:
            terms = {term: archive[term].astype(np.float64) for term in record["bpd"].keys() - {"total"}}
    except KeyError as error:
        raise InputError(f"{values} lacks a term of {path}: {str(error.args[0]).splitlines()[0]}") from error
    except FileNotFoundError as error:
        raise InputError(f"{values} is missing, the values that {path} comes from; keep both together") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{values} cannot be read as .npz: {str(error).splitlines()[0]}") from error
    for term, nats in terms.items():
        if nats.shape != shape:
            raise InputError(f"{values}: {term} is {list(nats.shape)}, and {path} says {list(shape)}")
    return sum(terms.values(), np.zeros(shape))


def check(evaluations: list[Evaluation], across_estimators: bool) -> None:
    """Raises InputError unless all are of the same images, and of the same estimator if they must be."""
    first = evaluations[0]
    for other in evaluations[1:]:
        names = f"{first.path} and {other.path}"
        if reason := _unlike_images(first.record["dataset"], other.record["dataset"]):
            raise InputError(f"{names} cannot be compared: {reason}")
        unlike = differing(first.record["estimator"], other.record["estimator"])
        if unlike and not across_estimators:
            raise InputError(
                f"{names} are of unlike estimators: {', '.join(unlike)}; give --across-estimators if that is meant"
            )


def _unlike_images(a: dict[str, Any], b: dict[str, Any]) -> str | None:
    """Why the images of two records cannot be paired; None if they can."""
    if all(a[key] == b[key] for key in ("split", "num_examples", "sha256")):
        return None
    if a["sha256_any_order"] == b["sha256_any_order"]:
        if a["split"] != b["split"]:
            return f"they name their split {a['split']!r} and {b['split']!r}; evaluate both under one name"
        return "they hold the same images in another order; evaluate both from the same source"
    return f"they are of different images, {images_of(a)} and {images_of(b)}; evaluate both on the same"


def images_of(dataset: dict[str, Any]) -> str:
    """'Fashion-MNIST, test (10,000 images, sha256 0123456789ab)'."""
    known, details = dataset["known_as"], f"{dataset['num_examples']:,} images, sha256 {dataset['sha256'][:12]}"
    if known is None:
        return f"{dataset['name']} {dataset['version']}, {dataset['split']} ({details})"
    by = ", so called by their number" if known["by"] == "count" else ""
    return f"{known['as']} ({details}{by})"


def method(estimator: dict[str, Any]) -> dict[str, Any]:
    """What decides the value that an estimator tends to with more and more passes."""
    return {key: value for key, value in estimator.items() if key not in FREE}


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """'depth=50 and 100' for each key in which the methods of two estimators differ; their kinds, if those do."""
    a, b = method(a), method(b)
    keys = ["kind"] if a["kind"] != b["kind"] else sorted(a | b)
    return [f"{key}={a.get(key)} and {b.get(key)}" for key in keys if a.get(key) != b.get(key)]


def table(evaluations: list[Evaluation]) -> list[Row]:
    """A row for each, the best bits/dim first and what is no number last."""
    means = [(float(e.bits.mean()), e) for e in evaluations]
    means.sort(key=lambda pair: (math.isnan(pair[0]), pair[0]))
    best = means[0][1]
    return [_row(e, mean, None if e is best else best) for mean, e in means]


def _row(evaluation: Evaluation, bpd: float, best: Evaluation | None) -> Row:
    row = Row(evaluation, bpd, standard_errors(evaluation.bits, evaluation.replicates))
    if best is None:
        return row
    ours, theirs = evaluation.record["estimator"], best.record["estimator"]
    common = all(ours[key] == theirs[key] for key in NOISE)
    excess, error = difference(evaluation.bits, best.bits, evaluation.replicates, best.replicates, common)
    return row._replace(
        excess=excess,
        excess_error=error,
        excess_interval=None if error.total is None else interval(excess, error.total),
        common_noise=common,
    )


def notes(rows: list[Row]) -> list[str]:
    """What must be known to read the table, a line each."""
    evaluations = [row.evaluation for row in rows]
    best = rows[0].evaluation
    lines = [f"images: {images_of(best.record['dataset'])}"]
    if len(rows) > 1:
        apart = [str(row.evaluation.path) for row in rows[1:] if not row.common_noise]
        seed, passes, replicates = (best.record["estimator"][key] for key in NOISE[1:])
        common = f"noise: common to all (seed {seed}, {passes} passes, {replicates or 'no'} replicates)"
        lines.append(f"noise: not that of the first row in {', '.join(apart)}" if apart else common)
    lines.append(
        "± standard errors, of the noise and of the images (– where it cannot be told); "
        "difference to the first row, paired by image, and its 95 % interval over noise and images"
    )
    if any(differing(best.record["estimator"], e.record["estimator"]) for e in evaluations[1:]):
        lines.append(
            "estimators differ: their values are bounds of different tightness, or of different models, "
            "and a difference need not be one of training"
        )
    lines += [f"{name} differs: {text}" for name, text in _environments(evaluations)]
    return lines


def _environments(evaluations: list[Evaluation]) -> list[tuple[str, str]]:
    """(name, '0.10.2 (a.json), 0.11.0 (b.json)') for software and devices that are not the same."""
    records = [{**e.record["software"], "device": e.record["device"]} for e in evaluations]
    differ = []
    for name in sorted(set().union(*records)):
        files: dict[str, list[str]] = {}
        for evaluation, record in zip(evaluations, records, strict=True):
            files.setdefault(str(record.get(name, "none")), []).append(str(evaluation.path))
        if len(files) > 1:
            differ.append((name, ", ".join(f"{value} ({', '.join(paths)})" for value, paths in files.items())))
    return differ


def describe(estimator: dict[str, Any]) -> str:
    """'discrete, depth 50, variance ratio optimal, 64 passes': what says something and is no table."""
    said = {key: value for key, value in method(estimator).items() if not isinstance(value, dict | list | None)}
    if said.get("variance_ratio") == 1:
        del said["variance_ratio"]
    parts = [f"{key.replace('_', ' ')} {value}" for key, value in said.items() if key != "kind"]
    passes = estimator["passes"]
    return ", ".join([estimator["kind"], *parts, f"{passes} pass{'es' if passes > 1 else ''}"])


def show(rows: list[Row]) -> None:
    """Prints the table and the notes."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    shown = Table()
    for name in HEADS:
        figures = name in HEADS[4:]
        shown.add_column(name, justify="right" if figures or name in ("seed", "step") else "left", no_wrap=figures)
    shown.add_column("file", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell) for cell in (*cells(row), str(row.evaluation.path))))
    console.print(shown)
    for line in notes(rows):
        print(line)


def cells(row: Row) -> list[str]:
    """What stands under `HEADS`."""
    record = row.evaluation.record
    run = (record["arm"], record["seed"], record["step"], describe(record["estimator"]))
    return [*map(str, run), *_figures(row)]


def _figures(row: Row) -> tuple[str, str, str]:
    """Bits/dim, difference and interval, as they are printed."""
    bpd = with_errors(row.bpd, row.error)
    if row.excess is None:
        return bpd, "", ""
    ends = UNKNOWN if row.excess_interval is None else "{:.4f} .. {:.4f}".format(*row.excess_interval)
    return bpd, with_errors(row.excess, row.excess_error), ends


def with_errors(value: float, error: StandardErrors) -> str:
    """'1.8912 ± 0.0031 ± 0.0123': of the noise, and of the images."""
    return " ± ".join(UNKNOWN if number is None else f"{number:.4f}" for number in (value, error.noise, error.images))


def write(rows: list[Row], path: Path) -> None:
    """Writes all that the table shows, unrounded, and the notes.

    Raises:
      InputError: it would replace a record, or cannot be written.
    """
    if path.resolve() in {row.evaluation.path.resolve() for row in rows}:
        raise InputError(f"--json={path} would replace a record; name another file")
    entries = []
    for row in rows:
        record = row.evaluation.record
        entry = {"file": str(row.evaluation.path), **{key: record[key] for key in ("arm", "seed", "step", "estimator")}}
        figures = row._asdict() | {"error": row.error._asdict()}
        if row.excess_error is not None:
            figures["excess_error"] = row.excess_error._asdict()
        del figures["evaluation"]
        entries.append(entry | figures)
    text = json.dumps(
        {"dataset": rows[0].evaluation.record["dataset"], "rows": entries, "notes": notes(rows)}, indent=1
    )
    try:
        path.write_text(text + "\n")
    except OSError as error:
        raise InputError(f"--json={path} cannot be written: {error.strerror}") from error


def compare(paths: list[Path], across_estimators: bool = False) -> list[Row]:
    """The table of the records at `paths`.

    Raises:
      InputError: one cannot be read, is given twice or cannot be compared with the others.
    """
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise InputError(f"{path} is given twice; give every record once")
        seen.add(path.resolve())
    evaluations = [read(path) for path in paths]
    check(evaluations, across_estimators)
    return table(evaluations)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m diffenc_jax.compare",
        description="Evaluations of the same images side by side, with the errors of their differences.",
    )
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD", help="eval/*.json of a workdir")
    parser.add_argument("--across-estimators", action="store_true", help="compare them though their estimators differ")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too, unrounded")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Exit code: 0, or 2 for bad input."""
    arguments = _arguments(argv)

    def body():
        rows = compare(arguments.records, arguments.across_estimators)
        if arguments.json:
            write(rows, arguments.json)
        show(rows)

    return run(body, interrupted="nothing was written")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

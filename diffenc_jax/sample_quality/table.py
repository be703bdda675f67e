"""What is printed of a record: a line for each figure of the samples, beside that of real images."""

from typing import Any, NamedTuple

WIDTH = 120
LEGEND = """\
distances and differences of pixels are in levels; differences, Fréchet's, density and coverage are to test images
copying test: below -3, samples lie nearer to training images than unseen images do; above 3, farther off
p: of a difference as large, if samples and real images were of one distribution
density: around how many test images a sample lies; coverage: test images that have a sample around them"""


class Row(NamedTuple):
    """A figure of the samples, the same of real images, and which these are."""

    what: str
    samples: str
    real: str
    which: str


def rows(record: dict[str, Any]) -> list[Row]:
    """Of a record of `measure`; what is off has none."""
    found = _neighbours(record["neighbours"]) + _pixels(record["pixels"])
    found += _distances(record["principal_components"], "principal components")
    if "off" not in record["classes"]:
        found += _classes(record["classes"])
    if "off" not in record["fid"]:
        counts = record["fid"]["counts"]
        what = "FID, {samples:,} samples, {unseen:,} test to {train:,} train"
        found.append(_row(what.format(**counts), record["fid"], "test", "unseen"))
    return found


def _neighbours(record: dict[str, Any]) -> list[Row]:
    distance, copying = record["distance"], record["copying"]
    low, median = ({of: distance[of][at] for of in distance} for at in ("0.05", "0.5"))
    return [
        _row("nearest training image, median", median, "test", "unseen"),
        _row("  5 % are nearer than", low, "test", "unseen"),
        _row("  nearer than 95 % of test", record["near"], "test", "unseen", percent=True),
        _row("  copies", record["copies"], "test", "unseen", percent=True),
        Row("  copying test, z", f"{copying['statistic']:.1f} (p {copying['p_two_sided']:.2g})", "0", ""),
    ]


def _pixels(record: dict[str, Any]) -> list[Row]:
    apart = record["differences"]
    names = {"means": "pixel means", "deviations": "pixel deviations", "histograms": "pixel histograms"}
    found = [
        _row(f"{name}, difference", {of: apart[of][key] for of in apart}, "train", "train")
        for key, name in names.items()
    ]
    ours, theirs = record["correlations"]["samples"], record["correlations"]["unseen"]
    for axis in ours:
        cells = (f"{of[axis]['value']:.3f} ± {of[axis]['error']:.3f}" for of in (ours, theirs))
        found.append(Row(f"correlation, {axis}", *cells, "test"))
    return found


def _distances(record: dict[str, Any], space: str) -> list[Row]:
    ours, theirs = f"{record['frechet']:.3g} (p {record['p_farther']:.2g})", f"{record['frechet_train']:.3g}"
    found = [Row(f"Fréchet, {record['dims']} {space}", ours, theirs, "train")]
    for name in ("density", "coverage"):
        values = {"samples": record["overlap"][name], "train": record["overlap_train"][name]}
        found.append(_row(f"  {name}", values, "train", "train"))
    return found


def _classes(record: dict[str, Any]) -> list[Row]:
    shares = [" ".join(f"{100 * share:.0f}" for share in record[key]) for key in ("shares", "shares_unseen")]
    confidence, z = record["confidence"], record["confident"]["statistic"]
    return [
        Row("classifier's accuracy", "", f"{100 * record['accuracy']:.1f} %", "test"),
        Row("  classes, %", f"{shares[0]} (p {record['p_shares']:.2g})", shares[1], "test"),
        Row("  confidence", f"{confidence:.3f} (z {z:.1f})", f"{record['confidence_unseen']:.3f}", "test"),
        *_distances(record["logits"], "logits"),
    ]


def _row(what: str, values: dict[str, float], which: str, key: str, percent: bool = False) -> Row:
    cells = (f"{100 * values[of]:.1f} %" if percent else f"{values[of]:.3g}" for of in ("samples", key))
    return Row(what, *cells, which)


def show(record: dict[str, Any]) -> None:
    """Prints the table, what is off, and how to read it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    train, test = record["dataset"]
    title = f"{record['samples']['count']:,} samples of {train['name']}"
    title += f" ({train['num_examples']:,} training images, {test['num_examples']:,} test images)"
    shown = Table(title=Text(title), title_justify="left")
    for name in ("", "samples", "real", "which are"):
        shown.add_column(name, justify="right" if name in ("samples", "real") else "left")
    for row in rows(record):
        shown.add_row(*map(Text, row))
    console.print(shown)
    for part in ("classes", "fid"):
        if "off" in record[part]:
            print(f"{'FID' if part == 'fid' else part}: off, {record[part]['off']}")
    print(LEGEND)

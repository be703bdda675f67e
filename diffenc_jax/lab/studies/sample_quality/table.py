"""The table of a record: a row per number of the samples, beside that of real images."""

from typing import Any

from diffenc_jax.core.document import Table

LEGEND = """\
distances and differences of pixels are in levels; differences, Fréchet's, density and coverage are to test images
copying test: below -3, samples lie nearer to training images than unseen images do; above 3, farther away
p: probability of a difference as large if samples and real images had one distribution
density: number of test images around a sample; coverage: fraction of test images with a sample around them"""
# A name, its value for the samples, its value for real images, and their split.
Row = tuple[str, str, str, str]
# Names of the values of real images in a record, by the split of these images.
REAL = {"test": "unseen", "train": "train"}


def quality_table(record: dict[str, Any]) -> Table:
    """The table of a record of `measure_quality`."""
    train, test = record["dataset"]
    caption = f"{record['samples']['count']:,} samples of {train['name']}"
    caption += f" ({train['num_examples']:,} training images, {test['num_examples']:,} test images)"
    return Table(["", "samples", "real images", "split"], _rows(record), caption)


def notes(record: dict[str, Any]) -> list[str]:
    """One line per part that could not be measured, and the legend."""
    names = {"classes": "classes", "fid": "FID"}
    missing = [f"{name}: off, {record[part]['off']}" for part, name in names.items() if "off" in record[part]]
    return [*missing, LEGEND]


def _rows(record: dict[str, Any]) -> list[Row]:
    found = _neighbours(record["neighbours"]) + _pixels(record["pixels"])
    found += _distances(record["principal_components"], "principal components")
    if "off" not in record["classes"]:
        found += _classes(record["classes"])
    if "off" not in record["fid"]:
        counts = record["fid"]["counts"]
        name = "FID, {samples:,} samples, {unseen:,} test to {train:,} train"
        found.append(_row(name.format(**counts), record["fid"], "test"))
    return found


def _neighbours(record: dict[str, Any]) -> list[Row]:
    distance, copying = record["distance"], record["copying"]
    low, median = ({name: quantiles[q] for name, quantiles in distance.items()} for q in ("0.05", "0.5"))
    return [
        _row("nearest training image, median", median, "test"),
        _row("  5 % are nearer than", low, "test"),
        _row("  nearer than 95 % of test", record["near"], "test", percent=True),
        _row("  copies", record["copies"], "test", percent=True),
        ("  copying test, z", f"{copying['statistic']:.1f} (p {copying['p_two_sided']:.2g})", "0", ""),
    ]


def _pixels(record: dict[str, Any]) -> list[Row]:
    found = []
    for key in ("means", "deviations", "histograms"):
        values = {name: differences[key] for name, differences in record["differences"].items()}
        found.append(_row(f"pixel {key}, difference", values, "train"))
    ours, theirs = record["correlations"]["samples"], record["correlations"]["unseen"]
    for axis in ours:
        cells = (f"{images[axis]['value']:.3f} ± {images[axis]['error']:.3f}" for images in (ours, theirs))
        found.append((f"correlation, {axis}", *cells, "test"))
    return found


def _distances(record: dict[str, Any], space: str) -> list[Row]:
    ours, theirs = f"{record['frechet']:.3g} (p {record['p_farther']:.2g})", f"{record['frechet_train']:.3g}"
    found = [(f"Fréchet, {record['dims']} {space}", ours, theirs, "train")]
    for name in ("density", "coverage"):
        values = {"samples": record["overlap"][name], "train": record["overlap_train"][name]}
        found.append(_row(f"  {name}", values, "train"))
    return found


def _classes(record: dict[str, Any]) -> list[Row]:
    shares = [" ".join(f"{100 * share:.0f}" for share in record[key]) for key in ("shares", "shares_unseen")]
    confidence, z = record["confidence"], record["confident"]["statistic"]
    return [
        ("classifier's accuracy", "", f"{100 * record['accuracy']:.1f} %", "test"),
        ("  classes, %", f"{shares[0]} (p {record['p_shares']:.2g})", shares[1], "test"),
        ("  confidence", f"{confidence:.3f} (z {z:.1f})", f"{record['confidence_unseen']:.3f}", "test"),
        *_distances(record["logits"], "logits"),
    ]


def _row(name: str, values: dict[str, float], split: str, percent: bool = False) -> Row:
    pair = values["samples"], values[REAL[split]]
    return name, *(f"{100 * value:.1f} %" if percent else f"{value:.3g}" for value in pair), split

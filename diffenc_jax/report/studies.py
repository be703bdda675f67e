"""What other commands left in workdirs: bits by time, the depth study, samples, figures of the encoder."""

import re
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, NamedTuple

from diffenc_jax import depth_study, loss_by_time
from diffenc_jax.compare import UNKNOWN
from diffenc_jax.document import Code, Items, Section, Table, Text
from diffenc_jax.encoder_study import table as encoder_table
from diffenc_jax.errors import InputError
from diffenc_jax.report import commands, figures
from diffenc_jax.report.collect import Collection, Run

# More lines than these are not told apart.
MOST_LINES = 7
# What the encoder's figures show, by the end of their names.
ENCODER_FIGURES = {
    "x_t": "the encoded images x_t at several noise levels",
    "difference": "what the encoder changes, x_t - x, at several noise levels",
    "derivative": "the derivative of x_t in γ, at several noise levels",
    "curves": "how far x_t and its derivative go, by noise level",
    "mean": "what the encoder changes on average",
}
# What pictures of samples that are no grids of them show, by what their names hold.
SAMPLE_FIGURES = {
    "-from-": ("Test images, and below them what is drawn anew from each at several times,", "Drawn anew from z_t:"),
    "-quality": (
        "Distances to training images, and samples above the nearest of those,",
        "Samples beside training images:",
    ),
}


class Shown(NamedTuple):
    """A picture in a file; `pixels`: see `figures.of_file`."""

    path: Path
    alt: str
    caption: str
    pixels: bool


def newest(folder: Path, ending: str) -> dict[str, Path]:
    """The files '<split>-<step><ending>' of the last step there, by split."""
    found = {}
    for path in folder.glob(f"*{ending}"):
        if match := re.fullmatch(rf"(.+)-(\d+){re.escape(ending)}", path.name):
            found.setdefault(match[1], {})[int(match[2])] = path
    return {split: steps[max(steps)] for split, steps in found.items()}


def _tables(
    runs: list[Run], folder: str, read: Callable[[Path], list[dict[str, Any]]]
) -> tuple[dict[Path, tuple[Path, list[dict[str, Any]]]], list[Text]]:
    """The newest table of each run that has one, (its path, its rows) by workdir; and what cannot be read."""
    found, notes = {}, []
    for run in runs:
        paths = newest(run.workdir / folder, ".csv")
        path = paths.get(run.config.eval.split) or next(iter(paths.values()), None)
        if path is None:
            continue
        try:
            found[run.workdir] = path, read(path)
        except InputError as error:
            notes.append(Text(str(error)))
    return found, notes


def by_time(collection: Collection) -> Section:
    """Where along the path the bits are."""
    runs = collection.runs if len(collection.runs) <= MOST_LINES else list(collection.first_of_groups.values())
    found, notes = _tables(runs, loss_by_time.FOLDER, loss_by_time.read)
    blocks: list[Any] = [*notes]
    if found:
        named = {collection.names[place]: rows for place, (_, rows) in found.items()}
        labels = {f"{name}: {_area(rows):.3f} bits/dim": rows for name, rows in named.items()}
        looked = sorted({path.stem.rpartition("-")[::2] for path, _ in found.values()})
        title = "; ".join(f"{split}, step {step}" for split, step in looked)
        told = "; ".join(f"{name}: {_told(rows)}" for name, rows in named.items())
        picture = figures.of_figure(
            loss_by_time.draw(labels, "area", title),
            f"Curves against γ = -log SNR of the diffusion loss, and of the errors that it is made of. {told}.",
            "The diffusion loss a unit of γ, whose area is the bound's diffusion term, and the squared errors a "
            "dimension of the velocity and, with an encoder, of its drift; bands of two standard errors over images.",
        )
        bits = {name: [_area(rows), *_quarters(rows)] for name, rows in named.items()}
        quarters = [[name, *map("{:.4f}".format, values)] for name, values in bits.items()]
        heads = ["run", "area", *(f"t in {i / 4:g} .. {(i + 1) / 4:g}" for i in range(4))]
        blocks += [picture, Table(heads, quarters, "Diffusion loss by quarter of t, bits/dim; they add up to the area")]
    if without := _without(collection, found):
        command = commands.of_package("loss_by_time", *(run.workdir for run in without))
        blocks += [Text(f"No loss by time yet of {_listed(without)}:"), Code(command)]
    return Section("Bits by time", blocks)


def _without(collection: Collection, found: Container[Path]) -> list[Run]:
    """The first run of each group of which none is among those `found`."""
    return [runs[0] for runs in collection.groups.values() if not any(run.workdir in found for run in runs)]


def _area(rows: list[dict[str, float]]) -> float:
    return sum(row["diffusion"] * row["gamma_width"] for row in rows)


def _quarters(rows: list[dict[str, float]]) -> list[float]:
    """The area of each quarter of t, whose cells are equal parts of [0, 1]."""
    quarters = [0.0] * 4
    for row in rows:
        quarters[min(3, int(4 * row["t"]))] += row["diffusion"] * row["gamma_width"]
    return quarters


def _told(rows: list[dict[str, float]]) -> str:
    peak = max(rows, key=lambda row: row["diffusion"])
    return f"{_area(rows):.4f} bits/dim in all, most at γ = {peak['gamma']:.2f} ({peak['diffusion']:.3f} a unit of γ)"


def depth(collection: Collection) -> Section:
    """What a finite depth costs."""
    found, notes = _tables(collection.runs, depth_study.FOLDER, depth_study.read)
    blocks: list[Any] = [*notes]
    for run in collection.runs:
        if run.workdir in found:
            path, rows = found[run.workdir]
            blocks += _depth(collection.names[run.workdir], path.stem, rows)
    if without := _without(collection, found):
        lines = "\n".join(commands.of_package("depth_study", run.workdir) for run in without)
        blocks += [Text(f"No depth study yet of {_listed(without)}:"), Code(lines)]
    return Section("Finite depth", blocks)


def _depth(name: str, stem: str, rows: list[dict[str, Any]]) -> list[Any]:
    last = rows[-1]
    alt = (
        f"Bits/dim of {name} above infinite depth ({rows[0]['bpd']:.4f}) against the number of steps, a line each for "
        f"{', '.join(depth_study.CHOICES)}; at {last['depth']} steps {last['excess']:.4f} are left with both."
    )
    heads, caption = ["depth", *depth_study.CHOICES], f"{name}: {depth_study.CELLS}"
    picture = figures.of_figure(depth_study.draw(rows, f"{name}: {stem}"), alt, f"{name}: what a finite depth costs.")
    return [picture, Table(heads, [[cell.strip() for cell in line] for line in depth_study.cells(rows)], caption)]


def samples(collection: Collection) -> Section:
    """The newest pictures of samples, of the first run of each group: grids of them first."""

    def pictures(run: Run) -> list[Shown]:
        found: dict[int, list[Path]] = {}
        for path in sorted((run.workdir / "samples").glob("*.png")):
            step = path.name.split("-")[0]
            found.setdefault(int(step) if step.isdecimal() else -1, []).append(path)
        shown = [_sample_picture(run, path) for path in found.get(max(found, default=-1), [])]
        return sorted(shown, key=lambda picture: not picture.pixels)

    missing = "No samples yet", lambda run: f"{commands.train(run)} --mode=sample"
    return _gallery("Samples", collection, list(collection.first_of_groups.values()), pictures, missing)


def _sample_picture(run: Run, path: Path) -> Shown:
    text = f"{run.title}: {path.stem}"
    for mark, (alt, caption) in SAMPLE_FIGURES.items():
        if mark in path.stem:
            return Shown(path, f"{alt} {text}", f"{caption} {text}", pixels=False)
    return Shown(path, f"A grid of images drawn from {text}", f"Samples of {text}", pixels=True)


def encoder(collection: Collection) -> Section | None:
    """What the encoders do, of the first run of each group; None where no run has one that does anything."""
    encoders = [run for run in collection.first_of_groups.values() if run.config.model.encoder.kind != "identity"]
    if not encoders:
        return None

    def pictures(run: Run) -> list[Shown]:
        told = []
        for path in sorted((run.workdir / encoder_table.FOLDER).glob("*.png")):
            shows = next((text for end, text in ENCODER_FIGURES.items() if path.stem.endswith(f"-{end}")), "figure")
            alt, caption = f"Encoder of {run.title} ({path.stem}): {shows}", f"{run.title}, {path.stem}: {shows}."
            told.append(Shown(path, alt, caption, pixels=False))
        return told

    missing = "No figures of the encoder yet", lambda run: commands.of_package(encoder_table.FOLDER, run.workdir)
    title, blocks = _gallery("Encoder", collection, encoders, pictures, missing)
    return Section(title, [*blocks, *(block for run in encoders for block in _switched_off(run))])


def _switched_off(run: Run) -> list[Any]:
    """The run's bound with other encoders in the place of its own, if that was looked at."""
    paths = newest(run.workdir / encoder_table.FOLDER, "-off.json")
    path = paths.get(run.config.eval.split) or next(iter(paths.values()), None)
    if path is None:
        return []
    try:
        found = encoder_table.read(path)
    except InputError as error:
        return [Text(str(error))]
    caption = f"{run.title}, with other encoders in the place of its own: {encoder_table.CAPTION}"
    return [Table(*encoder_table.cells(found), caption), Items(encoder_table.meanings(found))]


def _gallery(
    title: str,
    collection: Collection,
    runs: list[Run],
    pictures: Callable[[Run], list[Shown]],
    missing: tuple[str, Callable[[Run], str]],
) -> Section:
    """The `pictures` of each of `runs`.

    Args:
      missing: what is said of runs that have none, and the command that makes them.
    """
    blocks: list[Any] = []
    without = []
    for run in runs:
        shown = pictures(run)
        for picture in shown:
            try:
                blocks.append(figures.of_file(*picture))
            except InputError as error:
                blocks.append(Text(str(error)))
        if not shown:
            without.append(run)
    if len(runs) < len(collection.runs) and blocks:
        blocks.insert(0, Text("Of the first run of each arm; those of the others are in their workdirs."))
    if without:
        what, command = missing
        blocks += [Text(f"{what} of {_listed(without)}:"), Code("\n".join(map(command, without)))]
    return Section(title, blocks)


def _listed(runs: list[Run]) -> str:
    return ", ".join(run.title for run in runs) or UNKNOWN

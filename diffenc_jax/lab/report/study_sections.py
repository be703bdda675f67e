"""Results of other commands in the workdirs: loss by time, depth study, rates, samples, and the encoder study."""

import re
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffenc_jax.core.document import Items, Section, Table, Text
from diffenc_jax.core.errors import InputError
from diffenc_jax.core.numbers import format_number
from diffenc_jax.lab.report.collect import Collection, Run
from diffenc_jax.lab.report.command_lines import command_line, not_made_yet, run_line
from diffenc_jax.lab.report.embedded import Picture, embed_figure, embed_file
from diffenc_jax.lab.studies.by_time import table as by_time
from diffenc_jax.lab.studies.by_time.figure import Curve, draw_curves
from diffenc_jax.lab.studies.depth import table as depth
from diffenc_jax.lab.studies.depth.figure import draw_excess
from diffenc_jax.lab.studies.encoder import balance
from diffenc_jax.lab.studies.encoder import table as encoder
from diffenc_jax.lab.studies.outputs import data_title
from diffenc_jax.lab.studies.rate_distortion import table as rate_distortion
from diffenc_jax.lab.studies.sample_quality import table as sample_quality
from diffenc_jax.runs.files import list_paths, read_json

# The largest number of lines that remain distinguishable in one panel.
MAX_LINES = 7
# Content of the encoder's figures, by the end of their names, in the order of the page.
ENCODER_FIGURES = {
    "x_t": "the encoded images x_t at several noise levels",
    "difference": "the encoder's changes, x_t - x, at several noise levels",
    "derivative": "the derivative of x_t in γ, at several noise levels",
    "curves": "the size of x_t - x and of the derivative, by noise level",
    "mean": "the encoder's changes on average",
    "price": "the price of the encoder's drift, by noise level",
}
# Content of the pictures of rate and distortion, by the end of their names.
RATE_FIGURES = {
    "": "the error of the image shown, RMSE and PSNR, against the bits/dim that have been received",
    "-images": "test images, and below them the images shown at five rates",
}
# Description and caption of pictures of samples, by a part of their names; all others are grids of samples.
SAMPLE_FIGURES = {
    "-path": ("A film of images on their way from noise, z, with the model's estimates x̂,", "From noise to images:"),
    "-from-": ("Test images, and below them images drawn again from each at several times,", "Drawn again from z_t:"),
    "-quality": (
        "Distances to training images, and samples above the nearest of those,",
        "Samples beside training images:",
    ),
    "": ("A grid of images drawn from", "Samples of"),
}
Rows = list[dict[str, Any]]


class _File(NamedTuple):
    """A file of a study, and the data that it is about: 'digits (test), step 1500'."""

    path: Path
    data: str


def _newest_file(run: Run, folder: str, ending: str) -> _File | None:
    """The file '<split>-<step><ending>' of the last step in a folder, if possible of the split to evaluate on."""
    found = {}
    for path in list_paths(run.workdir / folder, f"*{ending}"):
        if match := re.fullmatch(rf"(.+)-(\d+){re.escape(ending)}", path.name):
            split, step = match[1], int(match[2])
            found[split == run.config.eval.split, step, split] = _File(path, _data(run, split, step))
    return found[max(found)] if found else None


def _data(run: Run, split: str, step: int | str) -> str:
    return data_title(run.config.data.source, split, step)


def _read_tables(
    runs: Sequence[Run], folder: str, read_table: Callable[[Path], Rows]
) -> tuple[dict[Path, tuple[str, Rows]], list[Text]]:
    """The newest table of each run that has one, (the data that it is about, its rows) by workdir; and the errors."""
    found, errors = {}, []
    for run in runs:
        if file := _newest_file(run, folder, ".csv"):
            try:
                found[run.workdir] = file.data, read_table(file.path)
            except InputError as error:
                errors.append(Text(str(error)))
    return found, errors


def loss_by_time_section(collection: Collection) -> Section:
    """The diffusion loss by time."""
    runs = collection.runs if len(collection.runs) <= MAX_LINES else list(collection.first_of_groups.values())
    found, errors = _read_tables(runs, by_time.FOLDER, by_time.read_table)
    blocks: list[Any] = [*errors]
    if found:
        named = {collection.names[workdir]: (rows, _quarters(rows)) for workdir, (_, rows) in found.items()}
        title = "; ".join(sorted({data for data, _ in found.values()}))
        summaries = "; ".join(f"{name}: {_summary(rows)}" for name, (rows, _) in named.items())
        arms = [run.config.arm for run in runs if run.workdir in found]
        curves = [
            Curve(f"{name}: {sum(quarters):.3f} bits/dim", arm, rows)
            for arm, (name, (rows, quarters)) in zip(arms, named.items(), strict=True)
        ]
        picture = embed_figure(
            draw_curves(curves, "area of the diffusion loss", title),
            f"Curves of the diffusion loss, and of the errors it consists of, against γ = -log SNR. {summaries}.",
            "The diffusion loss per unit of γ, whose area is the diffusion term of the bound, and the squared errors "
            "per dimension of the velocity and, with an encoder, of its drift; bands of two standard errors over "
            "images.",
        )
        table = [[name, *map(format_number, (sum(quarters), *quarters))] for name, (_, quarters) in named.items()]
        heads = ["run", "area", *(f"t in {i / 4:g} .. {(i + 1) / 4:g}" for i in range(4))]
        blocks += [picture, Table(heads, table, "Diffusion loss by quarter of t, bits/dim; they add up to the area")]
    without = _without(collection, found)
    line = command_line("loss-by-time", *(run.workdir for run in without))
    blocks += not_made_yet("loss by time", without, [line])
    return Section("Bits by time", blocks)


def _without(collection: Collection, found: Container[Path]) -> list[Run]:
    """The first run of each group of which no run is in `found`."""
    return [runs[0] for runs in collection.groups.values() if not any(run.workdir in found for run in runs)]


def _quarters(rows: Rows) -> list[float]:
    """The area of each quarter of t, whose cells are equal parts of [0, 1]."""
    quarters = [0.0] * 4
    for row in rows:
        quarters[min(3, int(4 * row["t"]))] += row["diffusion"] * row["gamma_width"]
    return quarters


def _summary(rows: Rows) -> str:
    peak = max(rows, key=lambda row: row["diffusion"])
    where = f"highest at γ = {peak['gamma']:.2f} ({peak['diffusion']:.3f} per unit of γ)"
    return f"{sum(_quarters(rows)):.4f} bits/dim in total, {where}"


def depth_section(collection: Collection) -> Section:
    """The cost of a finite depth."""
    found, errors = _read_tables(collection.runs, depth.FOLDER, depth.read_table)
    blocks: list[Any] = [*errors]
    for workdir, (data, rows) in found.items():
        name, last = f"{collection.names[workdir]} on {data}", rows[-1]
        alt = (
            f"Bits/dim of {name} above infinite depth ({rows[0]['bpd']:.4f}) against the number of steps, a line each "
            f"per variance ratio and times; at {last['depth']} steps {last['excess']:.4f} remain with {last['choice']}."
        )
        caption = f"{name}: the cost of a finite depth; bars: ±2 standard errors, paired by image."
        blocks += [embed_figure(draw_excess(rows, name), alt, caption), *depth.depth_tables(rows, name)]
    without = _without(collection, found)
    blocks += not_made_yet("depth study", without, (command_line("depth-study", run.workdir) for run in without))
    return Section("Finite depth", blocks)


def rate_section(collection: Collection) -> Section:
    """Rate and distortion of the first run of each group."""

    def pictures(run: Run) -> Iterator[Picture | Text]:
        for ending, what in RATE_FIGURES.items():
            if file := _newest_file(run, rate_distortion.FOLDER, f"{ending}.png"):
                title = f"{run.title} on {file.data}"
                yield _picture(file.path, f"Rate and distortion of {title}: {what}", f"{title}: {what}.")

    line = lambda run: command_line("rate-distortion", run.workdir)  # noqa: E731
    runs = list(collection.first_of_groups.values())
    return Section("Rate and distortion", _gallery(collection, runs, pictures, "rate and distortion", line))


def samples_section(collection: Collection) -> Section:
    """The newest pictures of samples of the first run of each group, grids first, and their quality in numbers."""

    def pictures(run: Run) -> Iterator[Picture | Text | Table]:
        found: dict[int, list[tuple[str, Path]]] = {}
        for path in (path for kind in ("*.png", "*.gif") for path in list_paths(run.workdir / "samples", kind)):
            step, mark = path.name.split("-")[0], next(mark for mark in SAMPLE_FIGURES if mark in path.stem)
            found.setdefault(int(step) if step.isdecimal() else -1, []).append((mark, path))
        for mark, path in sorted(found.get(max(found, default=-1), []), key=lambda pair: pair[0] != ""):
            step, _, settings = path.stem.partition("-")
            title = f"{run.title}, step {step} ({settings.replace('-', ', ')})"
            alt, caption = (f"{text} {title}" for text in SAMPLE_FIGURES[mark])
            yield _picture(path, alt, caption, pixels=mark == "")
            if mark == "-quality":
                yield _quality(path.with_suffix(".json"), title)

    runs = list(collection.first_of_groups.values())
    return Section("Samples", _gallery(collection, runs, pictures, "samples", lambda run: run_line("sample", run)))


def _quality(path: Path, title: str) -> Table | Text:
    """The table of `diffenc sample-quality` from its record, or the reason why it cannot be read."""
    try:
        return sample_quality.quality_table(read_json(path))._replace(caption=f"Quality of samples of {title}")
    except InputError as error:
        return Text(str(error))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return Text(f"{path} is not a record of `diffenc sample-quality`; run it again")


def encoder_section(collection: Collection) -> Section | None:
    """Effects of the encoders of the first run of each group; None if all encoders are the identity."""
    runs = [run for run in collection.first_of_groups.values() if run.config.model.encoder.kind != "identity"]
    if not runs:
        return None

    def pictures(run: Run) -> Iterator[Picture | Text]:
        for name, what in ENCODER_FIGURES.items():
            for path in list_paths(run.workdir / encoder.FOLDER, f"*-{name}.png"):
                if match := re.fullmatch(rf"(.+)-(\d+)-{name}", path.stem):
                    title = f"{run.title} on {_data(run, match[1], match[2])}"
                    yield _picture(path, f"Encoder of {title}: {what}", f"{title}: {what}.")

    line = lambda run: command_line("encoder-study", run.workdir)  # noqa: E731
    blocks = _gallery(collection, runs, pictures, "figures of the encoder", line)
    return Section("Encoder", [*blocks, *(block for run in runs for block in (*_other_encoders(run), *_price(run)))])


def _other_encoders(run: Run) -> list[Any]:
    """The bound of a run with other encoders in place of its own, if the encoder study has evaluated it."""

    def blocks(path: Path) -> list[Any]:
        bounds = encoder.read_bounds(path)
        caption = f"{run.title}, with other encoders in place of its own: {encoder.CAPTION}"
        return [encoder.bounds_table(bounds)._replace(caption=caption), Items(encoder.meanings(bounds))]

    return _read_newest(run, "-off.json", blocks)


def _price(run: Run) -> list[Any]:
    """The price of the drift of a run's encoder and what its end terms win, if the encoder study has measured them."""

    def blocks(path: Path) -> list[Any]:
        found = balance.read_balance(path)
        tables = [balance.price_table(found), balance.ends_table(found)]
        named = [table._replace(caption=f"{run.title}: {table.caption}") for table in tables]
        return [*named, Text(f"{run.title}: {balance.summary(found)}.")]

    return _read_newest(run, "-price.json", blocks)


def _read_newest(run: Run, ending: str, blocks: Callable[[Path], list[Any]]) -> list[Any]:
    """The blocks of the encoder study's newest file with this ending, or why it cannot be read; none without one."""
    file = _newest_file(run, encoder.FOLDER, ending)
    try:
        return [] if file is None else blocks(file.path)
    except InputError as error:
        return [Text(str(error))]


def _picture(path: Path, alt: str, caption: str, pixels: bool = False) -> Picture | Text:
    """Picture of a file, or the reason why it cannot be read; `pixels`: see `Picture`."""
    try:
        return embed_file(path, alt, caption, pixels)
    except InputError as error:
        return Text(str(error))


def _gallery(
    collection: Collection,
    runs: Sequence[Run],
    pictures: Callable[[Run], Iterator[Picture | Text | Table]],
    what: str,
    line: Callable[[Run], str],
) -> list[Any]:
    """The pictures of `runs`; for runs without any that `what` is missing, and the command `line` that makes it."""
    found = [(run, list(pictures(run))) for run in runs]
    blocks: list[Any] = [block for _, shown in found for block in shown]
    if len(runs) < len(collection.runs) and blocks:
        blocks.insert(0, Text("These are of the first run of each arm; the pictures of others are in their workdirs."))
    without = [run for run, shown in found if not shown]
    return blocks + not_made_yet(what, without, map(line, without))

"""The newest pictures of samples of the first run of each group."""

from collections.abc import Iterator
from pathlib import Path

from diffenc_jax.core.document import Section, Text
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.report.collect import Collection, Run
from diffenc_jax.lab.report.command_lines import not_made_yet, run_line
from diffenc_jax.lab.report.embedded import Picture, embed_file
from diffenc_jax.runs.files import list_paths

# Description and caption of pictures of samples, by a part of their names; all others are grids of samples.
KINDS = {
    "-path": ("A film of images on their way from noise, z, with the model's estimates x̂,", "From noise to images:"),
    "-from-": ("Test images, and below them images drawn again from each at several times,", "Drawn again from z_t:"),
    "": ("A grid of images drawn from", "Samples of"),
}


def samples_section(collection: Collection) -> Section:
    """The newest pictures of samples of the first run of each group, grids first."""
    found = [(run, list(_pictures(run))) for run in collection.first_of_groups.values()]
    without = [run for run, shown in found if not shown]
    missing = not_made_yet("samples", without, (run_line("sample", run) for run in without))
    return Section("Samples", [*(block for _, shown in found for block in shown), *missing])


def _pictures(run: Run) -> Iterator[Picture | Text]:
    found: dict[int, list[tuple[str, Path]]] = {}
    for path in (path for kind in ("*.png", "*.gif") for path in list_paths(run.workdir / "samples", kind)):
        step, mark = path.name.split("-")[0], next(mark for mark in KINDS if mark in path.stem)
        found.setdefault(int(step) if step.isdecimal() else -1, []).append((mark, path))
    for mark, path in sorted(found.get(max(found, default=-1), []), key=lambda pair: pair[0] != ""):
        step, _, settings = path.stem.partition("-")
        title = f"{run.title}, step {step} ({settings.replace('-', ', ')})"
        alt, caption = (f"{text} {title}" for text in KINDS[mark])
        try:
            yield embed_file(path, alt, caption, pixels=mark == "")
        except InputError as error:
            yield Text(str(error))

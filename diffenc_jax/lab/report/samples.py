"""The newest pictures of samples of the first run of each group."""

from collections.abc import Iterator
from pathlib import Path

from diffenc_jax.core.document import Section, Text
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.report.collect import Collection, Run
from diffenc_jax.lab.report.command_lines import not_made_yet, run_line
from diffenc_jax.lab.report.embedded import Picture, embed_file
from diffenc_jax.runs.files import list_paths


def samples_section(collection: Collection) -> Section:
    """The newest pictures of samples of the first run of each group."""
    found = [(run, list(_pictures(run))) for run in collection.first_of_groups.values()]
    without = [run for run, shown in found if not shown]
    missing = not_made_yet("samples", without, (run_line("sample", run) for run in without))
    return Section("Samples", [*(block for _, shown in found for block in shown), *missing])


def _pictures(run: Run) -> Iterator[Picture | Text]:
    by_step: dict[int, list[Path]] = {}
    for path in list_paths(run.workdir / "samples", "*.png"):
        step = path.name.split("-")[0]
        by_step.setdefault(int(step) if step.isdecimal() else -1, []).append(path)
    for path in by_step.get(max(by_step, default=-1), []):
        step, _, settings = path.stem.partition("-")
        title = f"{run.title}, step {step} ({settings.replace('-', ', ')})"
        try:
            yield embed_file(path, f"A grid of images drawn from {title}", f"Samples of {title}", pixels=True)
        except InputError as error:
            yield Text(str(error))

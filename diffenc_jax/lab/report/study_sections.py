"""A section for each study: the newest results of the runs, or the command that makes them."""

from dataclasses import replace
from typing import Any

from diffenc_jax.core import parts
from diffenc_jax.core.document import Section, Text
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.report.collect import Collection
from diffenc_jax.lab.report.command_lines import command_line, not_made_yet
from diffenc_jax.lab.report.embedded import embed_figure
from diffenc_jax.lab.studies import load
from diffenc_jax.lab.studies.charts import draw
from diffenc_jax.lab.studies.study import ADVICE, MALFORMED, Measured, Study

# The largest number of runs that remain distinguishable in one figure.
MOST_TOGETHER = 7


def study_sections(collection: Collection) -> list[Section]:
    """The sections of all studies of the table."""
    return [_section(collection, load(name)) for name in parts.entries("study")]


def _section(collection: Collection, study: Study[Any, Any]) -> Section:
    """Results of all runs if they are shown together, otherwise of the first run of each group that has one."""
    all_together = study.together and len(collection.runs) <= MOST_TOGETHER
    shown: list[Measured[Any]] = []
    blocks, without = [], []
    for runs in collection.groups.values():
        found = [(run, path) for run in runs if (path := study.newest(run.workdir, run.config.eval.split))]
        if not found and study.applies(runs[0].config):
            without.append(runs[0])
        for run, path in found if all_together else found[:1]:
            try:
                shown.append(replace(study.read(path), name=collection.names[run.workdir]))
            except InputError as error:
                blocks.append(Text(str(error)))
    for part in [shown] if study.together else [[one] for one in shown]:
        blocks += _blocks(study, part)
    lines = (command_line(study.name, run.workdir) for run in without)
    return Section(study.title, [*blocks, *not_made_yet(study.name.replace("-", " "), without, lines)])


def _blocks(study: Study[Any, Any], shown: list[Measured[Any]]) -> list[Any]:
    """The figures, the tables and the sentences of results."""
    if not shown:
        return []
    title, sentences = study.title_of(shown), [f"{one.sentence()}." for one in shown]
    try:
        pictures = []
        for figure in study.figures(shown).values():
            caption = f"{title}: {figure.caption}."
            pictures.append(embed_figure(draw(figure, title), " ".join([caption, *sentences]), caption))
    except MALFORMED:
        return [Text(f"{title}: the result of {study.name} cannot be drawn; {ADVICE}.")]
    return [*pictures, *study.tables(shown), *map(Text, sentences)]

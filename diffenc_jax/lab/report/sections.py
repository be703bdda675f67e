"""Sections of a page about the runs: curves, studies, samples, configuration and origin."""

import math
from dataclasses import replace
from typing import Any

from diffenc_jax.config import Config, flatten
from diffenc_jax.config.recipe import ARMS, AS_PUBLISHED, choose_arm, recipe, with_changes
from diffenc_jax.core import parts, versions
from diffenc_jax.core.document import Code, Section, Table, Text
from diffenc_jax.core.errors import noting, refusing
from diffenc_jax.core.numbers import UNKNOWN, format_number
from diffenc_jax.lab.comparisons.significance.analysis import Curves, curves_over_seeds, learning_curves, means_of
from diffenc_jax.lab.comparisons.significance.figure import draw_curves, learning_panels
from diffenc_jax.lab.figures.charts import draw
from diffenc_jax.lab.report.collect import Collection
from diffenc_jax.lab.report.html import Fold, embed_figure, embed_file
from diffenc_jax.lab.studies import load
from diffenc_jax.lab.studies.study import ADVICE, Measured, Study
from diffenc_jax.runs.files import list_paths
from diffenc_jax.runs.history import noted_commands

# Curves beside those of bits/dim: metrics by title of their panels, and caption.
QUARTERS = {f"quarter {i} of $t$ in $[0, 1]$": f"diffusion_quarter_{i}" for i in (1, 2, 3, 4)}
CURVES = (
    ({"norm of the gradient": "grad_norm", "examples per second": "images_per_second"}, "gradient and pace"),
    ({name: name for name in ("reconstruction", "latent", "diffusion")}, "training loss by term"),
    (QUARTERS, "training diffusion loss by quarter of t (the first is nearest to the data)"),
)
UNITS = {"norm of the gradient": "norm", "examples per second": "examples per second"}
MOST_TOGETHER = 7  # runs that remain distinguishable in one figure
# Keys that no recipe sets: they distinguish runs or depend on the machine.
NO_RECIPE = {"name", "arm", "seed", "eval.seed", "model.scan", "model.remat"}
# The published arm by kind of encoder. Other kinds stand beside diffenc.
ARM_OF_ENCODER = {"trainable": "diffenc", "nontrainable": "nontrainable", "identity": "vdm"}


def curves_section(collection: Collection) -> Section:
    """All curves for which there are metrics."""
    split, groups = collection.runs[0].config.eval.split, collection.groups
    rows = {name: [run.metrics for run in runs] for name, runs in groups.items()}
    arms = {name: runs[0].config.arm for name, runs in groups.items()}
    learning = learning_curves(rows, split)
    if not any(points for kinds in learning.values() for points in kinds.values()):
        return Section("Curves", [])
    records = [one.record["dataset"] for run in collection.runs for one in run.newest]
    true = next((of.get("true_bpd") for of in records if of["split"] == split), None)
    is_real = collection.is_real
    figure = draw_curves(learning, learning_panels(split), common_axis=True, arms=arms, true=true, is_real=is_real)
    caption = f"Bits/dim in training (no EMA) and in evaluations of the EMA parameters on {split}."
    about = "Values are means over seeds, and those of training also over the steps since the previous point."
    blocks: list[Any] = [Text(about), *_least(learning, split), embed_figure(figure, caption)]
    for metrics, text in CURVES:
        curves = curves_over_seeds(rows, metrics)
        if any(points for kinds in curves.values() for points in kinds.values()):
            panels = {title: (title, UNITS.get(title, "bits/dim")) for title in metrics}
            caption = f"{text[0].upper()}{text[1:]}, by step."
            blocks.append(embed_figure(draw_curves(curves, panels, arms=arms, is_real=is_real), caption))
    return Section("Curves", blocks)


def _least(learning: Curves, split: str) -> list[Table]:
    """The least bits/dim of the evaluations during training beside those of the last one, if there are any."""
    rows = []
    for name, kinds in learning.items():
        points = kinds["evaluation"]
        if means := [(mean, step) for mean, (step, _) in zip(means_of(points), points, strict=True)]:
            ends = min(means, key=lambda point: (math.isnan(point[0]), *point)), means[-1]
            rows.append([name, *(cell for mean, step in ends for cell in (format_number(mean), f"{step:,}"))])
    heads = ["", "least", "at step", "last", "at step"]
    caption = f"Bits/dim on {split} during training; a step that is chosen by its value on {split} flatters the model"
    return [Table(heads, rows, caption)] if rows else []


def study_sections(collection: Collection) -> list[Section]:
    """A section for each study: the newest results of the runs."""
    return [_study_section(collection, load(name)) for name in parts.entries("study")]


def _study_section(collection: Collection, study: Study[Any, Any]) -> Section:
    """Results of all runs if the study shows them together; otherwise of the first run of each group with a result."""
    all_together = study.together and len(collection.runs) <= MOST_TOGETHER
    shown: list[Measured[Any]] = []
    for runs in collection.groups.values():
        results = [(run, path) for run in runs if (path := study.newest(run.workdir, run.config.eval.split))]
        if not results and study.applies(runs[0].config):
            collection.lacks(study.name, runs[0])
        for run, path in results if all_together else results[:1]:
            with noting(collection.notes):
                shown.append(replace(study.read(path), name=collection.names[run.workdir]))
    blocks: list[Any] = []
    for part in [shown] if study.together and shown else [[one] for one in shown]:
        title, sentences = study.title_of(part), [f"{one.sentence()}." for one in part]
        with noting(collection.notes), refusing(f"the result of {study.name} for {title} is damaged", ADVICE):
            pictures = []
            for figure in study.figures(part).values():
                caption = f"{title}: {figure.caption}."
                pictures.append(embed_figure(draw(figure, title), caption, " ".join([caption, *sentences])))
            blocks += [*pictures, *study.tables(part), *map(Text, sentences)]
    return Section(study.title, blocks)


def samples_section(collection: Collection) -> Section:
    """The newest pictures of samples of the first run of each group."""
    blocks: list[Any] = []
    for run, *_ in collection.groups.values():
        paths = list_paths(run.workdir / "samples", "*.png")
        steps = [int(step) if (step := path.name.split("-")[0]).isdecimal() else -1 for path in paths]
        if not paths:
            collection.lacks("sample", run)
        newest = max(steps, default=-1)
        for path in (path for path, step in zip(paths, steps, strict=True) if step == newest):
            with noting(collection.notes):
                blocks.append(embed_file(path, f"Samples of {run.title}, step {path.stem.replace('-', ', ')}"))
    return Section("Samples", blocks)


def published_recipe(config: Config) -> dict[str, Any]:
    """The published recipe, by key, of the arm with the encoder of `config`, on the data of `config`."""
    arm = ARM_OF_ENCODER.get(config.model.encoder.kind, "diffenc")
    values = with_changes(choose_arm(recipe(config.name, arm), ARMS), AS_PUBLISHED)
    return flatten(Config.parse(values).to_dict())


def configuration_section(collection: Collection) -> Section:
    """The differences from the published recipe, the differences between the runs, and all keys."""
    configs = {name: runs[0].config for name, runs in collection.groups.items()}
    flat = {name: flatten(config.to_dict()) for name, config in configs.items()}
    recipes = [published_recipe(config) for config in configs.values()]
    keys = sorted({key for values in (*flat.values(), *recipes) for key in values} - NO_RECIPE)
    here = {key: [_text(values, key) for values in flat.values()] for key in keys}
    published = {key: [_text(values, key) for values in recipes] for key in keys}

    def table(shown: list[str], caption: str) -> Table:
        rows = [[key, *here[key], " or ".join(dict.fromkeys(published[key]))] for key in shown]
        return Table(["key", *flat, "published"], rows, caption)

    kinds = {config.model.encoder.kind for config in configs.values()} - ARM_OF_ENCODER.keys()
    encoder = f"its trainable encoder in place of {', '.join(sorted(kinds))}" if kinds else "the same kind of encoder"
    departing = [key for key in keys if here[key] != published[key]]
    differing = [[key, *here[key]] for key in keys if len(set(here[key])) > 1]
    blocks: list[Any] = [
        *([Table(["key", *flat], differing, "Differences between the runs")] if differing else []),
        Text(f"The published recipe is that of DiffEnc-32-4 on CIFAR-10 (arXiv 2310.19789), with {encoder}."),
        table(departing, f"{len(departing)} of {len(keys)} keys differ from the published recipe"),
        Fold("All keys", [table(keys, "All keys")]),
    ]
    return Section("Configuration", blocks)


def _text(values: dict[str, Any], key: str) -> str:
    """The value of a key; `UNKNOWN` for a key that is absent, and a list without brackets."""
    value = values.get(key, UNKNOWN)
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def provenance_section(collection: Collection) -> Section:
    """Runs, images, software, and the commands that wrote into the workdirs."""
    made: dict[str, dict[str, None]] = {}
    rows, images, lines = [], {}, []
    for run in collection.runs:
        records = [one.record for one in run.newest]
        seeds = dict.fromkeys(str(record["estimator"]["seed"]) for record in records)
        hashes = dict.fromkeys([run.config.hash, *(record["config_hash"] for record in records)])
        steps = f"{run.step:,} of {run.config.train.steps:,}"
        rows.append([run.title, steps, ", ".join(seeds) or UNKNOWN, ", ".join(hashes), str(run.workdir)])
        for record in records:
            images[record["dataset"]["sha256"]] = record["dataset"]
            for name, value in {"device": record["device"], **record["software"], **record["parts"]}.items():
                made.setdefault(name, {})[str(value)] = None
        with noting(collection.notes):
            lines += noted_commands(run.workdir)
    made["this page"] = {f"{versions.OURS} {versions.package_version()}": None}
    heads = ["split", f"{collection.examples} of", "number", "sha256"]
    used = [[d["split"], f"{d['name']} {d['version']}", f"{d['num_examples']:,}", d["sha256"]] for d in images.values()]
    blocks = [
        Table(["run", "step", "evaluation's seed", "configuration's hash", "workdir"], rows, "Runs"),
        Table(heads, used, f"{collection.examples.capitalize()} evaluated on"),
        Table(["", "version"], [[name, "; ".join(values)] for name, values in made.items()], "Made with"),
        *([Text("Commands that wrote into the workdirs:"), Code("\n".join(dict.fromkeys(lines)))] if lines else []),
    ]
    return Section("Provenance", blocks)

"""The table of a comparison, and the notes that explain it."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import InputError
from diffenc_jax.core.numbers import format_interval, with_errors
from diffenc_jax.lab.comparisons.compare.describe import average_cautions, describe_estimator, describe_images
from diffenc_jax.lab.comparisons.compare.measure import Row, different_methods
from diffenc_jax.runs.records import Evaluation
from diffenc_jax.runs.stored import StoredRun

HEADS = ("arm", "seed", "step", "estimator", "bits/dim ± noise ± images")
SINGLE_RUNS = "single runs: whether other training seeds would differ as much is not known"


def comparison_table(rows: Sequence[Row], with_files: bool = False) -> Table:
    """`rows` as a table, with a last column for the paths of the records if `with_files`.

    A single row has no columns of differences.
    """
    compared, lines = len(rows) > 1, []
    columns = ["difference ± noise ± images", f"{'simultaneous ' * (len(rows) > 2)}95 % interval"]
    for row in rows:
        record = row.evaluation.record
        about = [record["arm"], record["seed"], record["step"], describe_estimator(record["estimator"])]
        bpd, excess = with_errors(row.bpd, row.error.noise, row.error.images), ["reference", ""]
        if row.excess is not None:
            value, error, ends, _ = row.excess
            excess = [with_errors(value, error.noise, error.images), format_interval(ends)]
        lines.append([*about, bpd, *(excess if compared else []), *([row.evaluation.path] if with_files else [])])
    heads = [*HEADS, *(columns if compared else []), *(["file"] if with_files else [])]
    return Table(heads, lines, "Differences to the reference, bits/dim" if compared else "")


def notes(rows: Sequence[Row]) -> list[str]:
    """One line per fact that is needed to read the table."""
    reference = next(row for row in rows if row.excess is None).evaluation.record
    records, estimator = [row.evaluation.record for row in rows], reference["estimator"]
    lines = [
        f"images: {describe_images(reference['dataset'])}; parameters: averaged (EMA)",
        "± standard errors, of the noise and of the images (left out where the data do not determine them or "
        "where the noise hides them)",
    ]
    if len(rows) == 1:
        return lines
    different = ", ".join(str(row.evaluation.path) for row in rows if row.excess and not row.excess.common_noise)
    common = f"common to all (seed {estimator['seed']}, {estimator['passes']} passes)"
    lines.append(f"noise: different from the reference's in {different}" if different else f"noise: {common}")
    several = f"; all {len(rows) - 1} hold together with probability 95 % (Bonferroni)" * (len(rows) > 2)
    lines.append(f"differences: paired by image, with 95 % intervals over noise and images{several}")
    lines.append(SINGLE_RUNS)
    if any(different_methods(estimator, record["estimator"]) for record in records):
        lines.append(
            "estimators differ: their values are bounds of different tightness, or bounds of different models, "
            "so a difference may not come from training"
        )
    if len({record["step"] for record in records}) > 1:
        lines.append("steps differ: a difference may come from the length of training")
    augmentations = sorted({record.get("augmentation", "none") for record in records})
    if len(augmentations) > 1:
        lines.append(f"the augmentation of the training images differs: {'; '.join(augmentations)}")
    return lines


def cautions(evaluations: Iterable[Evaluation]) -> list[str]:
    """The `average_cautions` about evaluations that lie in the workdirs of their runs."""
    runs = []
    for path, record, _ in evaluations:
        with suppress(InputError):  # the record lies elsewhere
            config = StoredRun(path.parent.parent).config
            runs += [(str(path), config.train, record["step"])] * (config.hash == record["config_hash"])
    return average_cautions(runs)


def comparison_json(rows: Sequence[Row], said: Sequence[str]) -> dict[str, Any]:
    """The table, unrounded, and the lines below it as JSON values."""
    entries = []
    for row in rows:
        about = {key: row.evaluation.record.get(key) for key in ("arm", "seed", "step", "estimator")}
        excess = row.excess and row.excess._asdict() | {"error": row.excess.error._asdict()}
        numbers = {"bpd": row.bpd, "error": row.error._asdict(), "excess": excess}
        entries.append({"file": str(row.evaluation.path), **about, **numbers})
    return {"dataset": rows[0].evaluation.record["dataset"], "rows": entries, "notes": [*said]}

"""The table of results in the README: a row per subject, from the tables of the measurements."""

from collections.abc import Callable
from typing import Any, NamedTuple

from recipe_charts import rows

from diffenc_jax.core.document import Table

Steps = list[dict[str, Any]]
EIGHT_LAYERS = "diffenc-8-2", "vdm-8"


class Row(NamedTuple):
    """A row of the table.

    Attributes:
      subject: what was measured.
      by: on what.
      result: name of the experiment.
      figures: from the experiment's steps to the text.
    """

    subject: str
    by: str
    result: str
    figures: Callable[[Steps], str]


def cell(table: dict[str, Any], row: str, head: str) -> str:
    """The cell under `head` in the first row whose name begins with `row`."""
    return next(line for line in table["rows"] if line[0].startswith(row))[table["heads"].index(head)]


def means(steps: Steps) -> str:
    """The mean of each arm, and those of vdm with the FLOPs and with the parameters of diffenc."""
    values = steps[0]["tables"][0]
    arms, controls = (
        ", ".join(f"`{arm}` {cell(values, arm, 'mean')}" for arm in names)
        for names in (("vdm", "diffenc", "nontrainable"), ("vdm-flops", "vdm-params"))
    )
    return f"{arms}; with the FLOPs or parameters of `diffenc`: {controls}"


def best(steps: Steps) -> str:
    evaluation, sizes = (step["tables"][0] for step in steps)
    bits = next(iter(evaluation["rows"]))[-1]
    ours, theirs = (cell(sizes, name, "bits/dim") for name in ("vdm-long-fast, depth 50, gross", "JPEG XL, one"))
    return f"`vdm` {bits}; 200 images in one file take {ours}, in JPEG XL {theirs}"


def excess(steps: Steps) -> str:
    """Truth minus log p of Gaussians in 20 and 100 dimensions, by the ODE and by flows of flowjax."""
    texts = []
    for dims, step in zip((20, 100), steps, strict=True):
        table, names = step["tables"][0], ("vdm-fast ODE", "MAF", "splines")
        values = (f"{name} {cell(table, f'gaussian-{dims}', name)}" for name in names)
        texts.append(f"Gaussian in {dims} dimensions: {', '.join(values)}")
    return "; ".join(texts)


def regrets(steps: Steps) -> str:
    table = next(table for table in steps[0]["tables"] if "above the truth" in table["caption"])
    return ", ".join(f"`{arm}` {cell(table, arm, 'mean')}" for arm in ("vdm-fast", "diffenc-fast", "nontrainable-fast"))


def by_cost(steps: Steps) -> str:
    """Regrets of vdm for the fewest and the most FLOPs, and by which factors diffenc has higher regrets and FLOPs."""
    table, shares = rows(*steps), []
    vdm, diffenc = ([row for row in table if row[""].startswith(f"`{arm}-")] for arm in ("vdm", "diffenc"))
    for head in ("mean regret", "TFLOP"):
        own = [float(other[head]) / float(row[head]) for row, other in zip(vdm, diffenc, strict=True)]
        shares.append(f"{min(own):.2f} to {max(own):.2f}")
    ends = ", ".join(f"{row['mean regret']} for {row['TFLOP']} TFLOP" for row in (vdm[0], vdm[-1]))
    more = " times as much for ".join(shares)
    return f"`vdm-fast` {ends}; `diffenc-fast`, of the same widths and steps, {more} times the FLOPs"


def errors(steps: Steps) -> str:
    of_bits = next(row[1:] for row in steps[0]["tables"][0]["rows"] if row[0] == "bpd")
    return f"{max(map(float, of_bits)):.0e} at most"


def costs(steps: Steps) -> str:
    table = steps[0]["tables"][0]
    texts = []
    for pair in EIGHT_LAYERS:
        step, memory = (cell(table, f"{pair}: {quantity}", "ratio") for quantity in ("step, s", "peak memory"))
        texts.append(f"`{pair}` {step} of the time, {memory} of the memory")
    return "; ".join(texts)


def milliseconds(steps: Steps) -> str:
    table = steps[0]["tables"][0]
    arms = {arm: [cell(table, f"`cifar10:{arm}`", head) for head in ("ms by cycles", "share")] for arm in EIGHT_LAYERS}
    return ", ".join(f"`{arm}` {time} ({share} of the peak)" for arm, (time, share) in arms.items())


NOT_TRAINED = [
    "CIFAR-10, ImageNet and MNIST at the published size",
    "**not trained here**",
    "[commands and costs](docs/comparing.md#the-papers-comparisons) are ready",
]
ROWS = (
    Row("Fashion-MNIST, small networks, 3 seeds, test bits/dim", "trained on two CPU cores", "fashion", means),
    Row("Fashion-MNIST, one training by the fast recipe, test bits/dim", "107 minutes of a core", "fashion-best", best),
    Row("8x8 digits, 5 seeds, test bits/dim", "trained on two CPU cores", "digits", means),
    Row("8x8 images with a known log p, bits/dim above the truth, 5 seeds", "a CPU core", "mesh-8", regrets),
    Row("The same images, 3 widths by 3 lengths of training, 3 seeds", "a CPU core", "known-truth-flops", by_cost),
    Row("Log p of vectors below the truth, nats/dim", "some minutes of a core each", "densities", excess),
    Row("Bits/dim beside the published code, relative error", "same parameters, noise and images", "parity", errors),
    Row("Training step beside the published code", "two CPU cores, in turn", "peers", costs),
    Row(
        "Training step on four TPU v5e chips, ms by the compiler's estimate",
        "compiled, **not run**",
        "tpu-searched",
        milliseconds,
    ),
)


def overview(measured: dict[str, Steps]) -> Table:
    """The table, of the results that are in `measured`, by name."""
    rows = [[row.subject, row.figures(measured[row.result]), row.by] for row in ROWS if row.result in measured]
    return Table(["", "result", "how"], [NOT_TRAINED, *rows])

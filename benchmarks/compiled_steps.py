"""Memory and work of training steps by the TPU and the GPU compiler, in the tables of docs/results-performance.md.

Runs `diffenc compile-check`, one program after the other, which takes hours on few cores. The results are kept in DIR,
so that the same command resumes. Prints the tables, which have a line for each step that does not compile. Needs
pip install '.[tpu]' or, for the parts of GPUs, '.[cuda]'.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import records

from diffenc_jax.commands.options import location
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import require
from diffenc_jax.core.numbers import Figure
from diffenc_jax.core.terminal import print_document

EXAMPLE = "python benchmarks/compiled_steps.py --out=tpu --only=searched"
BFLOAT16 = ("--config.model.dtype=bfloat16",)


class Case(NamedTuple):
    """One call of compile-check: the configuration with its arm, the slice or the GPUs, and further flags."""

    config: str
    topology: str
    flags: tuple[str, ...] = BFLOAT16

    @property
    def name(self) -> str:
        words = (self.config, self.topology, *(flag.removeprefix("--").removeprefix("config.") for flag in self.flags))
        return "-".join(words).replace(":", "_").replace("/", "_").replace("=", "_") + ".json"

    @property
    def command(self) -> list[str]:
        config = f"--config={self.config}"
        return ["-m", "diffenc_jax", "compile-check", config, f"--topology={self.topology}", *self.flags]


VDM = "cifar10:vdm-8"
EIGHT_LAYERS = (VDM, "cifar10:diffenc-8-2")
CHOICES = ("model.remat=none", "model.remat=block", "train.accumulate=4")
GPU_MODELS = {
    "gpu": (
        *(*EIGHT_LAYERS, "mnist", "digits", "fashion_mnist_small"),  # fashion_mnist has mnist's program
        *(f"cifar10_variants:{arm}" for arm in ("vdm-transformer", "diffenc-transformer", "diffenc-dct")),
    ),
    "gpu-large": ("cifar10:vdm", "cifar10", "imagenet32"),
    "gpu-largest": ("imagenet64",),
}
FLOAT32 = ("--config.model.dtype=float32",)
GPUS = (
    *(("h100:1", FLOAT32), ("h100:1", BFLOAT16)),
    *(("h100:8", BFLOAT16), ("h100:8", (*BFLOAT16, "--config.mesh.fsdp=8"))),
)
CARDS = ("h100", "h200", "b200", "a100", "l4", "rtx4090")
CASES = {
    "searched": [
        *(Case(config, "v5e:2x2") for config in EIGHT_LAYERS),
        Case(VDM, "v5e:2x2", (*BFLOAT16, "--config.model.scan=True")),
    ],
    "tpu-large": [
        *(Case(config, "v5e:2x2") for config in ("mnist", "cifar10:vdm", "cifar10")),
        Case("imagenet32", "v5e:2x4"),
    ],
    "tpu-largest": [Case("imagenet64", "v5e:2x4")],
    # More images on four chips; more chips with 32 images each, and with 128 in all.
    "tpu-batches": [Case(VDM, "v5e:2x2", (*BFLOAT16, f"--batch={batch}")) for batch in (32, 64, 128, 256, 512)],
    "tpu-scaling": [
        Case(VDM, topology, (*BFLOAT16, f"--batch={batch}", *flags))
        for topology, batch, fsdp in (("v5e:2x2", 128, 4), ("v5e:4x4", 512, 16), ("v5e:16x16", 8192, 16))
        for flags in ((), (f"--config.mesh.fsdp={fsdp}",))
    ]
    + [Case(VDM, "v5e:4x4", (*BFLOAT16, "--batch=128"))],
    "tpu-chips": [Case(VDM, topology) for topology in ("v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2", "tpu7x:2x2x1")],
    "tpu-choices": [Case(VDM, "v5e:2x2", (*BFLOAT16, f"--config.{choice}")) for choice in CHOICES],
    # 0.12, 0.49 and 1.95 billion parameters, divided over 64 chips or cards.
    **{
        part: [
            Case(
                "cifar10:vdm",
                machines,
                (*BFLOAT16, f"--config.model.score.width={width}", "--config.mesh.fsdp=64", *flags),
            )
            for width in (256, 512, 1024)
        ]
        for part, machines, flags in (
            ("tpu-widths", "v5p:4x4x4", ("--config.model.scan=True",)),
            ("gpu-widths", "h100:8x8", ()),
        )
    },
    **{
        part: [Case(model, gpus, flags) for model in models for gpus, flags in GPUS]
        for part, models in GPU_MODELS.items()
    },
    "gpu-cards": [Case(VDM, f"{card}:1") for card in CARDS],
}
# Columns of the tables: (key, unit, digits) by head.
COLUMNS = {"state, GiB": ("memory_of_state", 2**30, ".2f"), "temp.": ("memory_of_temporaries", 2**30, ".2f")}
SENT = {"MB sent": ("bytes_sent", 1e6, ".3g"), "ms by links": ("seconds_by_links", 1e-3, ".3g")}
TPU_COLUMNS = COLUMNS | {
    "MB sent": SENT["MB sent"],
    "Mcycles": ("cycles", 1e6, ".3g"),
    "ms by FLOPs": ("seconds_by_flops", 1e-3, ".3g"),
    "ms by links": SENT["ms by links"],
    "ms by cycles": ("seconds_by_cycles", 1e-3, ".3g"),
    "share": ("share_of_peak", 1, ".2f"),
    "images/s per chip": ("images_per_second", 1, ".0f"),
}
GPU_COLUMNS = COLUMNS | {
    "TFLOP": ("flops", 1e12, ".3g"),
    "GB moved": ("bytes_moved", 1e9, ".3g"),
    "kernels": ("kernels", 1, ".0f"),
    "ms by FLOPs": ("seconds_by_flops", 1e-3, ".3g"),
    "ms by bytes": ("seconds_by_bytes", 1e-3, ".3g"),
}


def find(case: Case, folder: Path) -> dict[str, Any]:
    """The result of compile-check, read from `folder` if it is there; {'error': ...} if the step does not compile."""
    path = folder / case.name
    if not path.exists():
        print(" ".join(["python", *case.command]), file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, *case.command, f"--json={path}"], capture_output=True, text=True)
        if not path.exists():
            return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1].removeprefix("error: ")}
    found = json.loads(path.read_text())
    seconds = found.get("seconds_by_cycles")
    return found | {"images_per_second": seconds and found["batch_size"] / found["chips"] / seconds}


def row(case: Case, found: dict[str, Any], columns: dict[str, tuple[str, float, str]]) -> list[Any]:
    """One line of a table."""
    flags = " ".join(flag.rpartition(".")[2] for flag in case.flags if not flag.startswith("--batch"))
    model = f"{found['config']}:{found['arm']}" if "arm" in found else case.config
    if "error" in found:
        cells = [f"does not compile: {found['error']}"[:90]]
    elif not found["fits"]:
        cells = ["does not fit" + (f", {found['memory'] / 2**30:.2f} in all" if found["memory"] else "")]
    else:
        values = [(found[key], unit, digits) for key, unit, digits in columns.values()]
        cells = ["" if value is None else Figure(f"{{:{form}}}", value / unit) for value, unit, form in values]
        cells.append(Figure("{:.0f}", found["compile_seconds"]))
    cells += [""] * (len(columns) + 1 - len(cells))
    return [f"`{model}`", case.topology, found.get("batch_size", ""), flags, *cells]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=location, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--only", choices=CASES, help="compute only this part (default: all)")


def run(arguments: argparse.Namespace) -> None:
    require(not arguments.out.is_file(), f"--out={arguments.out} is a file; name a folder")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for part in [arguments.only] if arguments.only else CASES:
        on_gpus = part.startswith("gpu")
        columns = (GPU_COLUMNS | (SENT if part == "gpu-widths" else {})) if on_gpus else TPU_COLUMNS
        heads = ["", "cards" if on_gpus else "slice", "batch", "flags", *columns, "compiled, s"]
        rows = [row(case, find(case, arguments.out), columns) for case in CASES[part]]
        print_document(Table(heads, rows, part))


if __name__ == "__main__":
    records.run_script()

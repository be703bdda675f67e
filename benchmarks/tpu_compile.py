"""Memory and work of training steps by the TPU compiler, in the tables of docs/results-performance.md.

Runs `diffenc compile-check`, one program after the other, which takes hours on few cores. The results are kept in DIR,
so that the same command resumes. Prints the tables. Needs pip install '.[tpu]'.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import records

from diffenc_jax.commands.arguments import place
from diffenc_jax.core.errors import require

EXAMPLE = "python benchmarks/tpu_compile.py --out=tpu --only=shipped"
BFLOAT16 = "--config.model.dtype=bfloat16"
QUICK = ("--quick", BFLOAT16)


class Case(NamedTuple):
    """One call of compile-check: the configuration with its arm, the slice, and further flags."""

    config: str
    topology: str
    flags: tuple[str, ...] = QUICK

    @property
    def name(self) -> str:
        words = (self.config, self.topology, *(flag.removeprefix("--").removeprefix("config.") for flag in self.flags))
        return "-".join(words).replace(":", "_").replace("/", "_").replace("=", "_") + ".json"

    @property
    def command(self) -> list[str]:
        config = f"--config={self.config}"
        return ["-m", "diffenc_jax", "compile-check", config, f"--topology={self.topology}", *self.flags]


EIGHT_LAYERS = ("cifar10:vdm-8", "cifar10:diffenc-8-2")
CHOICES = ("model.remat=none", "model.remat=block", "mesh.fsdp=4", "train.accumulate=4")
CASES = {
    "shipped": [
        *(Case(config, "v5e:2x2") for config in (*EIGHT_LAYERS, "cifar10:vdm", "cifar10", "mnist", "imagenet32")),
        Case("imagenet32", "v5e:2x2", (*QUICK, "--config.model.remat=block")),
        Case("imagenet64", "v5e:2x4"),
    ],
    # Scaling from 4 chips to 64, with a fixed batch and with a fixed batch per chip.
    "scaling": [
        *(Case("cifar10:vdm-8", topology) for topology in ("v5e:2x2", "v5e:4x4", "v5e:8x8")),
        Case("cifar10:vdm-8", "v5e:4x4", (*QUICK, "--batch=512")),
        Case("cifar10:vdm-8", "v5e:8x8", (*QUICK, "--batch=2048")),
    ],
    "chips": [Case("cifar10:vdm-8", topology) for topology in ("v4:2x2x1", "v5e:2x2", "v5p:2x2x1", "v6e:2x2")],
    # With the search for the fastest kernels, as a TPU compiles.
    "searched": [Case(config, "v5e:2x2", (BFLOAT16,)) for config in (*EIGHT_LAYERS, "cifar10:vdm", "cifar10")],
    "choices": [Case("cifar10:vdm-8", "v5e:2x2", (*QUICK, f"--config.{choice}")) for choice in CHOICES],
}


def find(case: Case, folder: Path) -> dict[str, Any] | None:
    """The result of compile-check, from `folder` if it is known; None, with its error printed, if it fails."""
    path = folder / case.name
    if not path.exists():
        print(" ".join(["python", *case.command]), file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, *case.command, f"--json={path}"], capture_output=True, text=True)
        if not path.exists():
            print(done.stderr.strip().splitlines()[-1], file=sys.stderr, flush=True)
            return None
    return json.loads(path.read_text())


def row(case: Case, found: dict[str, Any]) -> str:
    """One line of a table."""
    flags = " ".join(flag.removeprefix("--").removeprefix("config.") for flag in case.flags if flag != BFLOAT16)
    start = f"| `{found['config']}:{found['arm']}` | {found['topology']} | {found['batch_size']} | {flags} | "
    gib = 2**30
    if not found["fits"]:
        needed = f", {found['memory'] / gib:.2f} in all" if found["memory"] else ""
        return start + f"does not fit{needed} | | | | | | |"
    return start + " | ".join(
        [
            f"{found['memory_of_state'] / gib:.2f}",
            f"{found['memory_of_temporaries'] / gib:.2f}",
            f"{found['flops'] / 1e12:.3g}",
            f"{found['bytes_accessed'] / 1e9:.3g}",
            f"{found['cycles'] / 1e6:.3g}",
            f"{1e3 * found['seconds_by_flops']:.3g}",
            f"{found['compile_seconds']:.0f} + {found['compile_seconds_of_counts']:.0f} |",
        ]
    )


HEAD = """
| | slice | batch | flags | state, GiB | temp. | TFLOP | GB accessed | Mcycles | ms by FLOPs | compiled, s |
|---|---|---|---|---|---|---|---|---|---|---|"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=place, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--only", choices=CASES, help="compute only this part (default: all)")


def run(arguments: argparse.Namespace) -> None:
    require(not arguments.out.is_file(), f"--out={arguments.out} is a file; name a folder")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for part in [arguments.only] if arguments.only else CASES:
        print(f"\n{part}\n{HEAD}")
        for case in CASES[part]:
            if found := find(case, arguments.out):
                print(row(case, found), flush=True)


if __name__ == "__main__":
    records.run_script()

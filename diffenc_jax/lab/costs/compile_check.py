"""Memory and work of a training step on absent TPU slices or GPUs, from the compiled program."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.core.document import Table
from diffenc_jax.core.errors import InputError, first_line, require
from diffenc_jax.core.numbers import Figure, format_bytes
from diffenc_jax.data.sources import spec_of
from diffenc_jax.lab.costs import hlo
from diffenc_jax.lab.costs.machines import Target, describe, lowering
from diffenc_jax.lab.costs.training_step import described
from diffenc_jax.model import build
from diffenc_jax.parallel.memory import Memory, is_out_of_memory, needed_bytes
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.flops import count
from diffenc_jax.train.program import TrainingProgram

# Options that lower the memory of a step, from the one that costs least time.
REMEDIES = "--config.train.accumulate=2, --config.model.remat=block or --config.mesh.fsdp=4"
SMALLEST = 0.0005  # share of what a table shows
# Option of XLA's TPU compiler that leaves out its search for the fastest kernels.
QUICK: dict[str, Any] = {"exec_time_optimization_effort": -1.0}


def measure_step(config: Config, topology: str, slices: int, quick: bool) -> dict[str, Any]:
    """Costs of a step of `config` on `slices` slices of `topology`, or on GPUs: JSON values, all per device.

    Raises InputError if there is no such machine, or `config` cannot be trained on it.
    """
    target, devices = describe(topology, slices)
    require(not quick or not target.capability, "--quick is for TPUs: without a card, no GPU kernels are searched for")
    mesh, platform, spec = make_mesh(config.mesh.fsdp, devices), devices[0].platform, spec_of(config)
    program = TrainingProgram(build(config, spec, "gpu" if platform == "cuda" else platform), config, mesh)
    start = time.perf_counter()
    compiled, needed = compile_step(program, mesh, quick)
    seconds = time.perf_counter() - start
    about = {
        **described(config),
        "topology": topology,
        "slices": slices,
        "chips": len(devices) // target.devices,
        "device": "card" if target.capability else "chip" if target.devices == 1 else "half chip",
        "hosts": len({device.process_index for device in devices}),
        "mesh": dict(mesh.shape),
        "quick": quick,
        "memory_of_device": target.available,
        "fits": compiled is not None and (needed or 0) <= target.available,
        "memory": needed,
    }
    if compiled is None or not about["fits"]:
        return about
    memory, flops = Memory.of(compiled), count(config, spec).flops_per_step / len(devices)
    return about | {
        "memory_of_state": memory.state,
        "memory_of_temporaries": memory.temporaries,
        **describe_work(hlo.kernels(compiled.as_text() or ""), flops, target),
        "compile_seconds": seconds,
    }


def compile_step(program: TrainingProgram, mesh: Mesh, quick: bool) -> tuple[jax.stages.Compiled | None, int | None]:
    """The compiled step of a program on the mesh, and the bytes of memory that it needs per device.

    The devices need not be present. If the compiler finds too little memory, there is no step, and the bytes are None
    unless it names them. Raises InputError if the compiler fails for another reason.
    """
    try:
        with lowering(mesh):  # the partitioner lowers kernels anew
            lowered = program.step.lower(program.state, program.batch, program.seed)
            compiled = lowered.compile(QUICK if quick else None)
    except jax.errors.JaxRuntimeError as error:
        if is_out_of_memory(error):
            return None, needed_bytes(error)
        raise InputError(f"the compiler failed: {first_line(error)}") from error
    return compiled, Memory.of(compiled).total


def describe_work(kernels: Sequence[hlo.Kernel], flops: float, target: Target) -> dict[str, Any]:
    """Costs of a step on a device of a kind, and the least time that each of them takes; JSON values.

    'parts' has counts by part of the step, see `hlo`: the number of 'kernels', the 'bytes' that they move in the
    device's memory, the 'cycles' by the compiler's estimates, the bytes 'sent' to other devices, and each of these
    counts for the backward pass only, '..._backward'.

    Args:
      flops: floating-point operations of the model on the device, as `train.flops` counts them.
    """
    parts = defaultdict[str, Counter[str]](Counter)
    for kernel in kernels:
        of_a_run = {"kernels": 1, "bytes": kernel.moved, "cycles": kernel.cycles, "sent": kernel.sent}
        for quantity, number in of_a_run.items():
            parts[kernel.part][quantity] += kernel.runs * number
            parts[kernel.part][f"{quantity}_backward"] += kernel.runs * number * kernel.is_backward
    total = sum(parts.values(), Counter[str]())
    by_flops = flops / target.flops
    by_cycles = total["cycles"] / target.clock if total["cycles"] and target.clock else None
    return {
        "flops": flops,
        "bytes_moved": total["bytes"],
        "bytes_sent": total["sent"],
        "kernels": total["kernels"],
        "cycles": total["cycles"],
        "seconds_by_flops": by_flops,
        "seconds_by_bytes": total["bytes"] / target.bandwidth,
        "seconds_by_cycles": by_cycles,
        "seconds_by_links": total["sent"] / target.links if target.links else None,
        "share_of_peak": by_flops / by_cycles if by_cycles else None,
        "parts": parts,
    }


def step_lines(needs: dict[str, Any]) -> list[str]:
    """Lines that describe the result of `measure_step`."""
    device = needs["device"]
    place = f"{needs['slices']} x {needs['topology']}, {device.split()[-1]}s: {needs['chips']}, hosts: {needs['hosts']}"
    title = f"{needs['config']}, {needs['arm']}: batch {needs['batch_size']}, {needs['dtype']}, {place}"
    memory = f"the {format_bytes(needs['memory_of_device'])} of a {device}{' that JAX takes' * (device == 'card')}"
    if not needs["fits"]:
        needed = "" if needs["memory"] is None else f", {format_bytes(needs['memory'])} are needed"
        advice = f"take {REMEDIES}, more {device.split()[-1]}s or a smaller batch"
        return [title, f"memory: does not fit {memory}{needed}; {advice}"]
    state, temporaries = needs["memory_of_state"], needs["memory_of_temporaries"]
    estimate = f", {needs['cycles'] / 1e6:.3g} million cycles by the compiler's estimate" if needs["cycles"] else ""
    times = {
        "FLOPs at its peak": needs["seconds_by_flops"],
        "bytes at its memory's bandwidth": needs["seconds_by_bytes"],
        f"the {needs['bytes_sent'] / 1e6:.3g} MB that it sends": needs["seconds_by_links"],
        "the compiler's cycles": needs["seconds_by_cycles"],
    }
    share = f" ({needs['share_of_peak']:.2f} of the peak)" if needs["share_of_peak"] else ""
    return [
        title,
        f"memory: {format_bytes(needs['memory'])} per {device} (state and batch {format_bytes(state)}, temporaries "
        f"{format_bytes(temporaries)}); fits {memory}",
        f"work per {device} and step: {needs['flops'] / 1e12:.4g} TFLOP, {needs['bytes_moved'] / 1e9:.4g} GB moved by "
        f"{needs['kernels']:,.0f} kernels{estimate}",
        "time: " + ", ".join(f"{1e3 * seconds:.3g} ms by {name}" for name, seconds in times.items() if seconds) + share,
        f"compiled in {needs['compile_seconds']:.0f} s",
    ]


def work_table(needs: dict[str, Any]) -> Table:
    """Table of the work by part of the step, sorted by the share of cycles or, on GPUs, of bytes."""
    units = {"kernels": 1, "bytes": 1e9} | ({"cycles": 1e6} if needs["cycles"] else {})
    parts, measure = needs["parts"], [*units][-1]
    whole = sum(counts[measure] for counts in parts.values())
    rows = [
        [name, *(Figure("{:.4g}", counts[key] / unit) for key, unit in units.items())]
        + [Figure("{:.1f}", 100 * counts[key] / whole) for key in (measure, f"{measure}_backward")]
        for name, counts in sorted(parts.items(), key=lambda part: -part[1][measure])
        if counts[measure] >= SMALLEST * whole
    ]
    heads = [{"bytes": "GB", "cycles": "Mcycles"}.get(quantity, quantity) for quantity in units]
    return Table(["part", *heads, "share, %", "backward, %"], rows)

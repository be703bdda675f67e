"""Time per operation of the newest profile in a workdir.

The trace is read by `jax.profiler.ProfileData`, which is a part of JAX; the package xprof, of 100 MB, is needed to look
at a profile and not to sum it up.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffenc_jax.core.errors import InputError, first_line, require
from diffenc_jax.runs.files import list_paths, read_bytes, read_json
from diffenc_jax.train.profiler import PLUGIN, SCOPES_FILE

PARTS = ("encoder", "score_network", "losses", "optimizer", "noise")  # the outermost scopes of a training step
OTHER = "other"
# Names in a scope that say how JAX runs a function, not which one.
_HOW = {"", "<lambda>", "body", "branch_0_fun", "branch_1_fun", "checkpoint", "closed_call", "cond", "while"}


@dataclass(frozen=True)
class Operation:
    """An operation of the compiled step, over all steps of a profile.

    Attributes:
      name: its name in the compiled program.
      part: one of `PARTS`, or 'other'.
      backward: whether it belongs to the backward pass.
      scope: path of the modules and functions within the part, down to the operation that was written there.
      seconds: time of the operation itself, without those that it calls, summed over threads and devices.
      calls: number of its executions.
    """

    name: str
    part: str
    backward: bool
    scope: str
    seconds: float
    calls: int


@dataclass(frozen=True)
class Profile:
    """The operations of the `steps` first .. last of a run, longest first, read from the files of `folder`."""

    folder: Path
    steps: tuple[int, int]
    operations: list[Operation]

    @property
    def num_steps(self) -> int:
        """Number of steps."""
        return self.steps[1] - self.steps[0] + 1

    @property
    def seconds(self) -> float:
        """Time of all operations, summed over threads and devices."""
        return sum(operation.seconds for operation in self.operations)

    def by_part(self) -> dict[tuple[str, bool], float]:
        """Seconds by part and pass (whether backward), longest first."""
        seconds: dict[tuple[str, bool], float] = defaultdict(float)
        for operation in self.operations:
            seconds[operation.part, operation.backward] += operation.seconds
        return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def read_profile(workdir: Path) -> Profile:
    """The newest profile in `workdir`; raises InputError if there is none, or if it cannot be read."""
    found = list_paths(workdir, f"{PLUGIN}/*/{SCOPES_FILE}")
    advice = "make one by `diffenc train --profile=FIRST:LAST`"
    require(bool(found), f"{workdir} holds no profile of training steps; {advice}")
    folder = found[-1].parent
    about = read_json(found[-1], advice)
    totals: dict[str, list] = defaultdict(lambda: [0.0, 0])
    try:
        (first, last), scopes = about["steps"], dict(about["scopes"])
        traces = [read_bytes(path, advice) for path in list_paths(folder, "*.xplane.pb")]
        for name, seconds in (time for trace in traces for time in _times(trace)):
            totals[name][0] += seconds
            totals[name][1] += 1
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = first_line(error) or type(error).__name__
        raise InputError(f"{folder} is damaged ({reason[:200]}); {advice}") from error
    require(bool(totals), f"{folder} holds no operations of a training step; {advice}")
    operations = [Operation(name, *split_scope(scopes.get(name, "")), *total) for name, total in totals.items()]
    return Profile(folder, (int(first), int(last)), sorted(operations, key=lambda o: (-o.seconds, o.name)))


def split_scope(op_name: str) -> tuple[str, bool, str]:
    """Part, whether it is the backward pass, and the scope within the part, of an operation's name in JAX's metadata.

    JAX wraps names in the transformations that made the operation: 'jit(train_step)/transpose(jvp(encoder))/UNet/mul'.
    """
    names = re.sub(r"\w+\(|\)", "", op_name.split(";")[0]).split("/")
    kept = [name for name in names if name not in _HOW]
    part = next((name for name in kept if name in PARTS), OTHER)
    within = kept[kept.index(part) + 1 :] if part in kept else kept[1:]
    return part, "transpose(" in op_name, "/".join(within)


def _times(trace: bytes) -> Iterator[tuple[str, float]]:
    """Name and own seconds of each execution of an operation in a serialized trace.

    Accelerators have a plane per device. On the CPU, threads of the host execute the operations.
    """
    import jax

    planes = {plane.name: plane for plane in jax.profiler.ProfileData.from_serialized_xspace(trace).planes}
    devices = [plane for name, plane in planes.items() if name.startswith("/device:")]
    executed = {plane.name: [_executed(line) for line in plane.lines] for plane in devices}
    if not any(any(lines) for lines in executed.values()):
        executed = {name: [_executed(line) for line in plane.lines] for name, plane in planes.items()}
    for lines in executed.values():
        for line in lines:
            yield from own_times(line)


def _executed(line: Any) -> list[tuple[str, float, float]]:
    """Name, start and end in nanoseconds of the executions of operations on a line of a trace."""
    found = []
    for event in line.events:
        name = dict(event.stats).get("hlo_op")
        if name is None and line.name == "XLA Ops":  # on TPUs: '%fusion.1 = f32[..] fusion(..)'
            name = event.name.split(" = ")[0].lstrip("%")
        if name is not None:
            found.append((str(name), event.start_ns, event.start_ns + event.duration_ns))
    return found


def own_times(executed: list[tuple[str, float, float]]) -> Iterator[tuple[str, float]]:
    """Name and own seconds of each execution (name, start, end) on one thread: without those that lie within it."""
    ends: list[tuple[int, float]] = []  # indices and ends of the executions around the current one, outermost first
    executed = sorted(executed, key=lambda execution: (execution[1], -execution[2]))
    own = [end - start for _, start, end in executed]
    for index, (_, start, end) in enumerate(executed):
        while ends and ends[-1][1] <= start:
            ends.pop()
        if ends:
            own[ends[-1][0]] -= end - start
        ends.append((index, end))
    for (name, _, _), time in zip(executed, own, strict=True):
        yield name, max(time, 0.0) * 1e-9

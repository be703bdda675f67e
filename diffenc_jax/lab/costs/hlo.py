"""Parser of XLA's text of compiled programs: which kernels run, how often, the bytes they move, the part of the step.

The text of a program that XLA has compiled is a list of computations, each a list of instructions. Every instruction
that runs is a kernel, except instructions that only name values. A kernel moves its operands and its results:

- The body of a loop counts as often as it runs, and a called computation counts where it is called. A conditional
  counts as the branch that moves most.
- A fused kernel moves its inputs and outputs. If it reads or writes only a slice of an array, as loops over layers do
  with stacked arrays, only the slice counts. The same holds for a separate instruction.
- The start and the end of an asynchronous instruction are one kernel.
- The scratch memory of library calls does not count, since its use is not known. Arrays that a TPU holds beside its
  cores and the padding of its tiles do not count either.
- A collective instruction sends as many bytes as in a ring of its n devices: a share 1 - 1/n of an array that is
  gathered or scattered, and twice this share of an array that is summed on all devices.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

INSTRUCTION = re.compile(r"^\s+(ROOT )?%?(\S+) = (.*?) ([a-z][a-z\d-]*)\((.*?)\)(?:, (.*))?$")
ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\](?:\{[^{}]*?(S\([1-9]\d*\))?\})?")
NAMES = re.compile(
    r"(parameter|constant|get-tuple-element|tuple|bitcast|after-all|\w+-id|opt-barrier|.*-start|.*c-update)$"
)
COLLECTIVE = re.compile(r"all-|reduce-scatter|collective-")
ENTRY = "ENTRY"
SLICES, UPDATE = ("slice", "dynamic-slice", "gather"), "dynamic-update-slice"
SCRATCH = re.compile(r"\b[su]8\[\d*\](?:\{[^{}]*\})?")
# Parts of a training step, by what first fits the scopes that JAX gives an operation; also those of the published code.
PARTS = {
    "optimizer": r"/optimizer/|bias_correction",
    "encoder": r"\bencoder",
    "attention": r"attention|attn",
    "time embedding": r"TimeEmbedding|/time/|cond_proj|/cond/(?!branch)",
    "norms, swish": r"[Nn]orm(?!al)|silu",
    "dropout": r"[Dd]ropout|draw_masks|_where\)|bernoulli",
    "shortcuts, joins": r"shortcut|concatenate",
    "convolutions": r"conv(?!ert)|pool",
    "dense layers": r"dense|embed|gains|logits",
    "loops over layers": r"dynamic_(update_)?index|/(stack|rev)$",
    "rest of networks": r"score_network|score_model",
    "losses": r"losses|encdec",
    "noise": r"noise|_normal|_uniform|threefry",
}


class Kernel(NamedTuple):
    """An instruction that runs.

    Attributes:
      kind: its opcode.
      op_name: the scopes and the operation of JAX from which it, or its last operation, comes.
      runs: how often it runs.
      moved: bytes that it reads and writes in the device's memory, each time.
      cycles: the compiler's estimate for each time; 0 if it gives none.
      sent: bytes that it sends to other devices, each time.
    """

    kind: str
    op_name: str
    runs: int
    moved: int
    cycles: int
    sent: int = 0

    @property
    def part(self) -> str:
        """The part of the step, one of `PARTS`, 'collectives' or 'other'."""
        if COLLECTIVE.match(self.kind):
            return "collectives"
        return next((part for part, scopes in PARTS.items() if re.search(scopes, self.op_name)), "other")

    @property
    def is_backward(self) -> bool:
        """Whether it belongs to the gradient, or to the recomputation for the gradient."""
        return "transpose(" in self.op_name


class Instruction(NamedTuple):
    """A line of a program's text; `is_result` marks the value that its computation returns."""

    is_result: bool
    name: str
    type: str
    opcode: str
    operands: list[str]
    attributes: str

    def attribute(self, name: str) -> str:
        """The computation that the attribute `name` names; '' if there is none."""
        return (re.findall(rf"\b{name}=%?([\w.-]+)", self.attributes) or [""])[0]


Computation = dict[str, Instruction]


def parse(text: str) -> dict[str, Computation]:
    """Computations of a program by name; it starts with `ENTRY`."""
    computations: dict[str, Computation] = {}
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if head := re.match(r"(ENTRY )?%?(\S+) .*\{$", line):
            current = computations[ENTRY if head[1] else head[2]] = {}
        elif match := INSTRUCTION.match(line):
            result, name, kind, opcode, operands, attributes = match.groups()
            named = [operands] if opcode in ("parameter", "constant") else re.findall(r"%([\w.-]+)", operands)
            current[name] = Instruction(bool(result), name, kind, opcode, named, attributes or "")
    return computations


def size(kind: str, everywhere: bool = False) -> int:
    """Bytes of a value of an XLA type, such as 'bf16[8,32]{1,0}' or a tuple of such.

    Arrays beside a TPU's cores do not count, unless `everywhere`.
    """
    found = ARRAY.findall(kind)
    arrays = ((int(bits or 8), lengths.split(",")) for bits, lengths, near in found if everywhere or not near)
    return sum(bits * math.prod(int(length or 1) for length in lengths) // 8 for bits, lengths in arrays)


def kernels(text: str) -> list[Kernel]:
    """The kernels of a program, by its text."""
    return list(_walk(parse(text), ENTRY, 1))


def _walk(computations: dict[str, Computation], name: str, runs: int) -> Iterator[Kernel]:
    computation = computations[name]
    for each in computation.values():
        if each.opcode == "while":
            yield from _walk(computations, each.attribute("body"), runs * _trips(computations, each))
        elif each.opcode in ("call", "call-done"):
            call = each if each.opcode == "call" else computation[each.operands[0]]
            yield from _walk(computations, call.attribute("to_apply"), runs)
        elif each.opcode == "conditional":
            branches = re.findall(r"%([\w.-]+)", each.attributes.partition("metadata=")[0])
            walked = [list(_walk(computations, branch, runs)) for branch in branches]
            yield from max(walked, key=lambda ran: sum(kernel.runs * kernel.moved for kernel in ran))
        elif each.opcode.endswith("-done"):
            start = computation[each.operands[0]]
            both = f"{start.attributes}, {each.attributes}"
            whole = each._replace(opcode=each.opcode[:-5], operands=start.operands, attributes=both)
            yield _kernel(computations, computation, whole, runs)
        elif not NAMES.match(each.opcode):
            yield _kernel(computations, computation, each, runs)


def _trips(computations: dict[str, Computation], loop: Instruction) -> int:
    """How often the body of a loop runs: as XLA states, or the number with which its condition compares."""
    known = re.findall(r'known_trip_count":\{"n":"(\d+)"', loop.attributes)
    condition = computations[loop.attribute("condition")].values()
    bounds = [each.operands[0] for each in condition if each.opcode == "constant" and each.type.startswith("s32[]")]
    return max(map(int, known or bounds), default=1)


def _kernel(computations: dict[str, Computation], within: Computation, each: Instruction, runs: int) -> Kernel:
    fused = computations.get(each.attribute("calls"), {})
    operands = [size(within[name].type) for name in each.operands]
    if each.opcode == "fusion":
        moved = _moved_by_fusion(fused, operands, size(each.type))
    elif each.opcode in SLICES:
        moved = 2 * size(each.type)
    elif each.opcode == UPDATE:
        moved = 2 * operands[1]
    else:
        moved = sum(operands) + size(SCRATCH.sub("", each.type) if each.opcode == "custom-call" else each.type)
    texts = [inner.attributes for inner in (each, *_results(fused), *fused.values())]
    op_names = (re.search(r'op_name="([^"]+)"', attributes) for attributes in texts)
    cycles = sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', each.attributes)))
    kind = next(_results(fused)).opcode if each.opcode == "async" else each.opcode
    sent = _sent(within, each) + sum(_sent(fused, inner) for inner in fused.values())
    return Kernel(kind, next((match[1] for match in op_names if match), ""), runs, moved, cycles, sent)


def _sent(within: Computation, each: Instruction) -> int:
    """Bytes that a device sends to others of its group, in a ring; 0 if the instruction is not collective."""
    if not COLLECTIVE.match(each.opcode):
        return 0
    whole = max(size(each.type, True), sum(size(within[name].type, True) for name in each.operands))
    if each.opcode == "collective-permute":
        return whole
    return round((1 + (each.opcode == "all-reduce")) * (1 - 1 / _group_size(each.attributes)) * whole)


def _group_size(attributes: str) -> float:
    """Devices of a collective instruction, given as axes of a mesh, [groups, size], or a list; infinite if unknown."""
    if mesh := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", attributes):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
        return math.prod(int(part or sizes[axis]) for axis, part in re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", mesh[2]))
    if counted := re.search(r"replica_groups=\[\d+,(\d+)\]", attributes):
        return int(counted[1])
    listed = re.search(r"replica_groups=\{\{([\d,]+)", attributes)
    return len(listed[1].split(",")) if listed else math.inf


def _moved_by_fusion(fused: Computation, operands: list[int], results: int) -> int:
    """Bytes that a fused kernel moves, given the bytes of its operands and of all its results."""
    updates = [each for each in _results(fused) if each.opcode == UPDATE]
    moved = max(0, results - sum(size(each.type) - size(fused[each.operands[1]].type) for each in updates))
    for each in fused.values():
        if each.opcode == "parameter":
            whole, uses = operands[int(each.operands[0])], list(_uses(fused, each.name))
            if all(number == 0 and user.opcode in (*SLICES, UPDATE) for user, number in uses):
                whole = min(whole, sum(size(user.type) for user, _ in uses if user.opcode != UPDATE))
            moved += whole
    return moved


def _results(computation: Computation) -> Iterator[Instruction]:
    """The instructions whose values a computation returns, before reshapes."""
    for result in (each for each in computation.values() if each.is_result):
        for name in result.operands if result.opcode == "tuple" else [result.name]:
            while computation[name].opcode == "bitcast":
                name = computation[name].operands[0]
            yield computation[name]


def _uses(computation: Computation, name: str) -> Iterator[tuple[Instruction, int]]:
    """The instructions that use a value, or a reshaped value, each with the number of the operand."""
    for user in computation.values():
        if user.opcode == "bitcast" and name in user.operands:
            yield from _uses(computation, user.name)
        elif user.opcode != "parameter":
            yield from ((user, number) for number, operand in enumerate(user.operands) if operand == name)

"""Costs of a compiled TPU program that stand in its text: bytes of the chip's memory, and cycles.

XLA's own count, "bytes accessed", is of another quantity: it adds up what every operation reads and writes, wherever
that lies. A compiler that searches keeps most arrays in the memory beside the cores (128 MiB on a v5e) and copies them
there and back while operations run.

Bodies of loops count once.
"""

import math
import re
from typing import NamedTuple

# Operations that move nothing: other names for arrays, and the ends of copies, which are counted where they start.
FREE = {"parameter", "constant", "bitcast", "get-tuple-element", "tuple", "after-all"}
FREE_CALL = 'custom_call_target="ConcatBitcast"'  # one name for slices that were copied one by one

INSTRUCTION = re.compile(
    r"\s+(?:ROOT )?%(?P<name>[\w.-]+) = (?P<type>\(.*?\)|\S+) (?P<kind>[a-z][a-z-]*)\((?P<rest>.*)"
)
ARRAY = re.compile(
    r"(?P<type>pred|[a-z]+(?P<bits>\d+)\w*)\[(?P<sizes>[\d,]*)\](?:\{(?P<order>[\d,]*)(?::(?P<place>[^}]*))?\})?"
)
TILE = re.compile(r"T\(([\d,]+)\)")


class Array(NamedTuple):
    """Bytes of an array as it is laid out, and whether it lies in the chip's memory."""

    bytes: int
    in_memory: bool


def memory_bytes(text: str) -> int:
    """Bytes that a step reads from and writes to the chip's memory, by the text of its compiled program.

    An operation that reads a part of an array counts as one that reads all of it.
    """
    arrays: dict[str, list[Array]] = {}
    total = 0
    for line in _main_program(text).splitlines():
        match = INSTRUCTION.match(line)
        if match is None:
            continue
        name, type_, kind, rest = match.group("name", "type", "kind", "rest")
        arrays[name] = results = arrays_of(type_)
        operands = [array for operand in re.findall(r"%([\w.-]+)", rest.partition(")")[0]) for array in arrays[operand]]
        if kind.endswith("-start"):
            arrived = results[0] if kind == "copy-start" else results[len(operands)]  # behind the operands for slices
            total += arrived.bytes * (operands[0].in_memory + arrived.in_memory)
        elif kind not in FREE and not kind.endswith("-done") and FREE_CALL not in rest:
            total += sum(array.bytes for array in operands + results if array.in_memory)
    return total


def estimated_cycles(text: str) -> int:
    """The compiler's estimates for the operations of a program, added up; 0 if its text has none."""
    return sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', _main_program(text))))


def _main_program(text):
    return text[text.index("\nENTRY ") :]


def arrays_of(text: str) -> list[Array]:
    """The arrays that a type of the program consists of, such as 'bf16[8,3]{1,0:T(8,128)(2,1)S(1)}' or a tuple of them.

    The last axes of a layout are padded to multiples of its first tile. S(1) and above are other memories.
    """
    arrays = []
    for match in ARRAY.finditer(text):
        sizes = [int(size) for size in match["sizes"].split(",") if size]
        order = [int(axis) for axis in (match["order"] or "").split(",") if axis]
        place = match["place"] or ""
        tile = TILE.search(place)
        for axis, step in zip(order, reversed(tile[1].split(",")) if tile else (), strict=False):
            sizes[axis] = -(-sizes[axis] // int(step)) * int(step)
        bits = int(match["bits"] or 8)
        arrays.append(Array(math.prod(sizes) * max(bits, 8) // 8, "S(" not in place))
    return arrays

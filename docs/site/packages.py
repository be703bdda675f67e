"""The map of the packages, drawn from the imports in their files."""

import ast
import textwrap
from functools import cache
from html import escape
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "diffenc_jax"
NAMES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))

# Sizes of the drawing: the whole, a box, from one floor to the next, and a line of text.
WIDTH, BOX, HEIGHT, DOWN, LINE = 880, 166, 106, 138, 14
LETTERS = 25  # per line of a box

Point = tuple[float, float]


@cache
def imported(name: str) -> frozenset[str]:
    """The packages that the files of a package import."""
    found = set()
    for path in (PACKAGE / name).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("diffenc_jax."):
                found.add(node.module.split(".")[1])
    return frozenset(found & set(NAMES) - {name})


@cache
def reached(name: str) -> frozenset[str]:
    """The packages that a package imports, and those that these import, and so on."""
    return imported(name).union(*map(reached, imported(name)))


@cache
def floor(name: str) -> int:
    """Number of a package's floor: one above the highest that it imports."""
    return 1 + max(map(floor, imported(name)), default=-1)


def arrows(name: str) -> list[str]:
    """The packages that a package imports, without those that it also reaches through another."""
    direct = imported(name)
    return sorted(direct - frozenset().union(*map(reached, direct)))


def drawing() -> str:
    """An SVG of the packages by floor, with an arrow to each package that is imported and reached in no other way."""
    floors = [[name for name in NAMES if floor(name) == level] for level in range(max(map(floor, NAMES)) + 1)]
    places = {}  # of the middle of a box's top
    for level, names in enumerate(reversed(floors)):
        places |= {name: (WIDTH * (i + 0.5) / len(names), level * DOWN) for i, name in enumerate(names)}
    lines = [_arrow(places[name], places[other], list(places.values())) for name in NAMES for other in arrows(name)]
    boxes = [_box(name, *place) for name, place in places.items()]
    size = f"-2 -2 {WIDTH + 4} {len(floors) * DOWN - (DOWN - HEIGHT) + 4}"
    svg = f'<svg viewBox="{size}" role="img" aria-label="Packages by floor, and which imports which">'
    return "\n".join([f'<div class="map">{svg}', *lines, *boxes, "</svg></div>"])


def _arrow(start: Point, end: Point, boxes: list[Point]) -> str:
    """A curve from the bottom of one box to the top of another, with a point at its end.

    It bends beside the first box or above the second, so that its straight part is covered by no box if possible.
    """
    shift = max(-40, min(40, (end[0] - start[0]) / 5))
    x, y, to_x, to_y = start[0] + shift, start[1] + HEIGHT, end[0] - shift, end[1]
    bend = DOWN - HEIGHT
    covers = any(abs(box_x - x) < BOX / 2 and start[1] < box_y < to_y for box_x, box_y in boxes)
    turn = y if covers else to_y - bend
    curve = f"V {turn} C {x} {turn + bend / 2}, {to_x} {turn + bend / 2}, {to_x} {turn + bend} V {to_y}"
    point = f"M {to_x - 4} {to_y - 7} L {to_x} {to_y} L {to_x + 4} {to_y - 7}"
    return f'<path d="M {x} {y} {curve} {point}"/>'


def _box(name: str, middle: float, y: float) -> str:
    """A package's name, and what its docstring says of it."""
    x = middle - BOX / 2
    doc = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())) or ""
    words = textwrap.wrap(doc.splitlines()[0].rstrip(".").replace("`", ""), LETTERS)
    texts = [f'<text class="name" x="{x + 8}" y="{y + 18}">{name}</text>']
    texts += [
        f'<text class="words" x="{x + 8}" y="{y + 34 + i * LINE}">{escape(line)}</text>' for i, line in enumerate(words)
    ]
    return f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="4"/>{"".join(texts)}'

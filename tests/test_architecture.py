"""The house: which part may import which, and which library is loaded where."""

import ast
import functools
import graphlib
import itertools
import re
from collections import Counter
from pathlib import Path

from diffenc_jax.core import parts
from tests import ROOT
from tests.lab.comparisons.significance import made_up
from tests.processes import python

PACKAGE = ROOT / "diffenc_jax"
# From the bottom up. A part may import lower floors and itself, nothing else, inside functions too.
FLOORS = [
    ["core"],
    ["diffusion", "config"],
    ["nets", "data"],
    ["model", "parallel"],
    ["runs"],
    ["evaluation"],
    ["train", "sampling"],
    ["api"],
    ["commands"],
    ["__main__"],
    ["main", "__init__"],
    ["lab.__init__", "lab.stats", "lab.interop", "lab.figures"],
    ["lab.coding", "lab.costs", "lab.densities"],
    ["lab.studies", "lab.comparisons"],
    ["lab.report"],
    ["lab.commands"],
    ["lab.table"],
]
FLOOR = {part: number for number, floor in enumerate(FLOORS) for part in floor}
IMPORT_PATH = re.compile(rf"diffenc_jax\.({'|'.join(re.escape(part) for part in FLOOR)})\b(\.\w+)*(:\w+)?")
FILES = sorted(PACKAGE.rglob("*.py"))


# Files in which functions import modules of this package. Other modules that take long to load are imported at the top
# within `epy.lazy_imports`, and loaded when they are first used.
IN_FUNCTIONS = {"nets/kernels/forms.py"}
# Libraries that functions import, because help and commands that only read files do without them.
LATE_LIBRARIES = {
    *("PIL", "aiohttp", "diffrax", "etils", "fsspec", "jax"),
    *("jinja2", "matplotlib", "orbax", "scipy", "sklearn", "tensorflow"),
}


@functools.cache
def imports(path):
    """Full names of everything that a file imports, at its top or in functions, or names by import paths."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        names += imported(node, path)
        if isinstance(node, ast.Constant) and IMPORT_PATH.fullmatch(str(node.value)):
            names.append(node.value.replace(":", "."))
    for table in parts.tables():
        if table.__file__ == str(path):
            entries = [entry.target for known in table.PARTS.values() for entry in known.values()]
            bases = [kind.base for kind in table.KINDS.values()]
            names += [name.replace(":", ".") for name in (*entries, *bases)]
    return names


def imported(node, path):
    """Full names of what a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{path} has a relative import"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def part(path):
    """The part that a file belongs to: a package or a module at the top, or a package of the lab."""
    return part_of(path.relative_to(PACKAGE).with_suffix("").parts)


def part_of(names):
    return ".".join(names[:2]) if names[0] == "lab" else names[0]


def importers(library):
    """Files, relative to the package, that import a library."""
    return [str(p.relative_to(PACKAGE)) for p in FILES if any(name.split(".")[0] == library for name in imports(p))]


def test_imports_run_downward():
    upward = []
    for path in FILES:
        ours = part(path)
        theirs = {part_of(name.split(".")[1:]) for name in imports(path) if name.startswith("diffenc_jax.")}
        upward += [(str(path), name) for name in theirs - {ours} if FLOOR[name] >= FLOOR[ours]]
    assert not upward


def test_functions_import_what_is_listed():
    """Fewer of this package's modules than listed are welcome."""
    ours, libraries = set(), set()
    for path in FILES:
        functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
        statements = {inner for function in functions for inner in ast.walk(function) if imported(inner, path)}
        roots = {imported(inner, path)[0].partition(".")[0] for inner in statements}
        ours |= {str(path.relative_to(PACKAGE))} if "diffenc_jax" in roots else set()
        libraries |= roots - {"diffenc_jax"}
    assert ours <= IN_FUNCTIONS
    assert libraries <= LATE_LIBRARIES


def test_modules_import_each_other_in_no_circle():
    """Neither at their top nor inside functions, nor for types."""
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES}
    paths = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    imported = {
        name: [one if one in paths else one.rpartition(".")[0] for one in imports(paths[name])] for name in paths
    }
    graph = {name: {one for one in imported[name] if one in paths and one != name} for name in paths}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def test_the_lab_is_few_files():
    assert sum(path.name != "__init__.py" for path in (PACKAGE / "lab").rglob("*.py")) <= 63


def test_a_library_is_imported_where_it_is_wrapped():
    assert importers("orbax") == ["runs/checkpoint.py"]
    assert importers("diffrax") == ["diffusion/flow.py"]
    assert importers("constriction") == ["lab/coding/stack.py"]
    assert all(name.startswith("lab/") for name in importers("matplotlib"))
    assert [name for name in importers("flax") if name.startswith("diffusion/")] == ["diffusion/schedules.py"]


def test_only_the_mesh_names_its_axes():
    assert [str(p.relative_to(PACKAGE)) for p in FILES if '"fsdp"' in p.read_text()] == ["parallel/sharding.py"]


def test_only_runs_looks_for_the_files_of_a_workdir():
    """Others look for users' arguments, data sets and configurations; modules look for tables, a clone and devices."""
    looks = re.compile(r"\.(r?glob|iterdir|exists|is_dir|is_file)\(")
    others = [p for p in FILES if part(p) not in ("runs", "data", "lab.interop", "config", "commands", "lab.commands")]
    assert [str(p.relative_to(PACKAGE)) for p in others if looks.search(p.read_text())] == [
        "core/parts.py",
        "core/versions.py",
        "lab/comparisons/significance/jobs.py",
        "parallel/cluster.py",
    ]


LIGHT = """
import sys, diffenc_jax
assert "numpy" not in sys.modules
import {modules}
from diffenc_jax.__main__ import COMMANDS, main
codes = {{diffenc_jax.main.main(["--help"]), *(main([name, "--help"]) for name in COMMANDS)}}
heavy = {{"jax", "tensorflow", "flax"}}
assert not heavy.union(["matplotlib", "sklearn"]) & set(sys.modules)
print(codes | {{main(["report", *sys.argv[1:]])}}, heavy & set(sys.modules))
"""


def test_what_trains_and_evaluates_nothing_loads_no_jax(tmp_path):
    """Help, statistics, data, configurations and reports; the package itself loads nothing."""
    light = [p for p in FILES if part(p) in ("lab.stats", "config", "data", "main", "__init__", "__main__")]
    modules = ", ".join("diffenc_jax." + ".".join(p.relative_to(PACKAGE).with_suffix("").parts) for p in light)
    arguments = [made_up.write(tmp_path, "vdm", 0), f"--out={tmp_path / 'page.html'}"]
    assert python("-c", LIGHT.format(modules=modules), *arguments).stdout.splitlines()[-1:] == ["{0} set()"]


def test_names_of_test_files_are_their_own_and_no_module_imports_a_test():
    files = list((ROOT / "tests").rglob("*.py"))
    names = Counter(path.name for path in files if path.name not in ("__init__.py", "conftest.py"))
    assert [name for name, count in names.items() if count > 1] == []
    tests = re.compile(r"\btests\.(\w+\.)*test_|from tests(\.\w+)* import test_")
    assert [path for path in files if tests.search(path.read_text()) and path != Path(__file__)] == []


def test_floors_list_every_part_once():
    parts = list(itertools.chain.from_iterable(FLOORS))
    assert len(parts) == len(FLOOR)
    assert {part(path) for path in FILES} == set(parts)

"""The package's map, drawn from the imports: who may know whom."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "diffenc_jax"
# Each part, and the parts of the package that it may import besides itself.
COMMON = {"errors"}
MAY_IMPORT = {
    "errors": set(),
    "streams": COMMON,
    "hosts": COMMON,
    "palette": set(),
    "document": set(),
    "records": set(),
    "tables": set(),
    "environment": set(),
    "memory": set(),
    "config": {"errors"},
    "workdir": {"config", "errors", "hosts"},
    "nets": COMMON | {"config"},
    "networks": COMMON | {"config", "diffusion", "nets"},
    "diffusion": COMMON,
    "data": COMMON | {"config"},
    "stats": COMMON,
    "interop": COMMON | {"cli", "config", "data", "diffusion", "model", "nets", "train", "workdir"},
    "model": COMMON | {"config", "diffusion", "nets", "networks", "streams"},
    "calibrate": COMMON | {"hosts", "config", "data", "diffusion", "model", "streams", "train"},
    "estimators": COMMON
    | {"calibrate", "config", "data", "diffusion", "model", "networks", "stats", "streams", "train"},
    "unfinished": {"hosts", "workdir"},
    "commands": COMMON,
    "evaluate": COMMON
    | {"config", "data", "environment", "estimators", "hosts", "model", "stats", "train", "unfinished", "workdir"},
    "sampling": COMMON
    | {
        "calibrate",
        "config",
        "data",
        "diffusion",
        "estimators",
        "hosts",
        "model",
        "streams",
        "train",
        "unfinished",
        "workdir",
    },
    "train": COMMON
    | {"config", "data", "diffusion", "environment", "evaluate", "hosts", "memory", "model", "records", "streams"}
    | {"workdir"},
    "trained": COMMON | {"calibrate", "config", "data", "model", "streams", "train", "workdir"},
    "modes": COMMON
    | {
        "config",
        "data",
        "estimators",
        "evaluate",
        "hosts",
        "model",
        "records",
        "sampling",
        "train",
        "trained",
        "workdir",
    },
    "compare": COMMON | {"commands", "stats"},
    "significance": COMMON
    | {"cli", "commands", "compare", "config", "document", "palette", "stats", "tables", "train", "workdir"},
    "report": COMMON
    | {
        "cli",
        "commands",
        "compare",
        "config",
        "data",
        "depth_study",
        "document",
        "encoder_study",
        "loss_by_time",
        "records",
        "significance",
        "stats",
        "workdir",
    },
    "sample_quality": COMMON | {"commands", "config", "data", "palette", "sampling", "stats", "workdir"},
    "depth_study": COMMON | {"calibrate", "commands", "evaluate", "tables", "trained", "workdir"},
    "by_time": COMMON | {"data", "diffusion", "model", "streams", "train"},
    "loss_by_time": COMMON
    | {"commands", "by_time", "config", "data", "palette", "stats", "tables", "trained", "workdir"},
    "encoder_study": COMMON
    | {
        "commands",
        "config",
        "data",
        "diffusion",
        "estimators",
        "evaluate",
        "model",
        "palette",
        "stats",
        "streams",
        "tables",
        "train",
        "trained",
        "workdir",
    },
    "cli": COMMON | {"config", "workdir"},
    "tpu": COMMON | {"config"},
    "compile_check": COMMON | {"cli", "config", "data", "environment", "tpu", "train", "workdir"},
    "costs": COMMON | {"cli", "config", "memory", "train", "workdir"},
    "main": COMMON | {"cli", "hosts", "memory", "modes"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    """Full names of all that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    if path == PACKAGE / "__init__.py":
        return
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("diffenc_jax.")}
    assert ours <= MAY_IMPORT[part(path)] | {part(path)}


@pytest.mark.parametrize(
    "name", ["losses", "samplers", "steps", "ratio", "decoder", "gaussian", "times", "encoders", "flow", "likelihood"]
)
def test_the_mathematics_knows_no_network(name):
    assert not [i for i in imports(PACKAGE / "diffusion" / f"{name}.py") if "nets" in i or "flax" in i]


def test_only_checkpoint_knows_orbax():
    assert [p.name for p in FILES if any(i.startswith("orbax") for i in imports(p))] == ["checkpoint.py"]


def test_only_flow_knows_diffrax():
    assert [p.name for p in FILES if any(i.startswith("diffrax") for i in imports(p))] == ["flow.py"]


def test_only_sharding_names_mesh_axes():
    named = [p.name for p in FILES if '"fsdp"' in p.read_text()]
    assert named == ["sharding.py"]


def test_statistics_and_data_import_no_jax():
    for path in FILES:
        if part(path) in ("data", "stats"):
            assert not [i for i in imports(path) if i.split(".")[0] in ("jax", "flax")], path

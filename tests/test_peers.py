"""The published code beside ours: ratios of measured numbers, and a run of a made-up checkout that stays as it is."""

import hashlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from diffenc_jax.__main__ import execute
from diffenc_jax.core.errors import RunError
from tests.lab.studies.compile_check import tpu_compiler

ROOT = Path(__file__).parents[1]
# A checkout in miniature: the published code's entry points, around one linear layer per network. Its modules need all
# that is set at run time, and the module that reads data cannot be imported.
CHECKOUT = {
    "src/data/load_data.py": "raise ImportError('this module reads data')\n",
    "src/config_classes.py": """
        import flax

        @flax.struct.dataclass
        class Network:
            n_embd: int
            n_layer: int

        @flax.struct.dataclass
        class Encoder:
            nn_config: Network

        @flax.struct.dataclass
        class Config:
            score_model_config: Network
            encoder_config: Encoder
        """,
    "src/file_handling/save_load_config.py": """
        import json
        import os
        from src.config_classes import Config, Encoder, Network

        def read(file, folder):
            with open(os.path.join(folder, file)) as opened:
                return json.load(opened)

        def load_ddpm_config(file, folder):
            values = read(file, folder)
            encoder = values["encoder"]
            return Config(Network(**values["score"]), Encoder(None if encoder is None else Network(**encoder)))

        def load_optimizer_config(file, folder):
            return read(file, folder)

        def load_train_config(file, folder, changes):
            return {**read(file, folder), **changes}
        """,
    "src/training/training_pipeline.py": """
        import os
        import chex
        import flax
        import jax
        import jax.numpy as jnp
        import optax
        from flax import linen as nn
        from flax.core import FrozenDict
        from flax.training import checkpoints
        from src.data import load_data

        @flax.struct.dataclass
        class Output:
            loss: chex.Array
            extra: chex.Array = jnp.zeros(1)

        class Net(nn.Module):
            config: object

            @nn.compact
            def __call__(self, x):
                networks = [self.config.score_model_config, self.config.encoder_config.nn_config]
                for network in filter(None, networks):
                    for _ in range(network.n_layer):
                        x = nn.Dense(network.n_embd)(x)
                return Output(loss=jnp.mean(x**2))

        def decayed(params):
            return FrozenDict(jax.tree_map(lambda x: x.ndim > 1, params.unfreeze()))

        @flax.struct.dataclass
        class State:
            params: object
            opt_state: object

        class TrainingPipeline:
            def __init__(self, training, config, optimizer, folder):
                os.mkdir(os.path.join(folder, "checkpoints"))
                assert load_data.load_dataset(training, "")[2] == 0
                self.shape = load_data.get_input_shape("cifar10")
                self.tx, self.net = optax.adamw(optimizer["rate"], mask=decayed), Net(config)
                variables = self.net.init(jax.random.PRNGKey(0), jnp.zeros((training["batch_size"], *self.shape)))
                params = variables["params"]
                self.train_state = State(params, self.tx.init(params))
                self.p_train_step = jax.pmap(self.train_step_multi_gpu, "devices")

            def train_step_multi_gpu(self, state, images, classes):
                def loss(params):
                    return self.net.apply({"params": params}, images / 255.0).loss + 0.0 * classes.sum()

                value, grads = jax.value_and_grad(loss)(state.params)
                grads = jax.lax.pmean(grads, "devices")
                updates, opt_state = self.tx.update(grads, state.opt_state, state.params)
                return State(optax.apply_updates(state.params, updates), opt_state), {"loss": value}
        """,
    "config/config_opt_adamw_0002_no_clip.json": '{"rate": 0.1}',
    "config/config_train_cifar10_unconditional_1_128.json": '{"batch_size": 128}',
    "config/diffenc.json": '{"score": {"n_embd": 7, "n_layer": 2}, "encoder": {"n_embd": 7, "n_layer": 1}}',
    "config/vdm.json": '{"score": {"n_embd": 7, "n_layer": 2}, "encoder": null}',
}


@pytest.fixture
def checkout(tmp_path):
    for name, text in CHECKOUT.items():
        file = tmp_path / "checkout" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))
    return tmp_path / "checkout"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("peers")


def digests(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "options", "params"),
    [
        ("vdm", [], 3 * 7 + 7 + 7 * 7 + 7),  # two layers
        ("diffenc", ["--width=5", "--layers=1"], 3 * 5 + 5 + 5 * 5 + 5),  # one layer and that of the encoder
    ],
)
def test_a_checkout_trains_and_stays_as_it_is(checkout, model, options, params):
    before = digests(checkout)
    script = ["benchmarks/published.py", f"--diffenc={checkout}", f"--model={model}.json", "--batch=2", "--steps=3"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, *script, *options], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["params"] == params
    assert (record["batch_size"], record["timed_steps"]) == (2, 3)
    assert record["trace_and_compile_seconds"] == pytest.approx(record["trace_seconds"] + record["compile_seconds"])
    assert record["step_cpu_seconds"] > 0
    lower, upper = record["step_seconds_quartiles"]
    assert 0 < lower <= record["step_seconds"] <= upper
    assert digests(checkout) == before


@pytest.mark.slow
def test_its_step_is_compiled_for_an_absent_chip(checkout):
    """The FLOPs are those of the products of two layers: forward, and their gradients but that by the images."""
    script = ["benchmarks/published_tpu.py", f"--diffenc={checkout}", "--model=vdm.json", "--batch=2", "--quick"]
    environment = tpu_compiler.environment()
    done = subprocess.run([sys.executable, *script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["flops"] == pytest.approx(2 * 2 * 32 * 32 * (2 * 3 * 7 + 3 * 7 * 7), rel=0.3)
    assert record["bytes"] > 4 * 2 * 32 * 32 * 3
    several = subprocess.run(
        [sys.executable, *script, "--topology=v5e:2x2"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert several.stderr == "error: --topology=v5e:2x2 has 4 devices; give one of a single chip\n"


@pytest.fixture
def compare(peers, checkout, monkeypatch, tmp_path):
    """Compares pairs by made-up records, given per process in turn; returns exit code, commands and JSON lines."""
    models = {name: pair._replace(model="vdm.json") for name, pair in peers.PAIRS.items()}
    monkeypatch.setattr(peers, "PAIRS", models)

    def compare(records, *arguments):
        commands, rest = [], iter(records)

        def measure(command):
            commands.append(command)
            return next(rest)

        monkeypatch.setattr(peers, "measure", measure)
        file = tmp_path / "peers.jsonl"
        options = [f"--diffenc={checkout}", f"--json={file}", *arguments]
        code = execute(peers, "python benchmarks/peers.py", options)
        return code, commands, [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    return compare


def made_up(step, compilation, memory, params=10):
    seconds = {"step_seconds": step, "trace_and_compile_seconds": compilation}
    seconds |= {"step_cpu_seconds": 2 * step, "trace_and_compile_cpu_seconds": compilation + 1}
    return {**seconds, "peak_bytes": memory, "params": params, "load_average": step}


def test_ratios_are_those_within_each_round(compare, capsys):
    """The median of the ratios, 0.5, is not the ratio of the medians, 2 / 3 seconds."""
    theirs = [made_up(2.0, 10.0, 4e9), made_up(8.0, 20.0, 4e9), made_up(3.0, 10.0, 2e9)]
    ours = [made_up(1.0, 4.0, 1e9), made_up(2.0, 10.0, 1e9), made_up(3.0, 6.0, 1e9)]
    rounds = [record for pair in zip(theirs, ours, strict=True) for record in pair]
    code, commands, (record,) = compare(rounds, "--pairs=vdm-8", "--rounds=3", "--steps=5")
    assert code == 0
    assert [Path(command[1]).name for command in commands] == ["published.py", "train_step.py"] * 3
    assert all("--steps=5" in command for command in commands)
    assert record["ratios"]["step_seconds"] == {"median": 0.5, "range": [0.25, 1.0], "rounds": [0.5, 0.25, 1.0]}
    assert record["ratios"]["trace_and_compile_seconds"]["rounds"] == [0.4, 0.5, 0.6]
    assert record["ratios"]["peak_bytes"] == {"median": 0.25, "range": [0.25, 0.5], "rounds": [0.25, 0.25, 0.5]}
    assert [(sides["published"], sides["ours"]) for sides in record["rounds"]] == list(zip(theirs, ours, strict=True))
    out, error = capsys.readouterr()
    step, step_cpu, compilation, _, memory = (line.split() for line in out.splitlines()[2:7])
    assert step[-6:] == ["3", "2", "0.50", "0.25", "..", "1.00"]
    assert step_cpu[-6:] == ["6", "4", "0.50", "0.25", "..", "1.00"]
    assert compilation[-6:] == ["10", "6", "0.50", "0.40", "..", "0.60"]
    assert memory[-6:] == ["4", "1", "0.25", "0.25", "..", "0.50"]
    assert "Load average 1.0 to 8.0" in out
    assert len(error.splitlines()) == 3


def test_both_sides_have_the_sizes_of_the_pair(compare):
    records = [made_up(1.0, 1.0, 1.0)] * 4
    code, commands, found = compare(records, "--pairs=small-diffenc,vdm-8", "--rounds=1", "--as-published")
    assert code == 0
    assert [record["pair"] for record in found] == ["small-diffenc", "vdm-8"]
    small, ours, large, vdm = (set(command[2:]) for command in commands)
    assert {"--batch=16", "--width=32", "--layers=4"} <= small
    widths = {f"--config.model.{network}.width=32" for network in ("score", "encoder")}
    assert {"--config=cifar10:diffenc-8-2-published", "--config.train.batch_size=16", *widths} <= ours
    assert "--batch=8" in large
    assert {"--config=cifar10:vdm-8-published", "--config.train.batch_size=8", "--steps=8"} == vdm


def test_unequal_models_are_not_compared(compare, capsys):
    records = [made_up(1.0, 1.0, 1.0, params=1234), made_up(1.0, 1.0, 1.0, params=1235)]
    assert compare(records, "--pairs=vdm-8")[0] == 1
    message = "vdm-8: the published model has 1,234 parameters, ours 1,235"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["src/training/training_pipeline.py", "config/vdm.json"])
def test_another_folder_is_refused(compare, checkout, missing, capsys):
    (checkout / missing).unlink()
    assert compare([], "--pairs=vdm-8") == (2, [], [])
    error = capsys.readouterr().err
    assert error.startswith(f"error: --diffenc={checkout} has no {missing}; give a checkout of the published code")
    assert len(error.splitlines()) == 1


def test_an_unknown_pair_is_refused(compare, capsys):
    assert compare([], "--pairs=vdm-9") == (2, [], [])
    assert "unknown pair 'vdm-9', perhaps vdm-8; known: diffenc-8-2" in capsys.readouterr().err


def test_a_failed_process_is_named_with_its_last_message(peers, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys; print('first', file=sys.stderr); sys.exit('error: no memory')")
    with pytest.raises(RunError, match=r"script\.py failed: no memory; run it alone for more: "):
        peers.measure([sys.executable, str(script)])


def test_a_commit_is_told_with_changes(peers, tmp_path):
    assert peers.records.commit(tmp_path) is None
    (tmp_path / "file").write_text("first")
    identity = ["-c", "user.name=name", "-c", "user.email=name@example.org"]
    for arguments in (["init", "-q"], ["add", "file"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    commit = peers.records.commit(tmp_path)
    assert len(commit) == 40
    (tmp_path / "file").write_text("second")
    assert peers.records.commit(tmp_path) == f"{commit}+"
    assert peers.records.commit(tmp_path, apart_from=["file"]) == commit
    assert peers.records.commit(tmp_path, apart_from=["other"]) == f"{commit}+"

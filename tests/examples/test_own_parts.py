"""examples/own_parts: parts from outside, by their import paths and by short names, as docs/extending.md shows them."""

import csv
import dataclasses
import html
import inspect
import json
import shutil
from operator import attrgetter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import diffenc_jax as dj
from diffenc_jax.__main__ import main
from diffenc_jax.config import flatten, load_config
from diffenc_jax.core import parts
from diffenc_jax.core.errors import InputError
from diffenc_jax.core.keys import key
from diffenc_jax.data.sources import spec_of
from diffenc_jax.diffusion.encoders import Encoder
from diffenc_jax.evaluation.estimator import Estimator
from diffenc_jax.lab.coding.choices import Compression
from diffenc_jax.lab.coding.codec import KEYS
from diffenc_jax.lab.coding.container import Container, pack
from diffenc_jax.lab.comparisons.significance.grid import FILE, Grid
from diffenc_jax.model import build, outside_parts
from diffenc_jax.nets.network import ScoreNetwork
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.runs.metrics import read_metrics
from diffenc_jax.sampling.samplers import Sampler
from diffenc_jax.train import loop
from diffenc_jax.train.program import TrainingProgram
from tests import tiny
from tests.evaluation.gaussian import IMAGES, PARAMS, evaluate, images, run_with
from tests.examples.extending_page import shown
from tests.nets import contract
from tests.refusals import refused
from tests.stored_runs import change, write_images, write_run
from tests.train.running import shared_program, train

PACKAGE = "own_parts"
NAMES = ("encoder:Fading", "schedule:Cosine", "estimator:Mirrored", "network:Convolutions", "optimizer:Nesterov")
FADING, COSINE, MIRRORED, NETWORK, OPTIMIZER = (parts.Allowed(f"own_parts.{name}") for name in NAMES)
TABLE = parts.Allowed("own_parts.writer:Table")


def built(config):
    return build(config, spec_of(config))


def test_keys_of_another_kind_take_their_defaults_and_its_own_values():
    config = load_config("digits:diffenc", [f"model.encoder.kind={FADING}", "model.schedule.kind=monotone"])
    assert config.model.encoder.to_dict() == {"kind": FADING, "power": 1.0}
    config = load_config("digits:vdm", ["model.encoder.power=2", f"model.encoder.kind={FADING}"])
    x, gamma = jnp.ones((3, 8, 8, 1)), jnp.asarray([-5.0, 0.0, 4.0])
    np.testing.assert_allclose(built(config).encoder.mean(x, gamma)[:, 0, 0, 0], 1 / (1 + np.exp(gamma)), rtol=1e-5)
    assert list(outside_parts(config)) == [f"model.encoder.kind={FADING}"]


REFUSED = [
    ([f"model.encoder.kind={FADING}", "model.encoder.powr=2"], "perhaps model.encoder.power; model.encoder has"),
    ([f"model.encoder.kind={COSINE}"], "is no encoder, which is a subclass of diffenc_jax.diffusion"),
    ([f"model.encoder.kind={FADING}", "model.encoder.power=-1"], "model.encoder.power must be at least 0, not -1"),
    (["model.encoder.kind=own_parts.encoder:Fadign"], "own_parts.encoder has no Fadign, perhaps Fading; it has"),
    (["model.encoder.kind=not_here.encoder:X"], "No module named 'not_here'; install it, or start where its file"),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSED)
def test_parts_and_keys_that_are_none_are_refused_in_one_line(overrides, message):
    with pytest.raises(InputError, match=message) as caught:
        built(load_config("digits:vdm", overrides))
    assert "\n" not in str(caught.value)


class Plain(ScoreNetwork):
    width: int = key(64, "Channels.")

    @nn.compact
    def __call__(self, x, t, dropout_key=None, condition=None, with_heads=False):
        return nn.Conv(x.shape[-1], (1, 1))(x)


class Flat(Plain):
    def __call__(self, x, t, dropout_key=None, with_heads=False):
        return jnp.zeros(len(x))


class Half(Plain):
    def __call__(self, x, t, dropout_key=None, with_heads=False):
        return jnp.zeros(x.shape, jnp.bfloat16)


class Counting(Plain):
    def __call__(self, x, t, dropout_key=None, with_heads=False):
        return x * self.variable("counts", "calls", lambda: jnp.zeros(())).value


class Training(Plain):
    @nn.compact
    def __call__(self, x, t, dropout_key=None, with_heads=False):
        assert dropout_key is None, "no dropout"
        return nn.Conv(x.shape[-1], (1, 1))(x)


class Raising(Encoder):
    def mean(self, x, gamma):
        raise KeyError("mean")


class Wrong(Encoder):
    def mean(self, x, gamma):
        return x[..., None] * jnp.ones(3)


def prediction(z):
    return z


def test_networks_that_cannot_be_called_are_refused():
    kind, encoder = (f"model.{part}.kind={__name__}:" for part in ("score", "encoder"))
    plain = load_config("digits:diffenc", [f"{kind}Plain"])
    assert plain.model.score.to_dict() == {"kind": f"{__name__}:Plain", "width": 64}  # not the width of the part before
    assert built(plain).score.width == 64
    for given, message in (
        ([f"{kind}Plain", "model.derivative_head=True"], "cannot be called with the heads derivative: "),
        ([f"{kind}Flat"], r"must return the output as float32 \[2, 8, 8, 1\] for .*, not float32 \[2\]"),
        ([f"{kind}Half"], r"must return the output as float32 .*, not bfloat16"),
        ([f"{kind}Counting"], "cannot be called: "),
        ([f"{kind}Training", "model.encoder.kind=identity"], "cannot be used: no dropout"),
        *(([f"{encoder}{name}", f"{kind}Plain"], f"{encoder}{name} cannot be used: ") for name in ("Raising", "Wrong")),
        ([f"{kind}Plain", "model.encoder.kind=identity", f"model.prediction={__name__}:prediction"], "cannot be used"),
    ):
        config = load_config("digits:diffenc", given)
        with pytest.raises(InputError, match=message) as caught:
            TrainingProgram(built(config), config, make_mesh())
        assert "\n" not in str(caught.value)


def test_installed_parts_have_short_names(announced):
    assert {"fading", "identity"} <= set(parts.entries("encoder"))
    kinds = ["encoder.kind=fading", "schedule.kind=cosine", "score.kind=convolutions"]
    config = load_config("digits:vdm", [f"model.{kind}" for kind in kinds])
    assert type(built(config).encoder) is parts.load("encoder", FADING)
    (announced / "entry_points.txt").write_text("[diffenc_jax.parts]\nencoder.identity = own_parts.encoder:Fading\n")
    parts.entries.cache_clear()
    with pytest.raises(InputError, match=r"two installed parts are called encoder.identity: diffenc_jax\S+ and own_p"):
        parts.entries("encoder")


@pytest.mark.parametrize("statement", ["raise SystemExit", "raise KeyError('mine')"])
@pytest.mark.parametrize("entry", ["command.halt = halting", "study.halt = halting:Halt"])
def test_an_installed_command_that_cannot_be_imported_is_refused(announced, entry, statement, capsys):
    (announced / "entry_points.txt").write_text(f"[diffenc_jax.parts]\n{entry}\n")
    (announced.parent / "halting.py").write_text(statement)
    parts.entries.cache_clear()
    error = refused(main, ["halt", "--help"], capsys)
    assert "the program by SystemExit()" in error or "'mine'" in error


def test_the_encoder_agrees_with_what_the_base_class_derives_from_its_mean(x64):
    encoder, x, gamma = parts.load("encoder", FADING)(0.7), np.ones((5, 2, 2, 1)), np.linspace(-12.0, 5.0, 5)

    @jax.jit
    def computed(x, gamma):
        encoding = encoder.mean_and_slope(x, gamma)
        drifts = encoding.drift, Encoder.mean_and_slope(encoder, x, gamma).drift
        return drifts, encoder.image_estimate(encoding.x_t, gamma)

    drifts, estimate = computed(x, gamma)
    np.testing.assert_allclose(*drifts, rtol=1e-6)
    np.testing.assert_allclose(estimate, x, rtol=1e-12)


@pytest.mark.parametrize(("kind", "name"), [("score", NETWORK), ("optimizer", OPTIMIZER), ("writer", TABLE)])
def test_the_page_shows_the_file(kind, name):
    source = inspect.getsource(inspect.getmodule(parts.load(kind, name)))
    assert shown(source.partition("\n")[0].strip('"')).strip() == source.strip()


def test_the_encoder_of_the_page_is_that_of_the_package(tmp_path, monkeypatch):
    (tmp_path / "of_the_page.py").write_text(shown("x_t = "))
    monkeypatch.syspath_prepend(tmp_path)
    x, gamma = jnp.ones(2), jnp.asarray([-5.0, 4.0])
    kinds = (parts.load("encoder", path) for path in (parts.Allowed("of_the_page:Fading"), FADING))
    np.testing.assert_allclose(*(kind(0.7).mean(x, gamma) for kind in kinds))


def test_the_network_keeps_the_contract():
    network = parts.load("score", NETWORK)(width=16, layers=1, bin_width=2 / 17)
    contract.assert_mask_matters_and_computation_does_not(network)
    contract.assert_zero_at_initialisation(network)
    contract.assert_heads_leave_the_output(network)


def test_the_configuration_of_the_page_trains_network_and_optimizer(tmp_path):
    (tmp_path / "mine.py").write_text(shown("The digits with my network"))
    changes = {"model.labels": True, "model.error_head": True, "train.batch_size": 32, "train.warmup_steps": 0}
    run = dj.Run(f"{tmp_path / 'mine.py'}:mine", changes | {"model.score.width": 16, "model.score.layers": 1})
    assert run.config.train.optimizer.kind == OPTIMIZER
    state, first = run.step(run.init(), run.batch(0))
    for step in range(1, 30):
        state, last = run.step(state, run.batch(step))
    assert all(last[name] < 0.7 * first[name] for name in ("bpd", "error_score"))
    assert set(outside_parts(run.config)) == {f"model.score.kind={NETWORK}"}


def test_the_angle_of_the_schedule_is_linear_in_time():
    schedule, t = parts.load("schedule", COSINE)(-13.3, 5.0), jnp.linspace(0.0, 1.0, 11)
    angle = np.arctan(np.exp(0.5 * np.asarray(schedule.apply({}, t), np.float64)))
    np.testing.assert_allclose(np.diff(angle), (angle[-1] - angle[0]) / 10, rtol=1e-4)


def test_the_estimator_is_unbiased_and_has_less_noise():
    pixels, nats = images(IMAGES, 0), {}
    options = {MIRRORED: {"pairs": 2}, "bound": {}}
    for name, keys in options.items():
        changes = {f"eval__options__{key}": value for key, value in keys.items()}
        estimator = Estimator.of(run_with(eval__estimator=name, eval__passes=32, **changes))
        values = evaluate(estimator, pixels, estimator.tables(PARAMS))
        nats[name] = sum(values[term] for term in estimator.terms)
    means = np.stack([values.mean(0) for values in nats.values()])
    noise = np.stack([values.std(0) / 32**0.5 for values in nats.values()])
    assert noise[0].mean() < 0.9 * noise[1].mean()
    errors = (means[1] - means[0]) / np.hypot(*noise)
    assert abs(errors.mean()) < 4 / np.sqrt(errors.size)


def test_a_resumed_run_continues_the_table_of_its_evaluations(tmp_path, monkeypatch, announced):
    monkeypatch.setattr(loop, "TrainingProgram", shared_program)
    images, workdir, table = write_images(tmp_path / "images.npz"), tmp_path / "run", tmp_path / "run/evaluations.csv"
    changes = {"data__source": str(images), "eval__time_sampling": "uniform", "eval__every_steps": 2}
    for steps in (5, 8):
        train(tiny.config("vdm", small=True, **changes, train__steps=steps, log__writers=("table",)), workdir)
        with table.open(newline="") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        assert [row["step"] for row in rows] == [2, 4, 5, 6, 8][: steps - 2]
        assert rows == [row for row in read_metrics(workdir) if "test_total" in row]
        with table.open("a") as file:
            file.write("6,9,9,9,9\n")  # a run that is killed after this evaluation, and before the next checkpoint


def test_keys_of_a_sampler_are_checked():
    with pytest.raises(InputError, match=r"sample.sampler=ancestral has no keys pairs; it has none"):
        Sampler.of(run_with(sample__options={"pairs": 2}))


PART = "stranger:Part"  # of a module that only a run, a root or a file names
NAMED = {"loss": "extrapolation", "eval": "estimator", "sample": "sampler"}  # keys of a run that name it, by section
ANSWERS = {
    "": "whose code runs only if you allow it; if you trust stranger, give --plugins=stranger, or plugins=['stranger']",
    "--plugins=stranger": "stranger cannot be imported: it was",
}


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    """Arguments of commands about a run, a root or a compressed file that names a part from a module on the path."""
    (tmp_path / "stranger.py").write_text("raise RuntimeError('it was')")
    monkeypatch.syspath_prepend(tmp_path)
    images, root = write_images(tmp_path / "images.npz"), tmp_path / "root"
    ours, _ = (write_run(root / f"vdm-seed{seed}", images, arm="vdm", seed=seed) for seed in range(2))
    run = shutil.copytree(ours, tmp_path / "run")
    stored = json.loads((run / "config.json").read_text())
    change(run / "config.json", **{section: stored[section] | {name: PART} for section, name in NAMED.items()})
    values = [flatten(tiny.config(loss__depth=4).to_dict())[key] for key in KEYS]
    values[KEYS.index("loss.extrapolation")] = PART
    one = np.ones(1, np.uint32)
    values += dataclasses.astuple(Compression())
    (tmp_path / "file").write_bytes(pack(Container(1, values, [], {}, one, [one])))
    final = [f"eval.estimator={PART}"]
    grid = Grid(config="digits", arms=("vdm",), seeds=(0, 1), overrides=(), passes=None, reference="vdm", final=final)
    (root / FILE).write_text(json.dumps(grid.note()))
    file = ["-o", tmp_path / "written"]
    return {
        **{name: [run] for name in parts.own("study") if name != "sample-quality"},
        "eval": [run],
        "sample": [run],
        "compress": [run, images, *file],
        "decompress": [ours, tmp_path / "file", *file],
        "significance": ["report", f"--root={root}"],
        "report": [root, f"--out={tmp_path / 'page.html'}"],
    }


def test_no_key_of_a_stored_configuration_imports_anything(strangers):
    """A module that only the run names is refused where it would be imported."""
    run = strangers["decompress"][0]
    stored = json.loads((run / "config.json").read_text())
    for section, name in (NAMED | {"data": "source"}).items():
        change(run / "config.json", **{section: stored[section] | {name: PART}})
        with pytest.raises(InputError, match=f"names {section}.{name}={PART}, whose code runs only if you allow it"):
            attrgetter("evaluator", "sampling", "test")(dj.open(run))
        change(run / "config.json", **stored)


def test_commands_import_only_what_is_allowed(strangers, capsys):
    """No command imports what a run, a root or a file names; each takes --plugins, and then it does."""
    for name, given in strangers.items():
        for plugins, answer in ANSWERS.items():
            code = main([name, *map(str, given), *([plugins] if plugins else [])])
            said = capsys.readouterr().err if name != "report" else Path(given[1].partition("=")[2]).read_text()
            assert answer in html.unescape(said), (name, plugins, said)
            assert code == (0 if name == "report" else 2)

"""Runs on vectors, series and fields of real numbers, from a file to log p; the files are in test_real_numbers.py."""

import json
import re
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffenc_jax as dj
from diffenc_jax.core import progress
from diffenc_jax.core.errors import InputError, NotFinite
from tests import tiny
from tests.stored_runs import change

SMALL = {
    "model.score": {"kind": "mlp", "width": 16, "layers": 1, "dropout": 0.0, "fourier_bins": (), "time_scale": 100.0},
    "train.steps": 2,
    "train.batch_size": 16,
    "data.shuffle_shards": 4,
    "eval.batch_size": 8,
    "eval.passes": 2,
    "log.writers": (),
}
UNIT = np.asarray([1e-3, 40.0, 2e5])  # of the three features, in another file


def table(scale=1.0, shift=0.0):
    """60 correlated vectors of three features, with conditions of two numbers that shift them."""
    rng = np.random.RandomState(0)
    labels = rng.normal(size=(60, 2))
    x = rng.normal(size=(60, 3)) @ np.asarray([[1.0, 0.5, 0.0], [0.0, 0.7, 0.1], [0.0, 0.0, 0.2]])
    return (x + labels[:, :1]) * scale + shift, 5.0 + 100.0 * labels


def write(path, x, y=None):
    """48 training and 12 test vectors, with their conditions."""
    labels = {} if y is None else {"y_train": y[:48], "y_test": y[48:]}
    np.savez(path, train=x[:48], test=x[48:], **labels)
    return path


def run_on(path, arm="vdm", **changes):
    return dj.Run(f"arrays:{arm}", SMALL | {"data.source": str(path)} | tiny.by_key(changes))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on vectors with conditions."""
    return run_on(write(tmp_path_factory.mktemp("arrays") / "table.npz", *table()), model__labels=True)


@pytest.fixture(scope="module")
def params(run):
    """Parameters that are not those of the start."""
    return tiny.drawn(run.model, scale=0.3)


@pytest.fixture(scope="module")
def by_default(run, params):
    """log p of the test vectors with the default tolerances of the solver, and its error."""
    return run.log_prob(run.test, run.test_labels, state=params)


PRECISE = {"ode.rtol": 1e-7, "ode.atol": 1e-7}


@pytest.fixture(scope="module")
def precise(run, params):
    """log p of the test vectors with far smaller tolerances, which are changed for this call."""
    return run.log_prob(run.test, run.test_labels, state=params, **PRECISE)


@pytest.mark.parametrize("estimator", ["ode", "bound"])
def test_log_prob_depends_neither_on_the_batch_nor_on_the_units(run, params, estimator, tmp_path):
    x, y = run.test, run.test_labels
    together = run.log_prob(x, y, estimator, params)
    for rows in (slice(1), slice(3), slice(5, 9)):
        index = np.arange(len(x))[rows]
        part = run.log_prob(x[rows], y[rows], estimator, params, index)
        np.testing.assert_array_equal(part.nats, together.nats[rows])
    other = run_on(write(tmp_path / "other.npz", *table(UNIT, [0.0, 1e6, 0.0])), model__labels=True)
    in_units = other.log_prob(other.test, other.test_labels, estimator, params)
    np.testing.assert_allclose(in_units.nats, together.nats - np.log(UNIT).sum(), atol=2e-3)
    assert (together.standard_error > 0).all()


def test_the_error_without_noise_is_the_solvers(run, params, by_default, precise):
    """It is the distance to a far more exact solution."""
    nats, errors = by_default
    distance = np.abs(nats - precise.nats)
    assert errors.shape == (12,)
    assert 0.5 * distance.mean() < errors.mean() < 2.0 * distance.mean()
    record = run.evaluate(params, estimator="ode")["numerical_error"]
    assert record["rms"] * 3 * np.log(2) == pytest.approx(np.sqrt(np.square(errors).mean()), rel=0.5)


def test_rows_of_one_index_share_their_noise(run, params):
    """So their differences have less noise than those of rows with noise of their own."""
    x, y = np.repeat(run.test[:1], 12, axis=0), run.test_labels[:1] + np.linspace(0.0, 1e-3, 12)[:, None]
    shared, own = (run.log_prob(x, y, "bound", params, index).nats for index in (7, None))
    assert np.std(shared) < 0.1 * np.std(own)
    np.testing.assert_array_equal(run.log_prob(x[:2], y[:2], "bound", params, [0, 7]).nats, [own[0], shared[1]])
    for index in (-1, [0], 0.5, [[0] * 12], 2**31):
        with pytest.raises(InputError, match=r"index must be one whole number from 0, or 12, below 2\*\*31"):
            run.log_prob(x, y, "bound", params, index)


@pytest.mark.parametrize("estimator", ["ode", "bound"])
def test_an_example_too_far_from_the_mean_is_an_error(run, params, estimator):
    x, y = run.test[:2] * [[1.0], [1e30]], run.test_labels[:2]
    far = "example 1 of x has (nan|-?inf): it reaches [0-9.e+]+ standard deviations from the mean; leave it out"
    with pytest.raises(NotFinite, match=far):
        run.log_prob(x, y, estimator, params)


def test_a_result_of_broken_parameters_is_an_error(run, params):
    x, y, broken = run.test[:2], run.test_labels[:2], jax.tree.map(lambda leaf: leaf * np.inf, params)
    for what, call in (
        ("example 0 of x", lambda: run.log_prob(x, y, "ode", broken)),
        ("example 0 of x", lambda: run.log_prob(x, y, "bound", broken)),
        ("example 0 of test", lambda: run.evaluate(broken)),
        ("sample 0", lambda: run.sample(broken, 2, y)),
    ):
        message = "has (nan|-?inf): the parameters are not finite; take an earlier checkpoint"
        with pytest.raises(NotFinite, match=f"{what} {message}"):
            call()


def test_the_density_checks_shapes_also_while_it_is_traced(run, params):
    process = run.process(run.test_labels[:2], params)
    for x, message in (
        (run.test[:2, :1], r"x must be \[B, 3\]; it is \[2, 1\]"),
        (run.test[0], r"x must be \[B, 3\]; it is \[3\]"),
        (run.test[:3], "x has 3 examples, and the process 2 conditions; bind the process to one condition per example"),
    ):
        log_prob = partial(dj.density.log_prob, process)
        for function in (log_prob, jax.jit(log_prob)):
            with pytest.raises(InputError, match=message):
                function(jnp.asarray(x, jnp.float32))
    with pytest.raises(InputError, match=r"a condition must be \[B, 2\]; this one is \[2, 3\]"):
        process.with_condition(jnp.zeros((2, 3)))


def test_a_slow_call_says_what_to_change(run, params, capfd, monkeypatch):
    monkeypatch.setattr(progress, "SLOW", 0.0)
    run.log_prob(run.test, run.test_labels, state=params)
    advice = r"log_prob has taken .*: .*eval.batch_size=16 .* 12, .* 3 derivatives .* ode.rtol"
    assert re.search(advice, capfd.readouterr().err)


def test_log_prob_is_minus_the_records_mean(run, params):
    record = run.evaluate(params)
    nats = run.log_prob(run.test, run.test_labels, "bound", params).nats
    assert -nats.mean() / (3 * np.log(2)) == pytest.approx(record["bpd"]["total"], rel=1e-6)


@pytest.mark.parametrize("arm", ["vdm", "diffenc"])
def test_the_density_integrates_to_one(arm, tmp_path):
    """With an encoder, the estimate of its slope is part of the flow's divergence."""
    encoder = {"model__encoder__width": 16, "model__encoder__layers": 1} if arm == "diffenc" else {}
    run = run_on(write(tmp_path / "flat.npz", table()[0][:, :2]), arm, eval__batch_size=512, **encoder)
    line = np.linspace(-12, 12, 41)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    nats = run.log_prob(grid, state=tiny.drawn(run.model, scale=0.1)).nats
    assert np.exp(nats).sum() * 0.6**2 == pytest.approx(1, abs=1e-3)


def test_a_feature_of_a_vector_is_a_channel_and_a_pixel(run, params):
    changes = {"model.labels": True, "loss.depth": 3, "loss.times": "optimal", "fit.images": 48, "fit.grid": 16}
    by_unit = (
        run_on(run.config.data.source, **changes, loss__variance_ratio=f"optimal_{unit}")
        for unit in ("channel", "pixel")
    )
    np.testing.assert_allclose(*(own.log_prob(run.test, run.test_labels, "bound", params).nats for own in by_unit))


def test_samples_come_with_their_density(run, params):
    labels = run.test_labels[:4]
    drawn, nats = run.sample(params, 4, labels, return_log_prob=True)
    process = run.process(labels, params)
    np.testing.assert_allclose(nats, dj.density.log_prob(process, jnp.asarray(drawn, jnp.float32)), atol=5e-3)
    with pytest.raises(InputError, match="give labels"):
        run.sample(params, 4, return_log_prob=True)


def test_conditions_matter(run, params, by_default):
    other = run.log_prob(run.test, run.test_labels + 300.0, "ode", params).nats
    assert np.abs(other - by_default.nats).min() > 1e-3


def test_full_keys_may_be_changed_for_one_call(run, params, by_default, precise):
    """Not those that decide what the model is."""
    x, y = run.test, run.test_labels
    np.testing.assert_array_equal(precise.nats, dj.Run(run.config, PRECISE).log_prob(x, y, state=params).nats)
    assert (precise.nats != by_default.nats).any()
    with pytest.raises(InputError, match=r"^model.score.width=8 .*: this model has another value; give such keys to"):
        run.log_prob(x, y, state=params, **{"model.score.width": 8})


NO_NUMBERS = {
    "complex": (lambda x: x + 1j, "are complex128; give an array of real or whole numbers"),
    "masked": (lambda x: np.ma.masked_array(x, x > 0), "are a masked array, whose mask would be lost; leave out"),
    "boolean": (lambda x: x > 0, "are bool; give an array of real"),
    "text": (lambda x: x.astype(str), "are str1024; give an array of real"),
    "objects": (lambda x: x.astype(object), "are object; give an array of real"),
    "four times the precision": (lambda x: x.astype(np.longdouble), "at most 64 bits"),
    "ragged": (lambda x: [[1.0, 2.0], [3.0]], "are no array: .* inhomogeneous shape .*; give rows of the same length"),
    "one number": (lambda x: 1.0, r"must be \[N, \d\]; these are \[\]"),
    "beyond float32": (lambda x: 0 * x - 1e42, ", standardised in float32: .* values are NaN or infinite, the first"),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_what_is_no_array_of_numbers_is_refused(run, params, name):
    """As data and as conditions, by every verb that takes them."""
    change, message = NO_NUMBERS[name]
    x, y = run.test, run.test_labels
    for what, call in (
        ("data", lambda: run.log_prob(change(x), y, "bound", params)),
        ("data", lambda: run.terms(params, change(x), labels=y)),
        ("labels", lambda: run.log_prob(x, change(y), "bound", params)),
        ("labels", lambda: run.process(change(y), params)),
        ("labels", lambda: run.sample(params, len(y), change(y))),
    ):
        with pytest.raises(InputError, match=f"^(the )?{what}.*{message}"):
            call()


def test_a_trained_run_keeps_its_standardisation(tmp_path):
    """Evaluation takes the stored means, also if the training data are another file's."""
    x, _ = table()
    run = run_on(write(tmp_path / "table.npz", x))
    state, _ = run.fit(tmp_path / "run")
    nats = run.log_prob(run.test, state=state).nats
    write(tmp_path / "table.npz", np.concatenate([2.0 * x[:48] + 1.0, x[48:]]))
    opened = dj.open(tmp_path / "run", {"eval.estimator": "ode"})
    np.testing.assert_allclose(opened.log_prob(opened.test).nats, nats, rtol=1e-6)
    with pytest.raises(InputError, match="was trained on other images"):
        run_on(tmp_path / "table.npz", train__steps=4).fit(tmp_path / "run")


@pytest.fixture(scope="module")
def workdir(run, tmp_path_factory):
    """The run on vectors with conditions, trained."""
    folder = tmp_path_factory.mktemp("arrays") / "run"
    run.fit(folder)
    return folder


def number(index, value):
    """Edit of a standard: its first mean (0) or deviation (1) becomes `value`."""
    return lambda standard: standard[("mean", "deviation")[index]].__setitem__(0, value)


def entries(count):
    """Edit of a standard: it has `count` times its first entries."""
    return lambda standard: standard.update({name: numbers[:1] * count for name, numbers in standard.items()})


OUT_OF_RANGE = [(1, 0), (1, -1.0), (1, np.nan), (1, 1e308), (1, 5e-324), (0, np.nan), (0, np.inf), (0, 1e308)]
EDITS = {
    **{f"{index} {value}": (number(index, value), "which float32 cannot hold or") for index, value in OUT_OF_RANGE},
    **{f"{count} entries": (entries(count), f"there are {count} means and {count} dev") for count in (0, 1, 4)},
    "a longer mean": (lambda standard: standard["mean"].append(0.0), r"there are \d means and \d deviations"),
    "no mean": (lambda standard: standard.pop("mean"), r"config.json is damaged, .*: standards\..*\.mean is wrong"),
    "a plausible mean": (number(0, 0.2), "the standards in config.json are not those that the run was trained with"),
}


@pytest.mark.parametrize("kind", ["data", "labels"])
@pytest.mark.parametrize("name", EDITS)
def test_edited_standards_are_refused(workdir, kind, name, tmp_path):
    edit, message = EDITS[name]
    run = shutil.copytree(workdir, tmp_path / "run")
    standards = json.loads((run / "config.json").read_text())["standards"]
    edit(standards[kind])
    change(run / "config.json", standards=standards)
    with pytest.raises(InputError, match=f"{message}.*; restore"):
        dj.open(run)


TINY = {f"model.score.{name}": value for name, value in dict(width=16, layers=1, levels=1).items()}
SHAPES = {
    "series, U-Net": ((8, 2), "vdm-series", TINY),
    "series, transformer": ((8, 2), "vdm", {"model.score": tiny.SCORE_NETWORKS["transformer"]}),
    "fields, encoder": ((4, 4, 1), "diffenc-fields", TINY | {"model.encoder": tiny.ENCODERS["dct"]}),
    "vectors, encoder": ((3,), "diffenc", {}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, tmp_path):
    """A step changes the parameters, and the bound of new data is finite."""
    shape, arm, changes = SHAPES[name]
    np.save(tmp_path / "data.npy", np.random.RandomState(0).normal(size=(40, *shape)))
    small = {key: value for key, value in SMALL.items() if key != "model.score"}
    run = dj.Run(f"arrays:{arm}", small | changes | {"data.source": str(tmp_path / "data.npy")})
    state, metrics = run.step(run.init(), run.batch(0))
    assert np.isfinite(metrics["bpd"])
    assert metrics["grad_norm"] > 0
    assert run.sample(state, 2).shape == (2, *shape)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.decoder.kind": "levels"}, "model.decoder.kind=levels is for whole numbers, and data.pixel_levels=Non"),
        ({"model.score": tiny.SCORE_NETWORKS["transformer"]}, r"these are vectors \[N, 3\]; save series of one"),
        ({"train.augment": "flip"}, "train.augment=flip is for images"),
        ({"eval.estimator": "code_length"}, "there is no code for a model with model.decoder.kind=gaussian"),
        ({"ode.dequantisation_draws": 2, "eval.estimator": "ode"}, "real numbers are not dequantised"),
    ],
)
def test_what_real_numbers_cannot_have(changes, message, tmp_path):
    np.save(tmp_path / "x.npy", table()[0])
    with pytest.raises(InputError, match=message):
        dj.Run("arrays:vdm", {"data.source": str(tmp_path / "x.npy"), **changes}).evaluator  # noqa: B018

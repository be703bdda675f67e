"""The public API: a run's verbs agree with each other, with training on disk, and with the mathematics."""

import math
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import diffenc_jax as dj
from diffenc_jax.__main__ import main
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.runs import storage
from diffenc_jax.sampling.pictures import picture
from tests import tiny
from tests.tensorboard import shown


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run on images of its own."""
    path = tmp_path_factory.mktemp("images") / "images.npz"
    np.savez(path, train=tiny.images(40), test=tiny.images(12, seed=1))
    changes = {"data.source": str(path), "eval.passes": 2, "eval.time_sampling": "uniform"}
    return dj.Run(tiny.config("vdm", small=True), changes | {"log.writers": ["tensorboard"]})


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """The run trained in a workdir: its last state, the record of it, and the workdir."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    state, record = run.fit(workdir)
    return state, record, workdir


def test_steps_by_hand_are_those_of_training(run, trained):
    """The metrics are those of the step: each bits/dim is the sum of its terms, and differs from step to step."""
    state, bits = run.init(), set()
    for step in range(run.config.train.steps):
        state, metrics = run.step(state, run.batch(step))
        assert metrics["bpd"] == pytest.approx(sum(metrics[name] for name in dj.losses.TERMS))
        bits.add(metrics["bpd"])
    assert len(bits) == run.config.train.steps
    jax.tree.map(np.testing.assert_array_equal, state.ema, trained[0].ema)


def test_an_evaluation_in_memory_is_the_record_on_disk(run, trained):
    """With the passes of the configuration, or of the call."""
    state, record, workdir = trained
    written = list((workdir / "eval").iterdir())
    for found in (run.evaluate(state), dj.open(workdir, {"eval.passes": 1}).evaluate(passes=2)):
        for key in ("bpd", "estimator", "config_hash"):
            assert found[key] == record[key]
    assert list((workdir / "eval").iterdir()) == written


def test_a_command_reads_each_file_of_a_run_once(trained, monkeypatch):
    """The configuration, the record with its values, and the commands so far."""
    names, read = [], storage.read
    monkeypatch.setattr(storage, "read", lambda path: names.append(path.name) or read(path))
    assert main(["eval", str(trained[2])]) == 0
    assert Counter(names)["config.json"] == 1
    assert set(Counter(names).values()) == {1}


def test_terms_average_to_the_evaluation(run, trained):
    state, record, _ = trained
    totals = [np.asarray(run.terms(state.ema, run.test, seed).total) for seed in range(100)]
    bits = np.stack(totals) / (run.model.spec.dims * math.log(2))
    error = math.hypot(bits.mean(axis=1).std() / 10, record["standard_error"]["noise"])
    assert abs(bits.mean() - record["bpd"]["total"]) < 4 * error


NO_IMAGES = [
    (tiny.images(4) / 17, "images must be uint8, with the values 0 .. 16; these are float64"),
    (tiny.images(4) + np.uint8(17), "pixels must lie in 0 .. 16; those of these images lie in 17 .. 3"),
    (tiny.images(4).astype(int) - 1, "pixels must lie in 0 .. 16; those of these images lie in -1 .. 1"),
    (tiny.images(4)[0], r"images must be \[N, 4, 4, 1\]; these are \[4, 4, 1\]"),
]


@pytest.mark.parametrize(("images", "message"), NO_IMAGES)
def test_terms_of_what_is_no_image_are_refused(run, trained, images, message):
    with pytest.raises(dj.InputError, match=f"^{message}"):
        run.terms(trained[0].ema, images)


def test_terms_are_the_same_for_whole_numbers_of_any_type(run, trained):
    ours, theirs = (run.terms(trained[0].ema, run.test.astype(kind)).total for kind in (np.uint8, np.int32))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("verb", ["evaluate", "sample"])
def test_a_run_without_parameters_says_so(run, trained, verb):
    with pytest.raises(dj.InputError, match=r"^this run has no trained parameters; .*dj\.open\(WORKDIR\)$"):
        getattr(run, verb)()
    params = trained[0].ema
    for other in ({}, {**params, "score": {}}, jax.tree.map(lambda leaf: np.asarray(leaf)[None], params), trained[1]):
        with pytest.raises(dj.InputError, match="these are not parameters of this model"):
            getattr(run, verb)(other)
    with pytest.raises(dj.InputError, match="not parameters of this model"):
        run.terms({}, run.test)


def test_an_unknown_option_of_an_evaluation_names_the_nearest(run):
    with pytest.raises(dj.InputError, match=r"^unknown configuration key 'eval.pases', perhaps eval.passes; "):
        run.evaluate(run.init(), pases=2)


def test_any_split_can_be_evaluated(run, trained):
    state, _, workdir = trained
    with pytest.raises(dj.InputError, match=r"images.npz has no split 'nosuch'; it has train, test"):
        run.evaluate(state, split="nosuch")
    assert dj.open(workdir).evaluate(split="train")["dataset"]["num_examples"] == 40


def test_an_opened_run_reads_data_only_where_a_verb_needs_them(run, trained, tmp_path):
    """On a machine without the data it gives the same log p and samples; an evaluation says what it lacks."""
    path, (_, _, workdir), x = Path(run.config.data.source), trained, run.test[:3]
    here = dj.open(workdir)
    expected = here.log_prob(x, estimator="bound").nats, here.sample(num=2)
    path.rename(tmp_path / "moved.npz")
    try:
        there = dj.open(workdir)
        np.testing.assert_array_equal(there.log_prob(x, estimator="bound").nats, expected[0])
        np.testing.assert_array_equal(there.sample(num=2), expected[1])
        for verb in (there.evaluate, lambda: there.log_prob(x, estimator="bound", time_sampling="importance")):
            with pytest.raises(
                dj.InputError, match=r"images.npz, which is not here; say where it is, by --data=PATH or dj"
            ):
                verb()
    finally:
        (tmp_path / "moved.npz").rename(path)


@pytest.mark.parametrize("num", [0, -1, 2.0, "2"])
def test_a_number_of_samples_is_at_least_one(run, trained, num):
    with pytest.raises(dj.InputError, match=f"^num={num!r} must be a whole number of at least 1$"):
        run.sample(trained[0], num)


def test_a_loop_of_ones_own_compiles_once(run, caplog):
    """With an optimizer of one's own, for parameters of the run or other arrays."""
    optimizer = optax.sgd(0.1, momentum=0.9)

    @jax.jit
    def update(params, moments, batch):
        gradients = jax.tree.map(lambda leaf: leaf * batch.data.mean(), params)
        steps, moments = optimizer.update(gradients, moments)
        return optax.apply_updates(params, steps), moments

    weights = jax.tree.leaves(run.init().params)[0]
    with jax.log_compiles():
        for params in (weights, jnp.ones(weights.shape)):
            moments = optimizer.init(params)
            for step in range(3):
                params, moments = update(params, moments, run.batch(step))
    assert caplog.text.count("Finished XLA compilation of jit(update)") == 1


def test_programs_are_kept_beside_the_workdir_unless_jax_knows_a_place(run, trained, tmp_path, monkeypatch):
    workdir, place = trained[2], jax.config.jax_compilation_cache_dir
    monkeypatch.chdir(tmp_path)
    try:
        for first, folder in ((lambda: dj.Run(run.config), tmp_path / "runs"), (lambda: None, workdir.parent)):
            jax.config.update("jax_compilation_cache_dir", None)
            first()
            dj.open(workdir)
            assert jax.config.jax_compilation_cache_dir == f"{folder}/compilation_cache"
    finally:
        jax.config.update("jax_compilation_cache_dir", place)


def test_opening_a_run_logs_nothing(trained, caplog):
    dj.open(trained[2])
    assert caplog.records == []


def test_samples_of_an_opened_run_are_those_of_its_state(run, trained):
    """With the seed of the configuration, or of the call."""
    state, _, workdir = trained
    ours, theirs = run.sample(state, 4), dj.open(workdir, {"sample.seed": 3}).sample(num=4, seed=0)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.max() < tiny.LEVELS


def test_tensorboard_shows_samples_at_each_evaluation(run, trained):
    state, _, workdir = trained
    pictures = {name: value for name, value in shown(workdir).items() if isinstance(value, np.ndarray)}
    assert pictures.keys() == {("eval/samples", 8)}
    expected = picture(run.sample(state, run.config.log.samples), tiny.LEVELS)
    np.testing.assert_array_equal(pictures["eval/samples", 8][..., 0], expected)


def test_a_process_of_ones_own_functions_has_a_bound():
    """A perfect denoiser of one image pays nothing on the path: what is left is the latent and the reconstruction."""
    pixels = tiny.images(1)
    x = (2 * np.float32(pixels) + 1) / tiny.LEVELS - 1

    def predict(z, gamma):
        alpha, sigma = (jnp.sqrt(jax.nn.sigmoid(sign * gamma)).reshape(-1, 1, 1, 1) for sign in (-1, 1))
        return dj.Prediction((alpha * z - x) / sigma)

    process = dj.Process(dj.encoders.Identity(), predict, lambda t: -8.0 + 13.0 * t, decoder=Levels(tiny.LEVELS))

    @jax.jit
    def computed(pixels, key):
        terms = [dj.losses.bound(process, pixels, key, steps) for steps in (None, process.uniform_steps(10))]
        z = jax.random.normal(key, x.shape)
        return terms, dj.ancestral.ancestral(process, process.uniform_steps(50), z, lambda k: jnp.zeros_like(z))

    bounds, z_0 = computed(pixels, jax.random.key(0))
    for terms in bounds:
        assert float(terms.diffusion[0]) == pytest.approx(0.0, abs=1e-3)
        assert float(terms.total[0]) > 0.0
    np.testing.assert_allclose(z_0, x * math.sqrt(1 / (1 + math.exp(-8.0))), atol=1e-3)


def test_every_public_name_can_be_had():
    assert all(getattr(dj, name) is not None for name in dj.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Rnu'"):
        dj.Rnu  # noqa: B018


def test_a_run_with_labels(run, tmp_path):
    """Labels come with the batches, the terms need them, and samples are of the class that is asked for."""
    labels = {"y_train": np.arange(40) % 3, "y_test": np.arange(12) % 3}
    np.savez(tmp_path / "images.npz", train=run.train, test=run.test, **labels)
    labelled = dj.Run(run.config, {"data.source": str(tmp_path / "images.npz"), "model.labels": True})
    batch = labelled.batch(2)
    numbers = [np.flatnonzero((run.train == image).all(axis=(1, 2, 3)))[0] for image in np.asarray(batch.data)]
    np.testing.assert_array_equal(batch.labels, np.array(numbers) % 3)
    params = tiny.drawn(labelled.model)
    own, other = (labelled.terms(params, run.test, 0, (labelled.test_labels + s) % 3).total for s in (0, 1))
    np.testing.assert_array_equal(own != other, np.ones(12, bool))
    for of, given in ((labelled, None), (run, labelled.test_labels), (labelled, labelled.test_labels + 1)):
        with pytest.raises(dj.InputError, match=r"labels|give one label of 0 .. 2 per image"):
            of.terms(params, run.test, 0, given)
    images = labelled.sample(params, 6)
    np.testing.assert_array_equal(labelled.sample(params, 6, label=1)[1::3], images[1::3])
    np.testing.assert_array_equal(labelled.sample(params, 6, labels=[2, 1, 0, 0, 1, 1])[1::3], images[1::3])
    with pytest.raises(dj.InputError, match=r"give one label of 0 .. 2 per image"):
        labelled.sample(params, 6, labels=[1])

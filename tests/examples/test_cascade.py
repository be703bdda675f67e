"""examples/cascade: bands that are a bijection, a sum of probabilities that is 1, and runs that are one model."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import diffenc_jax as dj
from diffenc_jax.__main__ import main
from diffenc_jax.data.images import Batch, LabelSpec
from diffenc_jax.data.sources import digits, spec_of
from diffenc_jax.diffusion.ancestral import model_step
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.gaussian import alpha
from diffenc_jax.model import bind_to, build
from diffenc_jax.runs.stored import StoredRun
from tests import refusals, tiny
from tests.stored_runs import write_averages

PACKAGE = "cascade"
SOURCES = ["COARSE_2", "DETAILS_2", "DETAILS_1"]
WHOLE = digits(None).splits["test"]()
DEPTH = {"loss.depth": 3}


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_pairs_are_turned_one_to_one(levels):
    """Each pair is that of one other. Equal values have no detail, and the coarse value lies between close ones."""
    from cascade.bands import turned

    a, b = (values.astype(np.uint8) for values in np.meshgrid(np.arange(levels), np.arange(levels)))
    coarse, detail = turned(a, b, levels, back=False)
    assert len(set(zip(coarse.ravel().tolist(), detail.ravel().tolist(), strict=True))) == levels**2
    for back, pixels in zip(turned(coarse, detail, levels, back=True), (a, b), strict=True):
        np.testing.assert_array_equal(back, pixels)
    np.testing.assert_array_equal(np.diag(coarse), np.arange(levels))
    assert np.abs(np.diag(detail) - (levels - 1) / 2).max() <= 0.5
    a, b, coarse, detail = (values.astype(int) for values in (a, b, coarse, detail))
    close = np.abs(a - b) <= 2
    assert np.abs(detail[close] - (levels - 1) / 2).max() <= 2.5
    assert np.all((np.minimum(a, b) - 1 <= coarse) & (coarse <= np.maximum(a, b) + 1), where=close)


@pytest.mark.parametrize("kind", ["haar", "pixels"])
def test_images_come_back_from_their_parts(kind):
    from cascade.bands import Transform

    transform = Transform(kind, 256)
    images = np.random.RandomState(0).randint(0, 256, (3, 8, 12, 2)).astype(np.uint8)
    (made, none), *others = transform.parts(images, 2)
    assert none is None
    assert [part.shape[1:] for part, _ in others] == [(2, 3, 6), (4, 6, 6)]
    for details, label in others:
        np.testing.assert_array_equal(label, made)
        made = transform.join(made, details)
    np.testing.assert_array_equal(made, images)
    with pytest.raises(dj.InputError, match="images of 7x12 have no halves; take even sizes"):
        transform.split(images[:, :7])


@cache
def world():
    """Models of the coarse pixel and of the three details of images of four pixels with two levels, and parameters."""
    sections = tiny.SMALL["model.score"], {**tiny.SCORE_NETWORKS["unet"], "kind": "cascade.networks:Beside"}
    models = []
    for section, labels, shape in zip(sections, (False, True), ((1, 1, 1), (1, 1, 3)), strict=True):
        config = tiny.config("vdm", model__score=section, model__labels=labels, data__pixel_levels=2, loss__depth=1)
        models.append(build(config, dj.model.DataSpec(shape, 2, LabelSpec(shape=(1, 1, 1)))))
    return [(model, tiny.drawn(model, scale=0.3, seed=seed)) for seed, model in enumerate(models)]


def test_probabilities_of_four_pixels_sum_to_one():
    """By quadrature over z_1 and z_0 of each part, given what a decoder has."""
    from cascade.bands import Transform

    images = np.stack(np.meshgrid(*[np.arange(2)] * 4), axis=-1).reshape(16, 2, 2, 1).astype(np.uint8)
    probability = np.ones(16)
    for (model, params), (part, label) in zip(world(), Transform("haar", 2).parts(images, 1), strict=True):
        probability *= probabilities(model, params, part, label)
    assert probability.sum() == pytest.approx(1.0, abs=1e-5)
    assert probability.max() > 1.5 * probability.min()


def probabilities(model, params, pixels, labels):
    """p(part | label) of each image [16] for one step: nodes for z_1, a grid for each dimension of z_0."""
    dims, grid = model.spec.dims, np.linspace(-9, 9, 901)
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    z_1 = np.stack(np.meshgrid(*[nodes] * dims), axis=-1).reshape(-1, *model.spec.shape).astype(np.float32)
    weight = np.prod(np.meshgrid(*[weights / weights.sum()] * dims), axis=0).ravel()
    gamma_0, shape = jnp.asarray(model.gamma_range[0]), (len(grid), 1, 1, 1)
    u = jnp.reshape(jnp.asarray(grid, jnp.float32) / alpha(gamma_0), shape)
    values = [jnp.full(shape, k, jnp.uint8) for k in range(2)]
    likelihood = np.stack([np.exp(Levels(2).log_likelihood(u, pixel, gamma_0)) for pixel in values], axis=1)

    @jax.jit
    def step(label):
        given = None if label is None else jnp.broadcast_to(label, (len(z_1), *label.shape))
        process = bind_to(model, params, Batch(None, given))
        return model_step(process, jnp.asarray(z_1), process.step(process.uniform_steps(1), 0, len(z_1)))

    def each(label):
        """p(value of each dimension | z_1, label) [z_1, dims, 2]."""
        mean, std = (np.asarray(a, np.float64).reshape(len(z_1), dims, 1) for a in step(label))
        return norm.pdf(grid, mean, std) @ likelihood * (grid[1] - grid[0])

    known = [each(label) for label in ([None] if labels is None else np.arange(2, dtype=np.uint8).reshape(2, 1, 1, 1))]
    of = np.zeros(16, int) if labels is None else labels.ravel()
    chosen = [known[k][:, np.arange(dims), image.ravel()] for k, image in zip(of, pixels, strict=True)]
    return np.asarray([weight @ one.prod(axis=1) for one in chosen])


def test_the_coarse_image_stands_beside_its_pixel():
    (_, _), (model, _) = world()
    x, label = np.zeros((1, 3, 2, 3), np.float32), np.arange(6, dtype=np.float32)
    inputs, rest = model.score.apply({}, x, label[None], method="inputs")
    assert rest is None
    np.testing.assert_array_equal(inputs[0, ..., -5], label.reshape(3, 2))


def test_the_encoder_sees_the_coarse_image_as_well():
    """y changes with the label of its own image only."""
    encoder = {**tiny.ENCODERS["trainable"], "kind": "cascade.networks:BesideEncoder", "levels": 0}
    config = tiny.config("diffenc", model__encoder=encoder, model__labels=True)
    model = build(config, dj.model.DataSpec((2, 2, 3), 17, LabelSpec(shape=(2, 2, 1))))
    params, pixels = tiny.drawn(model), jnp.asarray(tiny.images(2, (2, 2, 3)))

    @jax.jit
    def mean(labels):
        process = bind_to(model, params, Batch(pixels, labels))
        return process.encoder.mean(process.decoder.values(pixels), jnp.zeros(2))

    labels = jnp.asarray(tiny.images(2, (2, 2, 1), seed=1))
    before, after = mean(labels), mean(labels.at[1, 0, 0, 0].set(16 - labels[1, 0, 0, 0]))
    np.testing.assert_array_equal((np.asarray(before) != np.asarray(after)).any(axis=(1, 2, 3)), [False, True])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of the three parts of the digits, with parameters away from zero and a record each."""
    folder, opened = tmp_path_factory.mktemp("runs"), []
    for source in SOURCES:
        given = {"data__source": f"cascade.data:DIGITS_{source}", "model__labels": "DETAILS" in source}
        config = tiny.config("vdm", small=True, eval__time_sampling="uniform", **given)
        workdir = write_averages(folder / source, config, {1: tiny.drawn(build(config, spec_of(config)))})
        opened.append(dj.open(workdir, DEPTH, plugins=["cascade"]))
    return opened


def test_three_runs_are_one_model_of_whole_images(runs):
    from cascade.chain import Chain

    chain = Chain(runs)
    np.testing.assert_array_equal(chain.images, WHOLE)
    sampled = chain.sample(3, depth=2)
    (coarse, _), (details, given), _ = chain.transform.parts(sampled, 2)
    np.testing.assert_array_equal(coarse, runs[0].sample(num=3, depth=2))
    np.testing.assert_array_equal(details, runs[1].sample(num=3, depth=2, labels=given))
    for wrong in ([runs[0], runs[2]], [runs[0], runs[2], runs[1]]):
        with pytest.raises(dj.InputError, match="are not the images that the runs before it make"):
            Chain(wrong)
    with pytest.raises(dj.InputError, match="is no run of a coarse image; give the runs in order"):
        Chain(runs[1:])


@pytest.mark.slow
def test_the_command_samples_a_picture(runs, announced, tmp_path, capsys):
    """A picture by the three runs; what is given wrong is one line."""
    folders = [str(run.workdir) for run in runs]
    picture = tmp_path / "picture.png"
    assert main(["cascade", "sample", *folders, "--num=2", f"--output={picture}", "--config.sample.depth=2"]) == 0
    assert picture.stat().st_size > 0
    for given, message in (
        (["sample", *folders], "--output is missing; name a file to write"),
        (["bits", folders[0]], "has no records; evaluate the run with diffenc eval"),
    ):
        assert message in refusals.refused(main, ["cascade", *given], capsys)


@pytest.mark.slow
def test_stored_samples_are_those_of_the_labels_that_are_asked_for(runs):
    """Those of another split, whose labels they were given, are drawn anew."""
    folder, drawn_images = runs[1].workdir, []
    for split in ("train", "test"):
        run = dj.open(folder, {"eval.split": split, "sample.depth": 2}, plugins=["cascade"])
        files = run.sampling.write(run.params, 1, StoredRun(folder), lambda share: None)
        drawn_images.append(np.load(files["images"])["images"])
    np.testing.assert_array_equal(drawn_images[1], run.sample(num=4, labels=run.test_labels[:4]))
    assert not np.array_equal(*drawn_images)


@pytest.mark.slow
def test_bits_by_part(runs):
    """Sums by hand, in units of the whole image: everything, and without what the coarse parts leave out."""
    from cascade.bits import TERMS, bits_table

    for run in runs:
        run.evaluator.record(run.params, 1, run.stored)
    *parts_of, total, undescribed, released = bits_table([run.workdir for run in runs]).rows
    records = [run.evaluate() for run in runs]
    shares = [dims / 64 for dims in (4, 12, 48)]
    each = [[share * record["bpd"][term] for term in TERMS] for share, record in zip(shares, records, strict=True)]
    for row, values in zip(parts_of, each, strict=True):
        assert [float(cell) for cell in row[1:]] == pytest.approx([*values, sum(values)], abs=1e-4)
    whole = sum(map(sum, each))
    unpaid = each[0][0] + each[1][0]
    expected = [whole, whole - unpaid, whole - unpaid - 0.75 * (each[0][2] + each[1][2])]
    assert [float(row[-1]) for row in (total, undescribed, released)] == pytest.approx(expected, abs=1e-4)

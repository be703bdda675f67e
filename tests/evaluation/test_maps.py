"""Maps of nats per pixel and channel: their sums, their means over passes, and interrupted evaluations."""

import contextlib
import dataclasses

import numpy as np
import pytest

from diffenc_jax.core.errors import InputError
from diffenc_jax.evaluation.evaluator import Evaluator
from diffenc_jax.lab.studies.compare.measure import check_comparable, common_evaluations
from diffenc_jax.runs.files import read_arrays, write_arrays
from diffenc_jax.runs.maps import EXTREMES, MAP, read_maps
from diffenc_jax.runs.records import read_evaluation, read_record, read_values
from diffenc_jax.runs.workdir import write_config
from tests import tiny
from tests.evaluation import gaussian
from tests.evaluation.subject import SPLITS, experiment, parameters

PIXEL_RATIO = {"loss__depth": 3, "loss__variance_ratio": "optimal_pixel"}


def evaluator(folder, arm="diffenc", **changes):
    """An evaluator of three passes with maps, for the run in `folder`."""
    subject = experiment(arm, **{"eval__passes": 3, "eval__per_pixel": True, **changes})
    write_config(folder, subject.config)
    return Evaluator(subject)


def record_of(ours, folder, params=None, **options):
    """The path of the record that an evaluator writes."""
    params = parameters() if params is None else params
    ours.record(params, 1, folder, **options)
    return ours.path(params, 1, folder)


@pytest.mark.parametrize(
    ("arm", "changes"),
    [
        ("diffenc", {}),
        pytest.param("diffenc", PIXEL_RATIO, marks=pytest.mark.slow),
        pytest.param("vdm", {"model__schedule__kind": "polynomial"}, marks=pytest.mark.slow),
    ],
    ids=["infinite", "per-pixel ratio", "per-pixel schedule"],
)
def test_maps_add_up_to_the_images_means(tmp_path, arm, changes):
    """By term and image; and the values beside them are those of an evaluation without maps."""
    ours = evaluator(tmp_path, arm, **changes)
    params = tiny.away_from_zero(tiny.initial(ours.experiment.model), 0.05)
    path = record_of(ours, tmp_path, params)
    values, maps = read_values(path), read_maps(path)
    for term, nats in maps.nats.items():
        assert nats.shape == SPLITS["test"].shape
        np.testing.assert_allclose(nats.sum(axis=(1, 2, 3), dtype=np.float64), values[term].mean(axis=0), rtol=1e-5)
    assert {"reconstruction", "latent", "diffusion"} == maps.nats.keys() == read_record(path)["bpd"].keys() - {"total"}
    plain = record_of(evaluator(tmp_path, arm, eval__per_pixel=False, **changes), tmp_path, params)
    assert plain != path
    without = read_values(plain)
    assert without.keys() == {name for name in values if not name.startswith((MAP, "extreme"))}
    for name in without:
        np.testing.assert_allclose(values[name], without[name], rtol=1e-5, atol=1e-4, err_msg=name)


def test_the_images_of_the_fewest_and_the_most_bits_are_kept(tmp_path):
    path = record_of(evaluator(tmp_path), tmp_path)
    bits, maps = read_evaluation(path).bits.mean(axis=0), read_maps(path)
    np.testing.assert_array_equal(maps.pixels, SPLITS["test"][maps.rows])
    order = np.argsort(bits)
    np.testing.assert_array_equal(maps.rows, [*order[:EXTREMES], *order[-EXTREMES:]])


def test_a_pixels_nats_are_its_own():
    """With a denoiser that takes pixels one by one, a pixel's map does not depend on the other pixel."""
    bound = gaussian.make(eval__per_pixel=True, eval__passes=2)
    pixels, tables = gaussian.images(20, 5), bound.tables(gaussian.PARAMS)
    changed = pixels.copy()
    changed[:, 0, 1] = (changed[:, 0, 1] + 9) % gaussian.LEVELS
    one, other = (gaussian.evaluate(bound, images, tables) for images in (pixels, changed))
    for term in bound.terms:
        kept, moved = (np.abs(one[MAP + term] - other[MAP + term])[:, :, 0, i, 0] for i in (0, 1))
        assert kept.max() <= 1e-6 * np.abs(one[MAP + term]).max()
        assert term == "reconstruction" or moved.max() > 0.1 * np.abs(one[MAP + term]).max()


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_an_interrupted_evaluation_adds_every_pass_once(tmp_path, stop_at):
    """Batches of another size after the interruption hold images whose maps are added already."""
    calls = []

    def on_batch():
        calls.append(None)
        if len(calls) == stop_at:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        record_of(evaluator(tmp_path / "run", eval__batch_size=5), tmp_path / "run", on_batch=on_batch)
    assert [path.suffixes[-2:] for path in (tmp_path / "run" / "eval").iterdir()] == [[".partial", ".npz"]]
    ours, theirs = (
        read_maps(record_of(evaluator(tmp_path / name, eval__batch_size=7), tmp_path / name))
        for name in ("run", "complete")
    )
    for term in theirs.nats:
        np.testing.assert_allclose(ours.nats[term], theirs.nats[term], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(ours.rows, theirs.rows)


def test_records_with_and_without_maps_are_compared(tmp_path):
    """They estimate the same, under the same noise, and count as made in one way."""
    paths = [record_of(evaluator(tmp_path, eval__per_pixel=maps), tmp_path) for maps in (True, False)]
    evaluations = [read_evaluation(path) for path in paths]
    check_comparable(evaluations, across_estimators=False)
    assert len(common_evaluations({i: [evaluation] for i, evaluation in enumerate(evaluations)})) == 2


def test_the_records_of_studies_have_no_maps(tmp_path):
    study = Evaluator(evaluator(tmp_path).experiment, folder="study")
    study.record(parameters(), 1, tmp_path)
    with pytest.raises(InputError, match=r"holds no maps per pixel; evaluate again with --config.eval.per_pixel=True"):
        read_maps(study.path(parameters(), 1, tmp_path))


def test_large_maps_are_announced(tmp_path, monkeypatch):
    ours = evaluator(tmp_path)
    assert ours.size_note() is None
    monkeypatch.setattr("diffenc_jax.evaluation.evaluator.LARGE_MAPS", 13 * 16 * 3 * 4)
    assert "the maps of 13 images take 0.00 GiB per record on disk" in ours.size_note()
    config = ours.experiment.config.replace({"eval.per_pixel": False})
    assert Evaluator(dataclasses.replace(ours.experiment, config=config)).size_note() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"extremes": np.array([0, 99])},
        {"extremes": np.array([0.0, 1.0])},
        {"extreme_pixels": np.zeros((12, 4, 4, 1))},
        {"extreme_pixels": np.zeros((12, 4, 5, 1), np.uint8)},
        {"map.latent": np.zeros((13, 4, 4, 2), np.float32)},
        {"map.latent": np.zeros((13, 4, 4, 1), np.int8)},
        {"map.latent": np.zeros((), np.float32)},
    ],
)
def test_maps_that_do_not_belong_together_are_refused(tmp_path, changes):
    path = record_of(evaluator(tmp_path), tmp_path)
    values = path.with_suffix(".npz")
    write_arrays(values, **read_arrays(values.read_bytes()) | changes)
    with pytest.raises(InputError, match="holds no maps per pixel"):
        read_maps(path)

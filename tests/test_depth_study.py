"""The command on a tiny run: its table says what its records say, and it goes on where it stopped."""

import csv
import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

from diffenc_jax import depth_study
from diffenc_jax.depth_study import BOTH, CHOICES, UNIFORM
from diffenc_jax.model import ImageSpec, build
from diffenc_jax.sampling.samplers import make_sampler
from diffenc_jax.train.checkpoint import Checkpoints
from diffenc_jax.trained import open_trained
from diffenc_jax.workdir import claim, configuration
from tests import tiny


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """What a run leaves, without the training."""
    folder = tmp_path_factory.mktemp("study")
    np.savez(folder / "images.npz", train=tiny.images(20), test=tiny.images(13, seed=1))
    config = tiny.config("vdm", data__source=str(folder / "images.npz"))
    model = build(config, ImageSpec((4, 4, 1), tiny.LEVELS))
    claim(folder / "run", config)
    with Checkpoints(folder / "run", keep_every_steps=1) as checkpoints:
        checkpoints.save_ema(1, jax.jit(model.init)(jax.random.key(0)))
    return folder / "run"


def read(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.suffix in (".json", ".npz")}


def test_the_command(workdir, capsys):
    arguments = [str(workdir), "--depths=50,3", "--passes=4"]
    assert depth_study.main(arguments) == 0
    printed = capsys.readouterr().out
    folder = workdir / "depth_study"
    records = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    names = {"": "", "-optimal_pixel": "", "-times": "", "-optimal_pixel-times": ""}
    assert set(records) == {f"test-1-depth{depth}{name}" for depth in (3, 50) for name in names} | {"test-1-continuous"}

    with (folder / "test-1.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["depth"], row["choice"]) for row in rows] == [
        ("infinite", ""),
        *((str(depth), choice) for depth in (3, 50) for choice in CHOICES),
    ]
    infinite = records["test-1-continuous"]["bpd"]["total"]
    for depth in (3, 50):
        plain, both = (records[f"test-1-depth{depth}{name}"]["bpd"]["total"] for name in ("", "-optimal_pixel-times"))
        kept = next(float(r["kept"]) for r in rows if (r["depth"], r["choice"]) == (str(depth), BOTH))
        assert kept == pytest.approx((both - infinite) / (plain - infinite))
    assert re.fullmatch(rf"excess kept at T=50: {kept:.2f}", printed.splitlines()[-1])

    with Image.open(folder / "test-1.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 10
    before = read(folder)
    assert depth_study.main(arguments) == 0
    assert read(folder) == before
    assert capsys.readouterr().out == printed


def test_a_record_holds_the_steps_that_it_is_about(workdir):
    depth_study.main([str(workdir), "--depths=3,50", "--passes=4"])
    stem = workdir / "depth_study" / "test-1-depth3-optimal_pixel-times"
    record = json.loads(stem.with_suffix(".json").read_text())
    estimator = record["estimator"]
    assert {key: estimator[key] for key in ("kind", "depth", "variance_ratio", "times", "passes")} == {
        "kind": "discrete",
        "depth": 3,
        "variance_ratio": "optimal_pixel",
        "times": "optimal",
        "passes": 4,
    }
    assert estimator["fit"]["split"] == "train"
    assert len(estimator["fit"]["sha256"]) == 64
    assert estimator["fit"]["sha256"] != record["dataset"]["sha256"]
    with np.load(stem.with_suffix(".npz")) as values:
        assert values["ratio"].shape == (3, 4, 4, 1)
        assert np.all((values["ratio"] > 0) & (values["ratio"] <= 1))
        assert np.all(np.diff(values["gamma"]) > 0)
        bits = values["diffusion"].mean() / (16 * np.log(2))
    assert record["bpd"]["diffusion"] == pytest.approx(bits)


def test_sampling_goes_by_the_steps_of_the_study(workdir):
    depth_study.main([str(workdir), "--depths=3,50", "--passes=4"])
    fitted = {"loss__depth": 3, "loss__variance_ratio": "optimal_pixel", "loss__times": "optimal"}
    config = tiny.config("vdm", data__source=configuration(workdir).data.source, **fitted)
    run = open_trained(config, workdir, fitting=True)
    steps = make_sampler(run.model, config, run.dataset, run.mesh).prepare(run.params)
    with np.load(workdir / "depth_study" / "test-1-depth3-optimal_pixel-times.npz") as values:
        np.testing.assert_allclose(steps.gamma, values["gamma"], rtol=1e-6)
        np.testing.assert_allclose(steps.ratio, values["ratio"], rtol=1e-4)


def test_kept_is_the_part_of_the_plain_excess():
    bpd = lambda total: {"bpd": {"total": total}}  # noqa: E731
    records = {"infinite": bpd(2.0), 10: dict(zip(CHOICES, map(bpd, (3.0, 2.5, 2.4, 2.25)), strict=True))}
    rows = {row["choice"]: row for row in depth_study.table(records)}
    assert rows[BOTH]["kept"] == pytest.approx(0.25)
    assert rows[UNIFORM]["kept"] == pytest.approx(1.0)
    assert rows["best times"]["excess"] == pytest.approx(0.4)


def test_no_run_is_said_in_one_line(tmp_path, capsys):
    assert depth_study.main([str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "holds no run" in error


@pytest.mark.parametrize("argument", ["--depths=0", "--depths=ten", "--depths=", "--passes=0", "--passes=-1"])
def test_impossible_arguments_are_refused(workdir, argument, capsys):
    with pytest.raises(SystemExit) as stopped:
        depth_study.main([str(workdir), argument])
    assert stopped.value.code == 2
    assert "is no positive number" in capsys.readouterr().err

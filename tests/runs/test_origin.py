"""A run's config.json keeps what it was trained with, also when it goes on, and a trained run is opened with it."""

import shutil

import jax
import numpy as np
import pytest

import diffenc_jax as dj
from diffenc_jax.core import versions
from diffenc_jax.core.errors import InputError, RunError
from diffenc_jax.data.images import LocalPart
from diffenc_jax.data.spec import DataSpec
from diffenc_jax.diffusion.standard import Standard
from diffenc_jax.parallel import hosts
from diffenc_jax.parallel.batches import training_digests
from diffenc_jax.runs.origin import check_parts, note_origin
from diffenc_jax.runs.stored import Origin, StoredRun
from diffenc_jax.runs.workdir import locked_run, set_aside
from tests import tiny
from tests.stored_runs import change, write_averages

CONFIG = tiny.config("vdm", train__steps=100)


def environment(device="1 x cpu", parts=(), **software):
    return {"device": device, "software": {"python": "3.11.7", "jax": "0.10.2"} | software, "parts": dict(parts)}


def data(pixels, labels=None, spec=tiny.SPEC):
    return tiny.dataset({"train": pixels}, "made up", {"train": labels}, spec).split("train")


IMAGES, LABELS = tiny.images(20), np.arange(20, dtype=np.int32) % 3
OURS = data(IMAGES, LABELS)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start(environment, step): start a process of the run there, which trains from `step` on; what it notes."""

    def start(here, step, train=OURS):
        monkeypatch.setattr(versions, "environment", lambda parts: here)
        with locked_run(tmp_path, CONFIG) as (_, stored):
            return note_origin(stored, CONFIG, train, train, step)

    return start


def test_environments_are_kept_in_order_and_each_change_is_noted_once(start, tmp_path):
    first, second = environment(), environment(jax="0.12.0")
    third = environment("8 x TPU v5 lite", {"model.encoder.kind=fading": "0a"}, libtpu="0.0.42")
    notes = [start(here, step) for step, here in enumerate([first, first, second, second, third, first])]
    assert notes == [
        "",
        "",
        "under other versions: jax 0.10.2 -> 0.12.0",
        "",
        "under other versions: device 1 x cpu -> 8 x TPU v5 lite, jax 0.12.0 -> 0.10.2, libtpu none -> 0.0.42, "
        "model.encoder.kind=fading none -> 0a",
        "under other versions: device 8 x TPU v5 lite -> 1 x cpu, libtpu 0.0.42 -> none, "
        "model.encoder.kind=fading 0a -> none",
    ]
    assert StoredRun(tmp_path).origin.environments == [first, second, third, first]
    assert StoredRun(tmp_path).config == CONFIG


def test_steps_that_are_lost_leave_no_environment_and_none_is_added_to_a_finished_run(start, tmp_path):
    """A run that was killed before its first checkpoint starts anew, on any images."""
    start(environment(jax="0.12.0"), 0, data(tiny.images(20, seed=1)))
    assert start(environment(), 0) == ""
    assert start(environment(jax="0.12.0"), CONFIG.train.steps) == ""
    assert StoredRun(tmp_path).origin.environments == [environment()]


def test_a_run_keeps_its_identity_from_its_first_step_on(start, tmp_path):
    """Also if it is moved aside, which leaves the place to another one."""

    def identity():
        start(environment(), 0)
        run = StoredRun(tmp_path).origin.run
        start(environment(jax="0.12.0"), 5)
        start(environment(), CONFIG.train.steps)
        assert StoredRun(tmp_path).origin.run == run
        return run

    killed_at_once, first = identity(), identity()
    assert StoredRun(set_aside(tmp_path)).origin.run == first
    assert len({killed_at_once, first, identity()}) == 3


def test_a_resumed_run_keeps_the_standards_that_its_checkpoints_have_a_digest_of(start, tmp_path):
    """Another machine may round them otherwise."""

    def real(mean):
        return data(np.ones((20, 1)), spec=DataSpec((1,), None, standard=Standard((mean,), (2.0,))))

    start(environment(), 0, real(0.1))
    start(environment(), 5, real(np.nextafter(0.1, 1)))
    assert StoredRun(tmp_path).standards == {"data": Standard((0.1,), (2.0,))}


OTHERS = {
    "other values": ("images", data(tiny.images(20, seed=1), LABELS)),
    "half as many": ("images", data(IMAGES[::2], LABELS[::2])),
    "permuted labels": ("labels", data(IMAGES, LABELS[::-1])),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_run_does_not_go_on_with_other_data(start, tmp_path, case):
    """Nor does a finished run, which would be evaluated."""
    start(environment(), 0)
    (what, other), step = OTHERS[case], 100
    here, there = (training_digests(one.examples, CONFIG)[what][:12] for one in (other, OURS))
    with pytest.raises(InputError, match=f"was trained on other {what} than those of made up: .*{there}.*{here} here"):
        start(environment(), step, other)
    assert start(environment(), step) == ""


def test_digests_of_the_data_do_not_depend_on_the_host_that_holds_them(monkeypatch):
    """Two hosts with five of eight shards each, one of them in common."""
    config = CONFIG.replace({"data.shuffle_shards": 8})
    whole = OURS.examples
    ends = [round(20 * shard / 8 - 0.25) for shard in range(9)]
    parts = [np.arange(ends[0], ends[5]), np.arange(ends[4], ends[8])]
    on_hosts = [type(whole)(*(LocalPart(a[rows], rows, a.shape) for a in (IMAGES, LABELS))) for rows in parts]
    seen = []
    monkeypatch.setattr(hosts, "elementwise_max", lambda values: seen.append(values) or values)
    expected = training_digests(whole, config)
    for part in on_hosts:
        training_digests(part, config)
    images, labels = ([seen[host + what] for host in (2, 4)] for what in (0, 1))
    joined = iter([np.max(images, axis=0), np.max(labels, axis=0)])
    monkeypatch.setattr(hosts, "elementwise_max", lambda values: next(joined))
    assert training_digests(on_hosts[0], config) == expected


def test_a_run_does_not_go_on_with_other_parts_unless_told_so(tmp_path, capsys):
    """Each time: the stored configuration of one that went on does not tell so, and a line names what differs."""
    StoredRun(tmp_path).write(CONFIG, Origin([environment(parts={"model.encoder.kind=fading": "0a"})]))
    check_parts(StoredRun(tmp_path), CONFIG)  # there is nothing to go on from
    (tmp_path / "checkpoints" / "8").mkdir(parents=True)
    with pytest.raises(InputError, match=r"was trained with another source of model.encoder.kind=fading; restore it"):
        check_parts(StoredRun(tmp_path), CONFIG)
    told = CONFIG.replace({"checkpoint.other_parts": True})
    check_parts(StoredRun(tmp_path), told)
    assert "another source of model.encoder.kind=fading" in capsys.readouterr().err
    StoredRun(tmp_path).write(told)
    assert StoredRun(tmp_path).config == CONFIG


def test_a_run_that_cannot_be_read_names_both_versions(tmp_path):
    StoredRun(tmp_path).write(CONFIG, Origin([environment(diffenc_jax="0.1.0+g0123456789ab")]))
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"warmup_steps"', '"warm_up"'))
    with pytest.raises(InputError) as caught:
        _ = StoredRun(tmp_path).config
    versions_of_both = f"it was trained at diffenc_jax 0.1.0+g0123456789ab, and this is {versions.package_version()}"
    assert str(caught.value).endswith(versions_of_both)


@pytest.mark.parametrize("value", [None, [{"device": "1 x cpu"}], [environment() | {"parts": {"x": 3}}]])
def test_damaged_environments_are_refused_in_one_line(tmp_path, value):
    StoredRun(tmp_path).write(CONFIG)
    path = tmp_path / "config.json"
    change(path, environments=value)
    with pytest.raises(InputError, match=f"{path} is damaged, or of another version of diffenc_jax: environments"):
        _ = StoredRun(tmp_path).config


def parameters(config, step):
    """Parameters that differ between steps."""
    return tiny.drawn(tiny.model(config), seed=step)


@pytest.fixture(scope="module")
def workdir(images, tmp_path_factory):
    """A run of two checkpoints."""
    config = tiny.config("vdm", small=True, data__source=images)
    by_step = {step: parameters(config, step) for step in (4, 8)}
    return write_averages(tmp_path_factory.mktemp("run"), config, by_step)


def assert_holds(run, step):
    assert run.checkpoint == step
    jax.tree.map(np.testing.assert_array_equal, run.params, parameters(run.config, step))


def test_the_newest_checkpoint_is_opened_and_the_others_can_be(workdir):
    run = dj.open(workdir)
    assert run.checkpoints == [4, 8]
    assert_holds(run, 8)
    assert_holds(run.at(4), 4)
    assert run.at(8) is run
    np.testing.assert_array_equal(run.dataset.split("test").data, tiny.images(8, seed=1))
    assert run.model.spec == tiny.SPEC


def test_split_and_loss_may_be_chosen(workdir):
    np.testing.assert_array_equal(dj.open(workdir, {"eval.split": "train"}).test, tiny.images(20))
    assert dj.open(workdir, {"loss.depth": 5}).model.loss.depth == 5


def test_a_damaged_checkpoint_is_passed_over(workdir, tmp_path, capsys):
    workdir = shutil.copytree(workdir, tmp_path / "run")
    (workdir / "checkpoints" / "8" / "ema" / "manifest.ocdbt").write_bytes(b"")
    run = dj.open(workdir)
    assert (run.checkpoint, run.checkpoints) == (4, [4])
    assert "the checkpoint of step 8 is damaged" in capsys.readouterr().err
    with pytest.raises(RunError, match="step 8 is damaged"):
        run.at(8)


def test_runs_of_another_configuration_or_without_checkpoints_are_refused(workdir, images, tmp_path):
    with pytest.raises(InputError, match="another configuration: seed=1"):
        dj.open(workdir, config=tiny.config("vdm", small=True, data__source=images, seed=1))
    StoredRun(tmp_path).write(tiny.config("vdm"))
    with pytest.raises(InputError, match="holds no checkpoint yet"):
        dj.open(tmp_path)

"""A checkpoint restores what was saved, whatever happens to its files; the last intact one is kept."""

import itertools
import json
import logging
import os
import resource
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import flax
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from diffenc_jax.config.schema import json_digest
from diffenc_jax.core.errors import InputError, RunError
from diffenc_jax.runs import checkpoint, storage
from diffenc_jax.runs.checkpoint import Checkpoints, SaveFailed
from diffenc_jax.runs.stored import StoredRun
from tests import tiny
from tests.processes import resident


@flax.struct.dataclass
class State:
    """A training state with averaged parameters."""

    step: jax.Array
    params: dict
    ema: dict
    opt_state: tuple


def state(step):
    """A small state whose arrays depend on the step."""
    rng = np.random.default_rng(step)
    kernel = jnp.asarray(rng.normal(size=(3, 5)), jnp.float32)
    params = {"score": {"kernel": kernel, "bias": jnp.full(4, step, jnp.float32)}}
    ema = jax.tree.map(lambda leaf: leaf + 0.5, params)
    return State(jnp.int32(step), params, ema, (jnp.int32(step), params))


def abstract():
    shardings = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=shardings), state(0))


def new_checkpoints(workdir, keep_every_steps=1000, abstract=None, **changes):
    """Checkpoints that can be saved, once the configuration is written."""
    StoredRun(workdir).write(tiny.config("vdm", **changes), StoredRun(workdir).origin)
    return Checkpoints(StoredRun(workdir), keep_every_steps, abstract)


def save(checkpoints, *steps):
    """Save the states of these steps, one after the other."""
    for step in steps:
        checkpoints.save(step, state(step))
        checkpoints.wait()


def save_in(workdir, *steps, **changes):
    with new_checkpoints(workdir, **changes) as checkpoints:
        save(checkpoints, *steps)


def newest(workdir, write=False):
    """(step, state) of the newest intact checkpoint of a workdir."""
    with Checkpoints(StoredRun(workdir), 1000 if write else None) as checkpoints:
        return checkpoints.newest(lambda step: checkpoints.restore(step, abstract()))


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("saved")
    save_in(workdir, 1, 2)
    return workdir


@pytest.fixture
def workdir(saved, tmp_path):
    """A copy of `saved` that a test may damage."""
    return shutil.copytree(saved, tmp_path / "run")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    for place in np.random.default_rng(len(content)).integers(len(content), size=3) if content else ():
        content[place] ^= 0x40
    path.write_bytes(content)


def test_a_state_of_another_model_or_version_is_not_called_damaged(saved):
    """The averages can still be evaluated."""
    other = abstract().replace(opt_state=(abstract().step,))
    with Checkpoints(StoredRun(saved), 1000) as checkpoints:
        with pytest.raises(InputError, match=r"another version of diffenc_jax: .* state/opt_state/1/score/bias \[4\]"):
            checkpoints.newest(lambda step: checkpoints.restore(step, other))
        assert checkpoints.steps() == [1, 2]
        assert_same(checkpoints.restore_ema(2, abstract().ema), state(2).ema)


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


def enlarge(path):
    """Give a file more bytes than a machine has memory, without writing them."""
    os.truncate(path, 2**42)


@pytest.mark.parametrize("harms", [[flip], [truncate, Path.unlink], [make_pipe, enlarge]])
def test_whatever_happens_to_a_file_nothing_wrong_is_restored(workdir, capsys, harms):
    """Each file of the newest of two checkpoints in turn: either it is restored exactly, or the older one is."""
    files = sorted(path for path in (workdir / "checkpoints" / "2").rglob("*") if path.is_file())
    fell_back = 0
    for path, harm in zip(files, itertools.cycle(harms)):
        content = path.read_bytes()
        harm(path)
        step, found = newest(workdir)
        assert_same(found, state(step))
        said = capsys.readouterr().err
        assert said.startswith("the checkpoint of step 2 is damaged: ") == (step == 1)
        assert len(said.splitlines()) == (step == 1)
        fell_back += step == 1
        path.unlink(missing_ok=True)
        path.write_bytes(content)
    assert 5 <= fell_back <= len(files)  # some files are not needed


def test_a_resumed_run_sets_damaged_checkpoints_aside(saved, workdir, capsys):
    """It can save their steps again. What a killed process has left of a save is deleted."""
    (workdir / "checkpoints" / "3").mkdir()
    shutil.copytree(saved / "checkpoints" / "2", workdir / "checkpoints" / "3.orbax-checkpoint-tmp")
    (workdir / "checkpoints" / "2" / "ema" / "manifest.ocdbt").unlink()
    assert newest(workdir, write=True)[0] == 1
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == ["1"]
    for n, line in zip((3, 2), capsys.readouterr().err.splitlines(), strict=True):
        assert line.startswith(f"the checkpoint of step {n} is damaged")
        assert line.endswith(f", moved to {workdir}/damaged/{n}; continuing with that of step 1")
    save_in(workdir, 2, 3)
    assert_same(newest(workdir), (3, state(3)))


def test_only_damaged_checkpoints_are_an_error_that_names_them(workdir):
    for step in (1, 2):
        truncate(workdir / "checkpoints" / str(step) / "hashes" / "0.json")
    with pytest.raises(RunError, match=r"^all checkpoints in [^\n]* damaged: [^\n]*step 2 is[^\n]*step 1 is[^\n]*$"):
        newest(workdir, write=True)
    assert (workdir / "checkpoints" / "2").exists()


def test_late_answers_of_abandoned_reads_are_not_shown(saved, monkeypatch, caplog):
    """They come when the event loop of a read is closed, in a thread of TensorStore; other errors are shown."""
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", shown.append)
    for _ in range(2):
        with Checkpoints(StoredRun(saved)) as checkpoints:
            checkpoints.steps()
    late, other = (SimpleNamespace(exc_value=RuntimeError(text), object=None) for text in ("Event loop is closed", ""))
    for unraisable in (late, other):
        sys.unraisablehook(unraisable)
    assert shown == [other]
    caplog.set_level(logging.ERROR, logger="asyncio")  # which commands silence
    for future in ("<Future exception=ValueError('Error reading \"a\" in OCDBT database')>", "<Future mine>"):
        logging.getLogger("asyncio").error("Future exception was never retrieved\nfuture: %s", future)
    assert [record.args for record in caplog.records] == [("<Future mine>",)]


def test_what_is_saved_is_the_state_though_the_next_steps_replace_it(tmp_path):
    """Steps are given the state's own memory while its checksums and its files are written."""
    size = 2_000_000

    def draw(seed):
        large = {"kernel": jax.random.normal(jax.random.key(seed), (size,))}
        return State(jnp.int32(0), large, jax.tree.map(jnp.copy, large), ())

    step = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    at = draw(0)
    with new_checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, at)
        for _ in range(5):
            at = step(at)
        checkpoints.wait()
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), at)
        assert_same(checkpoints.restore(1, shapes), draw(0))


def test_the_best_and_every_nth_and_the_newest_two_are_kept(tmp_path):
    """The metrics hold the bits/dim of the evaluations; the best checkpoint is kept until it is beaten."""
    rows = [(1, 5.0), (2, 3.0), (3, 4.0)]
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"step": {s}, "test_total": {b}}}\n' for s, b in rows))
    with new_checkpoints(tmp_path, keep_every_steps=4) as checkpoints:
        save(checkpoints, *range(1, 8))
        assert checkpoints.steps() == [2, 4, 6, 7]
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 6, "test_total": 2.5}\n')
        save(checkpoints, 9, 10)
        assert checkpoints.steps() == [4, 6, 9, 10]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_save_returns_freed_memory_to_the_system(tmp_path):
    """Small objects below one that is in use, whose memory free() alone keeps."""
    with new_checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(1))
        pieces, _top = [bytearray(50_000) for _ in range(2000)], bytearray(50_000)
        del pieces
        before = resident()
        checkpoints.save(2, state(2))
        assert before - resident() > 70_000_000


def test_anyone_can_load_the_averages_by_orbax(saved):
    assert_same(ocp.v1.load(saved / "checkpoints" / "2", abstract().ema, checkpointable_name="ema"), state(2).ema)


def test_a_checkpoint_of_orbaxs_older_interface_is_restored(saved, workdir):
    """Its checksums are in the same files, and its arrays in another format."""
    place = workdir / "checkpoints" / "2"
    shutil.rmtree(place)
    items = {"state": state(2).replace(ema=None), "ema": state(2).ema}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as writer:
        writer.save(place, ocp.args.Composite(**{name: ocp.args.PyTreeSave(item) for name, item in items.items()}))
    shutil.copytree(saved / "checkpoints" / "2" / "hashes", place / "hashes")
    assert_same(newest(workdir), (2, state(2)))


def test_arrays_larger_than_what_is_written_at_once_are_saved(tmp_path, monkeypatch):
    """Where the checkpoints know the state."""
    monkeypatch.setattr(checkpoint, "WRITTEN_AT_ONCE", 50)  # bytes; an array has 60
    with new_checkpoints(tmp_path, abstract=abstract()) as checkpoints:
        save(checkpoints, 1)
        assert_same(checkpoints.restore(1, abstract()), state(1))


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    """Also if a thread of it goes on. The next save works as usual."""
    ended = []

    def late():
        time.sleep(0.5)
        (tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp" / "late").mkdir(parents=True, exist_ok=True)
        ended.append(True)
        return {}

    with new_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 1, 2, 3)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # bytes that a file may have
        try:
            monkeypatch.setattr(checkpoint, "own_hashes", lambda items: late)
            with pytest.raises(SaveFailed, match=r"checkpoint of step 4 could not be saved in .*File too large"):
                save(checkpoints, 4)
        finally:
            monkeypatch.undo()
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert ended
        assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]
        assert checkpoints.steps() == [2, 3]
        save(checkpoints, 5)
        assert checkpoints.steps() == [3, 5]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["3", "5"]
    assert_same(newest(tmp_path)[1], state(5))


def test_a_checkpoint_whose_save_failed_at_its_very_end_is_not_saved_again(tmp_path, monkeypatch):
    """Where an older one cannot be deleted."""
    with new_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 1, 2)
        checkpoints.save(3, state(3))
        with monkeypatch.context() as patch:
            patch.setattr(storage, "delete", Mock(side_effect=OSError(5, "Input/output error")))
            with pytest.raises(SaveFailed, match="Input/output error"):
                checkpoints.save(3, state(3))
        checkpoints.save(3, state(3))
        assert (checkpoints.complete, checkpoints.steps()) == (3, [1, 2, 3])
        save(checkpoints, 4)
        assert checkpoints.steps() == [3, 4]


def test_a_checkpoint_that_is_not_of_its_step_or_its_run_is_damaged(saved, tmp_path, capsys):
    """Copied 1 -> 2, renamed 2 -> 9, copied from other runs, and left in a run whose configuration was exchanged."""
    twin, edited = tmp_path / "twin", tmp_path / "edited"
    save_in(twin, 3)
    save_in(edited, 1)
    StoredRun(edited).write(tiny.config("vdm", seed=1), StoredRun(edited).origin)
    save_in(edited, 3, seed=1)
    StoredRun(edited).write(tiny.config("vdm"), StoredRun(edited).origin)
    for case, base, source, step, what in (
        ("copied", saved, saved / "checkpoints" / "1", 2, "step"),
        ("renamed", saved, saved / "checkpoints" / "2", 9, "step"),
        ("of a twin", saved, twin / "checkpoints" / "3", 3, "run"),
        ("of other settings", edited, edited / "checkpoints" / "3", 3, "configuration"),
    ):
        workdir = shutil.copytree(base, tmp_path / case)
        place = workdir / "checkpoints" / str(step)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(source, place)
        found = newest(workdir)
        assert found[0] == (2 if case in ("renamed", "of a twin") else 1)
        assert_same(found[1], state(found[0]))
        assert f"the checkpoint of step {step} is damaged: it is of another {what}" in capsys.readouterr().err


def text_of(entries):
    """The text of a file of checksums with the right hash."""
    content = {name: value for name, value in entries.items() if name != "sha256"}
    return json.dumps(content | {"sha256": json_digest(content)})


def forgeries(entries):
    """Texts in place of an intact file of one host: damaged ones, and wrong ones with the right hash."""
    names, texts = list(entries["arrays"]), ["", "[]", "\udcff", json.dumps(entries)[:-80] + "}"]
    texts += [text_of({}), json.dumps(entries | {"sha256": None})]
    wrong = [{"step": None}, {"step": float("nan")}, {"run": None}, {"host": None}, {"host": 1}]
    wrong += [{"hosts": hosts} for hosts in ("one", 0.5, None, 2, 10**9)]
    wrong += [{"arrays": arrays} for arrays in (names, None)]
    wrong += [{"arrays": dict.fromkeys(names, pair)} for pair in ([1], ["1", "2"], [-1, 2**40], [1, 2], 3, [[1], 2])]
    return texts + [text_of(entries | change) for change in wrong]


def test_forged_checksums_are_damage_and_further_files_are_none(workdir, capsys):
    """The older checkpoint is restored in place of a forged one; no file beside theirs changes anything."""
    place = workdir / "checkpoints" / "2" / "hashes"
    intact = (place / "0.json").read_bytes()
    entries = json.loads(intact)
    for name, content in ("00", intact), ("1", intact), ("1", text_of(entries | {"host": 1, "arrays": {}}).encode()):
        (place / f"{name}.json").write_bytes(content)
        assert newest(workdir)[0] == 2
    capsys.readouterr()
    for text in forgeries(entries):
        (place / "0.json").write_bytes(text.encode(errors="surrogateescape"))
        assert_same(newest(workdir), (1, state(1)))
        said = capsys.readouterr().err
        assert (said.startswith("the checkpoint of step 2 is damaged: "), said.count("\n")) == (True, 1), text[:200]

"""Published checkpoints as workdirs: names in them, parameters that come out, and what does not fit is refused."""

import json
import pickle
import re

import jax
import numpy as np
import pytest
from flax import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from diffenc_jax.__main__ import main
from diffenc_jax.config.recipe import encoder_network, score_network
from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion.losses import TERMS
from diffenc_jax.lab.interop import names, parity
from diffenc_jax.lab.interop.convert import import_checkpoint, read_published
from diffenc_jax.lab.interop.names import Dialect
from diffenc_jax.model import DataSpec, build
from diffenc_jax.runs.checkpoint import Checkpoints
from diffenc_jax.runs.stored import StoredRun
from tests import refusals, tiny
from tests.lab.interop.published_file import STEP, published_parameters, reference, write

DIFFENC, VDM = Dialect(bare=False, numbered=False), Dialect(bare=True, numbered=False)
NUMBERED = Dialect(bare=False, numbered=True)


def shapes_of(arm="vdm", size=4, **changes):
    model = build(tiny.config(arm, **changes), DataSpec((size, size, 1), tiny.LEVELS))
    return jax.eval_shape(model.init, jax.random.key(0))


POOLS, ATTENDS = {"model__score": score_network(width=32, layers=1, levels=1)}, {"model__score__attention": True}
FLAT = {"arm": "diffenc"}
DEEP = FLAT | {"size": 8, "model__encoder": encoder_network(width=32, layers=4, levels=2)}
ENCODER, SCORE = "encdec/inner_encoder/enc_model", "score_model/UNet_0"
# Model, family of files, published name, our name. On the way up, an encoder's blocks count from the coarsest.
NAMES = [
    (DEEP, NUMBERED, f"{ENCODER}/up_blocks_0/up_1_resnet_block1/conv2/bias", "encoder/up_1_1/conv_1/bias"),
    (DEEP, NUMBERED, f"{ENCODER}/down_blocks_1/down_1_resnet_block0/conv1/bias", "encoder/down_1_0/conv_0/bias"),
    (DEEP, NUMBERED, f"{ENCODER}/up_blocks_1/conv_trans/kernel", "encoder/unpool_0/kernel"),
    (DEEP, NUMBERED, f"{ENCODER}/mid_resnet_2/cond_proj/kernel", "encoder/mid_1/cond/kernel"),
    (FLAT, DIFFENC, f"{ENCODER}/up_blocks_0/up_0_resnet_block/conv1/kernel", "encoder/up_0_0/conv_0/kernel"),
    (POOLS, DIFFENC, f"{SCORE}/down_blocks_0/down_0_resnet_block/conv1/kernel", "score/down_0_0/conv_0/kernel"),
    (POOLS, DIFFENC, f"{SCORE}/mid_attn_1/q/kernel", "score/attention/query/kernel"),
    (ATTENDS, VDM, "score_model/up.attn_1/proj_out/kernel", "score/up/blocks/attention/out/kernel"),
]


@pytest.mark.parametrize(("model", "dialect", "published", "ours"), NAMES)
def test_parameters_have_their_published_names(model, dialect, published, ours):
    assert "/".join(names.locations(shapes_of(**model), dialect)[published].path) == ours


@pytest.mark.parametrize("dialect", [DIFFENC, VDM, NUMBERED])
@pytest.mark.parametrize("arm", ["diffenc", "vdm"])
def test_there_and_back(arm, dialect):
    """Every one of our leaves from its published parameters, each known by its value; the dialect shows in names."""
    shapes = shapes_of(arm, model__schedule__kind="learned_linear")
    locations = names.locations(shapes, dialect)
    published = {name: np.full(at.shape, i, np.float32) for i, (name, at) in enumerate(locations.items())}
    ours = names.to_ours(published, locations)
    assert jax.tree.map(np.shape, ours) == jax.tree.map(lambda s: s.shape, shapes)
    for name, at in locations.items():
        np.testing.assert_array_equal(names.from_ours(ours, at), published[name], strict=True)
    numbered = dialect.numbered and arm == "diffenc"
    assert Dialect.of(published) == Dialect(dialect.bare, numbered)


def with_configuration(name):
    """A reference file's arrays, and its configuration."""
    arrays = reference(name)
    return arrays, parity.configuration(json.loads(str(arrays["meta"])))


def restored(workdir, like):
    """The averaged parameters in `workdir`, of these shapes."""
    with Checkpoints(StoredRun(workdir)) as checkpoints:
        return checkpoints.restore_ema(checkpoints.latest_step(), like)


def test_parameters_are_the_published_ones(tmp_path):
    """Whose losses are those of the published code, see test_parity.py."""
    arrays, config = with_configuration("trainable")
    published = parity.prefixed(arrays, "param:")
    said = import_checkpoint(write(tmp_path / "checkpoint_1300000", published), config, tmp_path / "run")
    assert said.startswith(f"step {STEP} of {tmp_path}/checkpoint_1300000, 702,566 parameters, is in {tmp_path}/run")
    expected = names.to_ours(published, parity.model_of(arrays)[1])
    jax.tree.map(np.testing.assert_array_equal, restored(tmp_path / "run", expected), expected)


def network(seed=0):
    """A monotone network with random parameters, as google-research/vdm saves it, and its h."""
    rng = np.random.RandomState(seed)
    shapes = {"l2/kernel": (1, 1024), "l2/bias": (1024,), "l3/kernel": (1024, 1)}
    ours = {f"gamma/{name}": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    ours |= {"gamma/l1/kernel": np.full((1, 1), -17.5, np.float32), "gamma/l1/bias": np.full(1, -12.5, np.float32)}

    def h(t):
        w = {name.removeprefix("gamma/"): np.asarray(value, np.float64) for name, value in ours.items()}
        t = np.asarray(t, np.float64)[:, None]
        hidden = 2 * (1 / (1 + np.exp(-((2 * t - 1) @ abs(w["l2/kernel"]) + w["l2/bias"])))) - 1
        return (t @ abs(w["l1/kernel"]) + w["l1/bias"] + hidden @ abs(w["l3/kernel"]) / 1024)[:, 0]

    return ours, h


def test_a_vdm_of_google_research(tmp_path):
    """Its ε̂, by hand as v̂, and its schedule, which is ours although it drifted off its end points."""
    arrays, config = with_configuration("vdm")
    schedule, h = network()
    published = parity.prefixed(arrays, "param:").items()
    ema = {re.sub("(TimeEmbedding|VDMUNet)_0/", "", name): value for name, value in published} | schedule
    path = write(tmp_path / "ckpt-1.flax", ema, step=np.int32(STEP))
    config = config.replace({"model.schedule.kind": "monotone"})
    with pytest.raises(InputError, match=r"which predict eps; take --config.model.prediction=eps$"):
        import_checkpoint(path, config, tmp_path / "run")
    config = config.replace({"model.prediction": "eps"})
    import_checkpoint(path, config, tmp_path / "run")
    model = build(config, DataSpec((16, 16, 3), config.data.pixel_levels))
    params = restored(tmp_path / "run", jax.eval_shape(model.init, jax.random.key(0)))

    # The file holds what the network with this z_t and γ says, there meant as v̂.
    gamma, z = arrays["gamma_t"], arrays["z_in"]
    alpha, sigma = (np.sqrt(1 / (1 + np.exp(sign * arrays["gamma_t"]))).reshape(-1, 1, 1, 1) for sign in (1, -1))
    expected = (arrays["v_hat"] - sigma * arrays["z_in"]) / alpha
    np.testing.assert_allclose(jax.jit(model.bind(params).predict)(z, gamma).v, expected, rtol=1e-4, atol=1e-4)
    t = np.linspace(0, 1, 33)
    np.testing.assert_allclose(jax.jit(model.bind(params).gamma)(np.float32(t)), h(t), atol=2e-5)
    assert abs(h([0.0])[0] + 13.3) > 0.1


SCHEDULE = {"model__schedule__kind": "learned_linear"}


@pytest.fixture(scope="module")
def small():
    """A tiny DiffEnc's configuration, and random published parameters of it."""
    config = tiny.config("diffenc", **SCHEDULE)
    return config, published_parameters(config)


BIAS, WEIGHT = "score_model/conv_out/bias", "encdec/inner_encoder/conv_in/kernel"
NAN = np.asarray([np.nan], np.float32)
LEARNED = {"loss.depth": 4, "loss.variance_ratio": "learned", "sample.depth": 4}


MISFITS = [
    ({WEIGHT: None}, {}, f"is not of the configuration's model; its parameters differ: {WEIGHT} missing"),
    ({BIAS: np.zeros(2)}, {}, "encdec/inner_encoder/conv_out/kernel (3, 3, 32, 1), and 2 more"),
    ({"score_model/more": NAN}, {}, "its parameters differ: score_model/more (1,)"),
    ({BIAS: NAN}, {}, f"its parameter {BIAS} is not finite"),
    ({"gamma/w": np.zeros(1, np.float32)}, {}, "its noise schedule does not increase, from"),
    ({}, LEARNED, "no published model learns a ratio; take another loss.variance_ratio than 'learned'"),
    ({}, {"model.derivative_head": True}, "no published model has it; take --config.model.derivative_head=False"),
    ({}, {"model.encoder": tiny.ENCODERS["dct"].to_dict()}, "unknown encoder of a published model 'dct'"),
]


@pytest.mark.parametrize(("changes", "other", "message"), MISFITS)
def test_what_does_not_fit_is_named(tmp_path, small, changes, other, message):
    """Parameters of another model than the configuration's, and configurations of no published model."""
    config, ema = small
    changed = {name: value for name, value in (ema | changes).items() if value is not None}
    refused(write(tmp_path / "file", changed), config.replace(other), tmp_path / "run", message)
    assert not (tmp_path / "run").exists()


def refused(path, config, workdir, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        import_checkpoint(path, config, workdir)
    assert "\n" not in str(caught.value)


STATE = {
    "step": np.int32(5),
    "ema_params": {"a": {"kernel": np.ones((2, 1), np.float32)}, "b": np.ones(1)},
    "params": {},
}
WHOLE = serialization.msgpack_serialize(STATE)


def test_what_flax_writes_in_chunks_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 4)
    (tmp_path / "file").write_bytes(serialization.msgpack_serialize(STATE))
    step, arrays = read_published(tmp_path / "file")
    assert step == 5
    np.testing.assert_equal(arrays, {"a/kernel": np.ones((2, 1), np.float32), "b": np.ones(1)})


UNREADABLE = [
    b"",
    pickle.dumps(STATE),
    WHOLE[:-5],
    b"\x81\xa4step" + b"\x81\xa1a" * 5000,
    serialization.msgpack_serialize({"step": 1, "params": {}}),
    serialization.msgpack_serialize({"step": 1, "ema_params": 3}),
    *(serialization.msgpack_serialize({"step": step, "ema_params": {}}) for step in (1.0, "1", None)),
]


@pytest.mark.parametrize("content", UNREADABLE)
def test_files_that_flax_did_not_write_are_refused_in_one_line(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match=r"^[^\n]*file cannot be read as a flax[^\n]*$"):
        read_published(tmp_path / "file")


@settings(deadline=None, max_examples=200)
@given(at=st.integers(0, len(WHOLE) - 1), cut=st.integers(0, 4), new=st.binary(max_size=4))
def test_a_changed_file_gives_a_step_and_floats_or_an_error(tmp_path_factory, at, cut, new):
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(WHOLE[:at] + new + WHOLE[at + cut :])
    try:
        step, arrays = read_published(path)
    except InputError as error:
        said = str(error)
        assert "\n" not in said
        return
    assert type(step) is int
    assert {array.dtype.kind for array in arrays.values()} <= {"f"}


def test_a_workdir_is_never_overwritten(tmp_path, small):
    config, ema = small
    path, run = write(tmp_path / "file", ema), tmp_path / "run"
    import_checkpoint(path, config, run)
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    refused(path, config, run, f"{run} holds checkpoints already; give another --workdir")
    refused(path, config.replace({"seed": 1}), run, "a run of another configur")
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


@pytest.mark.slow
def test_imported_evaluated_sampled_and_not_trained(tmp_path, small, capsys):
    """The commands as they follow one another; the record is of the file's step and parameters."""
    np.save(tmp_path / "images.npy", tiny.images(80))
    changes, (_, ema) = {"data__source": str(tmp_path / "images.npy"), **SCHEDULE}, small
    (tmp_path / "config.py").write_text(tiny.file(small=False, **changes))
    path = write(tmp_path / "checkpoint", ema | {"gamma/w": np.full(1, 14, np.float32)})
    common = (f"--config={tmp_path}/config.py:diffenc", f"--workdir={tmp_path}/run")
    assert main(["import-checkpoint", str(path), *common]) == 0
    assert capsys.readouterr().out.startswith(f"step {STEP} of {path}, ")
    assert main(["eval", *common]) == 0
    (record,) = (json.loads(p.read_text()) for p in (tmp_path / "run" / "eval").glob(f"test-{STEP}-*.json"))
    assert record["params"] == sum(value.size for value in ema.values())
    assert all(np.isfinite(record["bpd"][name]) for name in TERMS)
    assert main(["sample", *common]) == 0
    assert list((tmp_path / "run" / "samples").glob(f"{STEP}-*.png"))
    assert "averaged parameters and no optimizer state" in refusals.refused(main, ["train", *common], capsys)

"""Bad input to the commands: one line that says what is wrong and what to do, and exit code 2."""

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.__main__ import command_of, main
from diffenc_jax.commands.arguments import make_parser, writable_file
from diffenc_jax.config import load_config
from diffenc_jax.core.errors import InputError
from diffenc_jax.lab.coding.image_files import check_place
from diffenc_jax.runs.workdir import write_config
from tests.refusals import refused

TRAIN = ["train", "--config=digits", "--workdir=run"]
KEYS = "--config.{}".format
IMAGES = np.random.RandomState(0).randint(0, 17, (60, 8, 8, 1)).astype(np.uint8)
COLOURS = IMAGES.repeat(3, axis=3)


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A folder of bad input, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "sizes", "colours"):
        (tmp_path / name).mkdir()
    (tmp_path / "text.md").write_text("# hello\n")
    (tmp_path / "empty.json").touch()
    (tmp_path / "list.json").write_text("[1]")
    np.savez("hwc.npz", COLOURS[0])
    np.savez("nchw.npz", COLOURS.transpose(0, 3, 1, 2))
    np.savez("one.npz", IMAGES[:1])
    np.savez("floats.npz", IMAGES / 17)
    np.savez("odd.npz", IMAGES[:, :7])
    np.savez("sixty.npz", IMAGES)
    for i in range(10):
        Image.fromarray(COLOURS[i, : 4 + i % 2]).save(f"sizes/{i}.png")
        Image.fromarray(COLOURS[i] if i % 2 else COLOURS[i, ..., 0]).save(f"colours/{i}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*TRAIN, KEYS("train.batch_size=0")], "train.batch_size must be at least 1, not 0"),
        (
            [*TRAIN, KEYS("train.accumulate=3")],
            "train.batch_size=64 does not divide into train.accumulate=3 parts; take",
        ),
        ([*TRAIN, KEYS("model.score.width=abc")], "model.score.width must be a whole number, not 'abc'"),
        ([*TRAIN, KEYS("model.labels=maybe")], "model.labels must be True or False, not 'maybe'"),
        (
            ["train", "--config=folder"],
            "--config=folder is a folder, not a configuration; give one of cifar10, digits,",
        ),
        (["train", "--config=text.md"], "--config=text.md is no configuration, which is a file of Python (.py); give"),
        (
            [*TRAIN, KEYS("foo=1")],
            "unknown configuration key 'foo'; the sections are checkpoint, compress, data, eval,",
        ),
        (
            [*TRAIN, KEYS("train.lerning_rate=1")],
            "'train.lerning_rate', perhaps train.learning_rate; train has the keys",
        ),
        (
            [*TRAIN, KEYS("data.source=hwc.npz")],
            "must hold images [N, H, W, C] or [N, H, W]; this is [8, 8, 3], like one",
        ),
        (
            [*TRAIN, KEYS("data.source=nchw.npz")],
            "this is [60, 3, 8, 8], like [N, C, H, W]: save array.transpose(0, 2,",
        ),
        (
            [*TRAIN, KEYS("data.source=sizes")],
            "1.png is (5, 8, 3), but the first picture is (4, 8, 3); give --config.data.",
        ),
        (["parity", "text.md"], "text.md is no .npz archive, or a damaged one; give reference arrays of the published"),
    ],
)
def test_what_was_unclear(argv, message, capsys):
    assert message in refused(main, argv, capsys)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            [*TRAIN, KEYS("data.source=colours")],
            "1.png is (8, 8, 3), but the first picture is (8, 8, 1); save all as grey",
        ),
        ([*TRAIN, KEYS("data.source=one.npz")], "one.npz (train): this split has no images; give at least two, as"),
        ([*TRAIN, KEYS("data.source=floats.npz")], "floats.npz must hold uint8, values 0 .. 255; arr_0 is float64"),
        (
            [*TRAIN, KEYS("data.source=odd.npz")],
            "model.encoder.levels=2 pools height and width 2 times and needs multiples",
        ),
        ([*TRAIN, KEYS("data.source=folder")], "folder holds no pictures (.png, .jpg,"),
        ([*TRAIN, KEYS("data.source=text.md")], "text.md is not a .npy, .npz or IDX file of images"),
        ([*TRAIN, KEYS("data.source=")], "data.source='' is neither a known data set (cifar10, digits,"),
        ([*TRAIN, KEYS("data.source=sixty.npz"), KEYS("data.resize=8")], "data.resize=8 is for one; resize its arrays"),
        (
            [*TRAIN, KEYS("data.resize=8")],
            "data.resize=8 is for folders of pictures and for tensorflow-datasets, and digits is neither",
        ),
        (
            [*TRAIN, KEYS("data.source=sixty.npz"), KEYS("fit.images=55")],
            "exceeds the 54 training images; take at most",
        ),
        ([*TRAIN, KEYS("data.pixel_levels=16")], "=16 allows 0 .. 15; take data.pixel_levels=256 for images of 8 bits"),
        ([*TRAIN, KEYS("eval.split=valid")], "digits has no split 'valid'; it has train, test"),
        ([*TRAIN, KEYS("mesh.fsdp=3")], "mesh.fsdp=3 does not divide the number of devices; take a divisor of 1"),
        ([*TRAIN, KEYS("train.steps=1e9")], "train.steps must be a whole number, not '1e9'"),
        ([*TRAIN, KEYS("eval.passes=99999999999")], "eval.passes=99999999999 is too large; take less than 2^31"),
        ([*TRAIN, KEYS("loss.depth=abc")], "loss.depth must be a whole number, or None for infinite depth, not 'abc'"),
        ([*TRAIN, KEYS("loss.depth=2000000000")], "are too short for float32; take at most"),
        ([*TRAIN, KEYS("model.score.dropout=nan")], "model.score.dropout must be finite, not nan"),
        (
            [*TRAIN, KEYS("model.score.kind=transformer")],
            "kind=transformer needs the keys heads, patch, skip_connections",
        ),
        (
            [*TRAIN, KEYS("arm=vdm")],
            "--config.arm would change only the arm's name; choose an arm by --config=digits:ARM",
        ),
        ([*TRAIN, KEYS("name=a/b")], "are parts of a folder's name; take words without '/'"),
        (["train", "--config=digits", "--workdir="], "argument --workdir: it is empty; name a file or a folder"),
        (["train", "--config=digits", "--workdir=text.md"], "text.md is not a folder; name a folder"),
        (
            ["train", "--config=digits", "--workdir=text.md/run"],
            "text.md/run cannot be written to: Not a directory; give",
        ),
        ([*TRAIN, "--process=1"], "--process is for --coordinator=HOST:PORT; give that as well"),
        (
            [*TRAIN, "--coordinator=host:1", "--processes=2", "--process=2"],
            "--process=2 must lie in 0 .. 1, for --proc",
        ),
        (["train", "--confg=digits"], "unrecognized arguments: --confg=digits, perhaps --config; see `diffenc train"),
        (["report", "folder", "--ouy=x.html"], "unrecognized arguments: --ouy=x.html, perhaps --out; see `diff"),
        (["depth-study", "folder", "--depth=50"], "unrecognized arguments: --depth=50, perhaps --depths; see `diff"),
        (["significance", "--config=digits", "--arm=vdm"], "unrecognized arguments: --arm=vdm, perhaps --arms; see"),
        (["eval", "--config=digits", "--passes=2"], "=2; the configuration has --config.eval.passes; see `diffenc"),
        (["train", "digits"], "digits is no option; give --config=NAME[:ARM]"),
        (["eval"], "no run is named; give the folder of a run, or --config=NAME[:ARM]"),
        (["sample", "--workdir=runs/a"], "no run is named; give runs/a without --workdir, or --config=NAME[:ARM]"),
        (
            ["eval", "runs/a", "--config=digits", "--workdir=runs/a"],
            "the run is named by its folder runs/a; leave out --config=digits and --workdir=runs/a",
        ),
        (["costs", "--config=digits", "--json="], "--json is empty; name a file"),
        (
            ["decompress", "folder", "none", "-o", "a.npy"],
            "none cannot be read: No such file or directory; give a file",
        ),
        (
            ["eval", "--config=digits", KEYS("train.b1=0.5")],
            "runs/digits-diffenc-seed0-b1-0.5 holds no run (no config.jso",
        ),
        ([*TRAIN, "--profile=10"], "'10' is not FIRST:LAST, two steps counted from 1, such as 10:15"),
        ([*TRAIN, "--profile=15:10"], "'15:10' is not FIRST:LAST"),
        ([*TRAIN, "--profile=0:5"], "'0:5' is not FIRST:LAST"),
        ([*TRAIN, "--profile=1499:1501"], "--profile=1499:1501 is outside the run, which ends at step 1500"),
        (["eval", "--config=digits", "--overwrite"], "unrecognized arguments: --overwrite"),
        (
            ["sample", "--config=digits", KEYS("sample.num=0")],
            "sample.num must be at least 1, not 0",
        ),
        (["depth-study", "folder", "--depths=99999999999"], "99999999999 is too large; take at most 2147483647"),
        (["loss-by-time", "folder", "--cells=-1"], "argument --cells: '-1' is not a whole number above zero"),
        (["encoder-study", "folder", "--gammas=1"], "1 leaves out an end of the path; take at least 2"),
        (
            ["compare", "empty.json"],
            "empty.json is not JSON (Expecting value: line 1 column 1 (char 0)); give a record such",
        ),
        (
            ["compare", "list.json"],
            "list.json is not a complete record: its content is missing, or of another kind; give a record such",
        ),
        (["compare", "list.json", "--json=folder"], "--json=folder is a folder; name a file"),
        (["sample-quality", "folder", "--samples=sixty.npz"], "folder holds no run"),
        (
            ["significance", "--root=folder", "--config=digits", "--arms=vdm", "--seeds=0-99999999999"],
            "at most 10000 of",
        ),
        (["significance", "report", "--root=text.md"], "text.md holds no runs; train some with `diffenc significance"),
        (["report", "folder", "--out=text.md/page.html"], "cannot be written: there is no folder text.md"),
        (["costs", "--config=digits", "--json=text.md/costs.json"], "cannot be written: "),
        (
            ["compile-check", "--config=digits", "--topology=v5e"],
            "there is no slice 'v5e'; v5e:SHAPE has the shapes 1x1,",
        ),
        (
            ["import-checkpoint", "folder", "--config=digits"],
            "folder cannot be read: it is a folder",
        ),
        (["parity", "folder"], "folder cannot be read: Is a directory; give reference arrays of the published code"),
    ],
)
def test_other_bad_input(argv, message, capsys):
    assert message in refused(main, argv, capsys)


@pytest.mark.parametrize("name", ["config.json", "eval/new.json", "checkpoints/4/ema/d/a", "linked/metrics.jsonl"])
def test_files_of_a_run_are_no_places_for_results(files, name, capsys):
    """No option that names a file replaces them, also by another name of the run's folder; it may write beside them."""
    run = files / "run"
    write_config(run, load_config("digits"))
    (run / "linked").symlink_to(run)
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    before = (run / "config.json").read_bytes()
    writes = ["costs --config=digits --json", "compress run sixty.npz --output", "report run --out"]
    for words in writes:
        error = refused(main, f"{words}={run / name}".split(), capsys)
        assert f"{run / name} is a place for files of the run in {run} itself; name another file" in error
    with pytest.raises(InputError, match="is a place for files of the run"):
        check_place(run / "eval" / "images.npy", (8, 8, 1))
    assert writable_file("json", f"{run}/costs/vdm.json") == run / "costs" / "vdm.json"
    assert (run / "config.json").read_bytes() == before


@pytest.mark.parametrize("name", ["eval", "sample", "depth-study", "loss-by-time", "encoder-study", "report"])
@pytest.mark.parametrize("place", ["folder", "text.md", "absent"])
def test_a_place_without_a_run_is_named_and_no_unknown_option_is_advised(name, place, capsys):
    command = command_of(name)
    options = {option for action in make_parser(command, name)._actions for option in action.option_strings}
    by_name = [["--config=digits", f"--workdir={place}"]] if "--workdir" in options else []
    for given in [[place], *by_name]:
        error = refused(main, [name, *given], capsys)
        assert place in error
        assert "give the " in error
        assert not {word for word in error.split() if word.startswith("--")} - options

"""Files of steps that are made again are set aside; the others stay."""

from diffenc_jax.runs.superseded import supersede

KEPT = [
    "config.json",
    "metrics.jsonl",
    "checkpoints/40/ema/x",
    "damaged/50/x",
    "eval/test-30-bound-0123456789ab.json",
    "samples/9-ancestral-100.npz",
    "tensorboard/events.out.tfevents.1764388800.host",
]
LATER = [
    "eval/test-40-bound-0123456789ab.json",
    "eval/test-40-bound-0123456789ab.npz",
    "eval/test-40-bound-0123456789ab.partial.npz",
    "samples/100-ancestral-100.png",
    "depth-study/test-40.csv",
]


def files(workdir):
    return {str(path.relative_to(workdir)) for path in workdir.rglob("*") if path.is_file()}


def test_later_files_are_moved_and_no_file_is_lost(tmp_path):
    def write(content):
        for name in KEPT + LATER:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)

    write("first")
    assert supersede(tmp_path, 30) == len(LATER)
    assert files(tmp_path) == {*KEPT, *(f"superseded/30/{name}" for name in LATER)}
    assert supersede(tmp_path, 30) == 0
    write("second")
    assert supersede(tmp_path, 30) == len(LATER)
    assert {(tmp_path / place / LATER[0]).read_text() for place in ("superseded/30", "superseded/30.1")} == {
        "first",
        "second",
    }

"""Measure the quality of samples: copies, pixels, classes, distances, and FID if its network is given.

SAMPLES.npz holds `images`, uint8 [N, H, W, C], as `diffenc sample` writes it to WORKDIR/samples. The configuration of
the workdir says which data set they are samples of. Every number stands beside that of real images, the best possible
value: test images, unseen in training, for distances from training images; and as many training images as samples for
distances from test images. Classes need labels. Nothing is downloaded. Prints a table, and writes it unrounded to
SAMPLES-quality.json and a figure of samples beside their nearest training images to SAMPLES-quality.png and .pdf.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from diffenc_jax.commands.arguments import place

EXAMPLE = """\
diffenc sample-quality \\
    runs/digits-diffenc-seed0/samples/1500-depth250-seed0.npz"""
ON_INTERRUPT = "nothing was written; the same command starts again"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("samples", type=place, metavar="SAMPLES", help="a .npz file in samples/ of a workdir")
    parser.add_argument(
        "--workdir", type=place, metavar="DIR", help="folder of the run (default: parent of the samples' folder)"
    )
    parser.add_argument(
        "--fid-weights",
        type=Path,
        metavar="FILE",
        help="weights-inception-2015-12-05-6726825d.pth of torch-fidelity (extra fid); without it there is no FID",
    )


def run(arguments: Namespace) -> None:
    from diffenc_jax.core.errors import require
    from diffenc_jax.core.terminal import print_table
    from diffenc_jax.data.dataset import load_dataset
    from diffenc_jax.lab.figures.style import save_figure
    from diffenc_jax.lab.studies.sample_quality import fid, figure, measure, table
    from diffenc_jax.runs.files import check_writable, exists, is_folder, write_json
    from diffenc_jax.runs.storage import identity, local_copy
    from diffenc_jax.runs.workdir import holds_run, stored_config

    path, weights = arguments.samples, arguments.fid_weights
    require(exists(path) and not is_folder(path), f"{path} is not a file; give a .npz file in samples/ of a workdir")
    workdir = arguments.workdir or identity(path).parent.parent
    require(
        arguments.workdir or holds_run(workdir), f"{path} is not in samples/ of a workdir; give its run's --workdir"
    )
    config = stored_config(workdir)
    data = config.data
    if weights is not None:
        fid.check_weights(weights)
    dataset = load_dataset(data, "train", "test")
    with local_copy(path) as copy:
        samples = measure.read_samples(copy, dataset)
    tests, channels = len(dataset.splits["test"]), dataset.shape[2]
    require(tests >= measure.FEWEST, f"{dataset.name} has {tests} test images, too few to compare samples with")
    require(weights is None or channels in (1, 3), f"FID needs grey or RGB images, these have {channels} channels")
    check_writable(path.parent, f"copy {path.name} elsewhere")
    measured = measure.measure_quality(samples, dataset, data, weights)
    picture = path.with_name(f"{path.stem}-quality")
    record = picture.with_name(f"{picture.name}.json")
    write_json(record, {"file": path.name, **measured.record})
    train = dataset.splits["train"]
    distances = measured.samples, measured.unseen
    drawn = figure.draw_neighbours(samples, train, *distances, dataset.pixel_levels, config.arm)
    save_figure(drawn, picture)
    print_table(table.quality_table(measured.record))
    print("\n".join([*table.notes(measured.record), f"record: {record}", f"figure: {picture}.png, .pdf"]))
    arguments.wrote_to = [workdir]

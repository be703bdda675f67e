"""The four parts that everything is computed from: configuration, images, devices, model."""

from dataclasses import dataclass

from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.data.dataset import TRAIN, Dataset, load_dataset, prepare
from diffenc_jax.model import ImageSpec, Model, build
from diffenc_jax.parallel import hosts
from diffenc_jax.parallel.batches import needed_rows
from diffenc_jax.parallel.sharding import make_mesh


@dataclass(frozen=True)
class Experiment:
    """A configuration, the splits that were loaded, all devices as `config.mesh` arranges them, and the model."""

    config: Config
    dataset: Dataset
    mesh: Mesh
    model: Model

    @staticmethod
    def load(config: Config, *splits: str) -> "Experiment":
        """Build the parts of `config`, with the given splits; by default 'train' and the split to evaluate on.

        Raises InputError if the images cannot be loaded, or the configuration does not fit them or the devices.
        """
        mesh = make_mesh(config.mesh.fsdp)
        hosts.first_alone(lambda: prepare(config.data))  # the others find it in the folder or bucket that they share
        splits = tuple(dict.fromkeys(splits or (TRAIN, config.eval.split)))
        dataset = load_dataset(config.data, *splits, labels=config.model.labels, part=needed_rows(config, mesh))
        spec = ImageSpec(dataset.shape, dataset.pixel_levels, dataset.label_spec)
        return Experiment(config, dataset, mesh, build(config, spec))

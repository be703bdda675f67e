"""The four parts that everything is computed from: configuration, images, devices, model."""

from collections.abc import Mapping
from dataclasses import dataclass

from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.data.dataset import TRAIN, Dataset, load_dataset, prepare
from diffenc_jax.diffusion.standard import Standard
from diffenc_jax.model import DataSpec, Model, build
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
    def load(config: Config, *splits: str, standards: Mapping[str, Standard] = {}) -> "Experiment":
        """Build the parts of `config`, with the given splits; by default 'train' and the split to evaluate on.

        Real numbers are standardised by `standards` (`Dataset.standards`); if missing, by the training data.

        Raises InputError if the images cannot be loaded, or the configuration does not fit them or the devices.
        """
        mesh = make_mesh(config.mesh.fsdp)
        hosts.first_alone(lambda: prepare(config.data))  # the others find it in the folder or bucket that they share
        splits = tuple(dict.fromkeys(splits or (TRAIN, config.eval.split)))
        part, labels = needed_rows(config, mesh), config.model.labels
        dataset = load_dataset(config.data, *splits, labels=labels, part=part, standards=standards)
        spec = DataSpec(dataset.shape, dataset.pixel_levels, dataset.label_spec, dataset.standard)
        return Experiment(config, dataset, mesh, build(config, spec))

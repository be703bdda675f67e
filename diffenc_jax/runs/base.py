"""`BaseRun`: a configuration with its devices, data and model, which estimators, samplers and training take."""

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.data.images import Source
from diffenc_jax.data.sources import open_source, prepare
from diffenc_jax.model import Model, build
from diffenc_jax.parallel import hosts
from diffenc_jax.parallel.batches import needed_rows
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.runs.origin import check_training_data
from diffenc_jax.runs.stored import StoredRun


@dataclass(eq=False)
class BaseRun:
    """A run without its verbs, which `diffenc_jax.Run` adds.

    Attributes:
      config: the configuration.
      mesh: all devices as `config.mesh` arranges them.
      dataset: the data; a split is read when it is first asked for.
      model: the model; `model.bind(params)` is its `Process`.
    """

    config: Config
    mesh: Mesh
    dataset: Dataset
    model: Model

    @staticmethod
    def load(config: Config, stored: StoredRun | None = None) -> "BaseRun":
        """The run of a configuration. No data are read if `stored` knows their kind.

        Raises InputError if the data cannot be read, or the configuration does not fit them or the devices.

        Args:
          stored: the trained run, which knows the kind of its data and has digests of the training data.
        """

        def opened() -> Source:
            # The other hosts find it in the folder or bucket that they share.
            hosts.first_alone(lambda: prepare(config.data))
            return open_source(config.data)

        mesh, known = make_mesh(config.mesh.fsdp), dict[str, Any]()
        if stored is not None:
            check = partial(check_training_data, stored, config, stored.origin)
            known = {"spec": stored.spec, "check": check}
        part, labels = needed_rows(config, mesh), config.model.labels
        dataset = Dataset(opened, config.data.pixel_levels, labels=labels, part=part, **known)
        return BaseRun(config, mesh, dataset, build(config, dataset.spec))

    def changed(self, **changes: Any) -> "BaseRun":
        """The run with another `config`, `model` or `dataset`."""
        return BaseRun(**{field.name: getattr(self, field.name) for field in fields(BaseRun)} | changes)

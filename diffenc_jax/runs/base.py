"""`BaseRun`: a configuration with its devices, data and model, which estimators, samplers and training take."""

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from jax.sharding import Mesh

from diffenc_jax.config import Config
from diffenc_jax.core.errors import require
from diffenc_jax.data.dataset import Dataset
from diffenc_jax.data.images import Source
from diffenc_jax.data.sources import is_here, located, open_source, prepare
from diffenc_jax.model import Model, build
from diffenc_jax.parallel import hosts
from diffenc_jax.parallel.batches import needed_rows
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.runs.origin import check_data
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
    def load(config: Config, stored: StoredRun | None = None, data: str | None = None) -> "BaseRun":
        """The run of a configuration. No data are read if `stored` knows their kind.

        Raises InputError if the data cannot be read, or the configuration does not fit them or the devices.

        Args:
          stored: the trained run, which knows the kind of its data and has digests of them.
          data: where this process finds the data that `config.data.source` names; None: there, or for a relative path
            in a folder above the trained run.
        """
        place = replace(config.data, source=data or config.data.source)
        if stored is not None and data is None:
            place = located(place, stored.workdir)

        def opened() -> Source:
            if stored is not None:
                lost = f"{stored.workdir} was trained on {place.source}, which is not here"
                require(is_here(place), f"{lost}; say where it is, by --data=PATH or dj.open(RUN, data=PATH)")
            # The other hosts find it in the folder or bucket that they share.
            hosts.first_alone(lambda: prepare(place))
            return open_source(place)

        mesh, known = make_mesh(config.mesh.fsdp), dict[str, Any]()
        if stored is not None:
            check = partial(check_data, stored, config, place != config.data)
            known = {"spec": stored.spec, "check": check}
        part, labels = needed_rows(config, mesh), config.model.labels
        dataset = Dataset(opened, config.data.pixel_levels, labels=labels, part=part, **known)
        return BaseRun(config, mesh, dataset, build(config, dataset.spec))

    def changed(self, **changes: Any) -> "BaseRun":
        """The run with another `config`, `model` or `dataset`."""
        return BaseRun(**{field.name: getattr(self, field.name) for field in fields(BaseRun)} | changes)

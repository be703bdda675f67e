"""`NamedSource`: a data set as a configuration names it, whose kind is known before its data are there."""

from collections.abc import Callable
from dataclasses import dataclass

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import require
from diffenc_jax.data.images import NO_LABELS, LabelSpec, Source
from diffenc_jax.data.spec import DataSpec

WITHOUT_LABELS = (
    "has no labels, which model.labels=True needs; give a data set with labels, such as a folder of pictures with a "
    "subfolder per class, or an .npz file with y_train and y_test"
)


@dataclass(frozen=True)
class NamedSource:
    """A data set with a name.

    Attributes:
      shape: (height, width, channels); None if only the source knows it.
      open: function that opens the source that a configuration describes.
      labels: kind of the labels; None if only the source knows it.
      argument: what follows the name and a colon in `data.source`, such as "SIDE"; "" if nothing does.
    """

    shape: tuple[int, ...] | None
    open: Callable[[DataConfig], Source]
    labels: LabelSpec | None = NO_LABELS
    argument: str = ""

    def spec(self, data: DataConfig, has_labels: bool = False) -> DataSpec:
        """The kind of the data that `data` describes, and of their labels if a model reads them.

        Raises InputError if there are no labels, or if the source cannot be opened.
        """
        labels = self._label_spec(data) if has_labels else NO_LABELS
        require(labels != NO_LABELS or not has_labels, f"{data.source} {WITHOUT_LABELS}")
        return DataSpec(self._shape(data), data.pixel_levels, labels)

    def _shape(self, data: DataConfig) -> tuple[int, ...]:
        return self.shape or tuple(self.open(data).splits["train"]().shape[1:])

    def _label_spec(self, data: DataConfig) -> LabelSpec:
        labels = None if self.labels else self.open(data).labels()
        return labels.spec if labels else self.labels or NO_LABELS

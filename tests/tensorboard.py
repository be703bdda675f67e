"""TensorBoard's files, read back."""

import io
import sys
from types import ModuleType

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

# With this module TensorBoard reads by itself and imports no TensorFlow, which takes many seconds.
sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))


def shown(workdir):
    """Values by (name, step): numbers, and pictures [h, w, channels]; of several, the last one that was written."""
    values = {}
    for path in sorted(workdir.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                array = make_ndarray(value.tensor)
                values[value.tag, event.step] = array[()] if array.ndim == 0 else _picture(array)
    return values


def _picture(array):
    _, _, png = array
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    return pixels.reshape(*pixels.shape[:2], -1)

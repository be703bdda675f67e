"""TensorBoard's files, read back without TensorFlow, which takes many seconds to import."""

import io
import struct

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data
from tensorboard.util.tensor_util import make_ndarray

from diffenc_jax.runs import storage


def shown(workdir, whole=True):
    """Values by (name, step), the last one that was written: numbers, texts and pictures [h, w, channels]."""
    values = {(value.tag, event.step): value for event in events(workdir, whole) for value in event.summary.value}
    return {key: _value(value) for key, value in values.items() if value.metadata.plugin_data.plugin_name != "hparams"}


def hyperparameters(workdir):
    """The configuration by key, as the tab "HPARAMS" shows it; of several, the last one that was written."""
    found = [value.metadata.plugin_data for event in events(workdir) for value in event.summary.value]
    content = [data.content for data in found if data.plugin_name == "hparams"][-1]
    values = parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def events(workdir, whole=True):
    """The events of all files, which must not end amid an event if they are to be `whole`.

    A record is its length, a checksum, the event, and a checksum.
    """
    for path in storage.glob(workdir, "events.out.tfevents.*"):
        content = storage.read(path)
        while content:
            (length,) = struct.unpack("<Q", content[:8].ljust(8, b"\xff"))
            if len(content) < length + 16:
                assert not whole, f"{path} ends amid an event"
                break
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def _value(value):
    array, plugin = make_ndarray(value.tensor), value.metadata.plugin_data.plugin_name
    if plugin == "scalars":
        return array[()]
    if plugin == "text":
        return array[()].decode()
    _, _, png = array
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    return pixels.reshape(*pixels.shape[:2], -1)

"""TensorBoard's files, read back."""

import io

import numpy as np
from PIL import Image


def shown(workdir):
    """Values by (name, step): numbers, texts, pictures [h, w, channels], and hyperparameters as a dictionary.

    Asserts that no point was written twice.
    """
    import tensorflow as tf

    values = {}
    for path in workdir.glob("events.out.tfevents.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                assert (value.tag, event.step) not in values
                values[value.tag, event.step] = _read(value, tf)
    return values


def _read(value, tf):
    plugin = value.metadata.plugin_data
    if plugin.plugin_name == "hparams":
        from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

        found = HParamsPluginData.FromString(plugin.content).session_start_info.hparams
        return {name: getattr(field, field.WhichOneof("kind")) for name, field in found.items()}
    array = tf.make_ndarray(value.tensor)
    if plugin.plugin_name == "images":
        _, _, png = array
        pixels = np.asarray(Image.open(io.BytesIO(png)))
        return pixels.reshape(*pixels.shape[:2], -1)
    return array[()].decode() if plugin.plugin_name == "text" else float(array)

"""Small data sets that tensorflow-datasets finds by name once this module is imported. They need no downloads."""

import numpy as np
import tensorflow_datasets as tfds


def picture(number: int, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3], a function of its arguments."""
    return np.random.RandomState(number).randint(0, 256, (height, width, 3)).astype(np.uint8)


class _Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.2.3")
    SPLITS: tuple = ("train", "test")

    def features(self):
        return {"image": tfds.features.Image(shape=(4, 4, 3))}

    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(self.features()))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples() for split in self.SPLITS}

    def _generate_examples(self):
        for number in range(5):
            yield number, {"image": picture(number, 4, 4)}


class TinyTrainOnly(_Tiny):
    """There is neither a test nor a validation split."""

    SPLITS = ("train", "extra")


class TinySizes(_Tiny):
    """Pictures of several sizes, with a validation split and no test split."""

    SPLITS = ("train", "validation")

    def features(self):
        return {"image": tfds.features.Image(shape=(None, None, 3), encoding_format="png")}

    def _generate_examples(self):
        for number in range(5):
            yield number, {"image": picture(number, 6 + number, 9)}


class TinyStereo(_Tiny):
    """Two images per example."""

    def features(self):
        return {"left": tfds.features.Image(shape=(4, 4, 3)), "right": tfds.features.Image(shape=(4, 4, 3))}


class TinyDeep(_Tiny):
    """Images of 16 bits."""

    def features(self):
        return {"image": tfds.features.Image(shape=(4, 4, 1), dtype=np.uint16)}

"""Real numbers in files: which ones have a density in float32, and what is wrong with others."""

import numpy as np
import pytest

from diffenc_jax.config.sections import DataConfig
from diffenc_jax.core.errors import InputError
from diffenc_jax.data.dataset import load_dataset

RNG = np.random.RandomState(1)


def load(folder, **arrays):
    """The data set of a file of arrays by name, with labels if there are any."""
    np.savez(folder / "x.npz", **arrays)
    config = DataConfig(str(folder / "x.npz"), pixel_levels=None)
    return load_dataset(config, "train", "test", labels=any(name.startswith("y") for name in arrays))


def put(name, value, row=3):
    """Change of arrays by name: one or several rows of the first feature of `name` become `value`."""
    return lambda arrays: arrays[name].__setitem__((row, 0), value)


def become(change, name="train"):
    """Change of arrays by name: the first feature of `name` becomes `change` of it."""
    return lambda arrays: arrays[name].__setitem__((slice(None), 0), change(arrays[name][:, 0]))


def two_values_and_an_outlier(y):
    return np.where(np.arange(len(y)) == 3, 1e30, np.sign(y))


def decimals_with_errors(x):
    return np.round(x + 9, 1) + RNG.randint(0, 2, len(x)) * 2e-15


LOST = r"only \d+ of \d+ values differ in float32, .*, because of {} in row 3, perhaps a fill value; remove such"
TOO_FAR = r"\(test\): .*: {} in row 3, perhaps a fill value, is too far"
ROUNDED = (
    r"\[..., 0\] is rounded to multiples of {}, .* standard deviations, and 0.002 are allowed; add noise that is uni"
)
TIES = r"\[..., 0\] has \d+ times the value 0.5 in 360, first in row 4, which"
FEW_LABELS = r"^labels of .*train.*only 2 of 3 values differ.* 1e\+30 in row 3"
BAD = {
    "nan": (put("train", np.nan), r"\(train\): 1 values are NaN or infinite, the first at \[3, 0\]"),
    "constant": (become(lambda x: 0 * x + 7), r"\[..., 0\] has the mean 7 and the deviation 0, .*, or leave it out if"),
    "constant but for rounding": (become(lambda x: 0 * x + 0.1), r"\[..., 0\] is constant, 0.1; leave it out"),
    "large": (become(lambda x: 1e200 * x), r"\[..., 0\] has the mean .* and the deviation inf, which"),
    "ties": (become(lambda x: np.maximum(x, 0.5)), TIES),
    "an outlier": (put("train", 1e30), LOST.format(r"1e\+30")),
    "fill values": (put("train", 9.97e36, slice(3, 30)), LOST.format(r"9.97e\+36")),
    "more fill values than others": (put("train", 9.97e36, slice(3, 300)), LOST.format(r"9.97e\+36")),
    "a distant zero": (become(lambda x: np.where(np.arange(360) == 3, 0, x + 1e12)), LOST.format("0")),
    "an outlier of the conditions": (put("y_train", 1e30), "^labels of .*train.*" + LOST.format(r"1e\+30")),
    "an outlier among two conditions": (become(two_values_and_an_outlier, "y_train"), FEW_LABELS),
    "fill values of the test split": (put("test", 1e20), TOO_FAR.format(r"1e\+20")),
    "beyond float32, test split": (put("test", -1e300), TOO_FAR.format(r"-1e\+300")),
    "bytes": (become(lambda x: np.round(x * 50 + 128)), ROUNDED.format(1)),
    "decimals": (become(lambda x: np.round(x, 2)), ROUNDED.format("0.01")),
    "decimals with errors": (become(decimals_with_errors), ROUNDED.format("0.1")),
}
GOOD = {
    "counts with a deviation of thousands": RNG.normal(20_000, 3000, (6000, 1)).round(),
    "few counts": RNG.normal(20_000, 1200, (600, 1)).round(),
    "a heavy tail": RNG.standard_cauchy((20_000, 1)),
    "half precision": RNG.normal(size=(5000, 1)).astype(np.float16),
    "a large unit": 1e30 * RNG.normal(size=(200, 1)),
    "a row twice": np.repeat(RNG.normal(size=(300, 1)), [2] + [1] * 299, axis=0),
    "fields": RNG.normal(size=(150, 32, 32, 1)),
}
NO_REAL_NUMBERS = [
    (np.zeros((9, 2), complex), "must hold real numbers, and this is complex128"),
    (np.zeros((9, 2), np.longdouble), "must hold real numbers, and this is .*; save float32 or float64"),
    (np.zeros((9, 2), int), "this is int64; add noise .*; or, for pixels 0 .. 255, take a configuration of im"),
    (np.zeros(9), r"must hold vectors \[N, D\]"),
]


@pytest.mark.parametrize("name", BAD)
def test_data_without_a_density_in_float32(name, tmp_path):
    change, message = BAD[name]
    rng = np.random.RandomState(0)
    sizes = {"train": (360, 2), "test": (40, 2), "y_train": (360, 1), "y_test": (40, 1)}
    arrays = {name: rng.normal(size=size) for name, size in sizes.items()}
    change(arrays)
    with pytest.raises(InputError, match=message):
        load(tmp_path, **arrays)


@pytest.mark.parametrize("name", GOOD)
def test_data_with_a_density(name, tmp_path):
    """Conditions may be few different values, also with errors of rounding."""
    grid = np.arange(1.0, len(GOOD[name]) + 1)[:, None] % 40 / 10
    load(tmp_path, x=GOOD[name], y=grid * (1 + RNG.randint(-1, 2, grid.shape) * 2.0**-52))


@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_a_message_names_the_row_of_the_file(value, tmp_path):
    """Also if a tenth of the rows is held out."""
    x = np.random.RandomState(0).normal(size=(400, 2))
    x[217, 1] = value
    with pytest.raises(InputError, match=r"the first at \[217, 1\]|1e\+30 in row 217"):
        load(tmp_path, x=x)


@pytest.mark.parametrize(("array", "message"), NO_REAL_NUMBERS)
def test_what_is_no_array_of_real_numbers_is_refused(array, message, tmp_path):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InputError, match=message):
        load_dataset(DataConfig(str(tmp_path / "x.npy"), pixel_levels=None), "train")

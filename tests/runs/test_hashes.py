"""Checksums of arrays: their definition, parts of arrays on any device, and the changes that they find."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.runs.hashes import BLOCK, checksum, checksum_on_device, hash_arrays, runs_of

MODULUS = 2**32


def by_definition(array):
    """The checksum in Python's whole numbers."""

    def mix(i):
        i = (i ^ i >> 16) * 0x7FEB352D % MODULUS
        return i ^ i >> 15

    bits = np.ascontiguousarray(array).reshape(-1).view(f"uint{8 * array.dtype.itemsize}").tolist()
    terms = [mix(x ^ 0x9E3779B1 * p % MODULUS) for p, x in enumerate(bits)]
    return [sum(terms) % MODULUS, sum(map(mix, terms)) % MODULUS]


def draw(*shape, dtype=np.float32):
    return np.asarray(np.random.default_rng(0).normal(size=shape).astype(dtype))


def pair(array):
    return hash_arrays({"array": array})["array"][2]


@pytest.mark.parametrize(
    "array",
    [
        draw(3, 5),
        draw(7, dtype=jnp.bfloat16),
        np.array(7, np.int32),
        np.array([True, False]),
        draw(0, 3),
        draw(BLOCK + 9),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_a_checksum_is_that_of_its_definition(array):
    assert pair(array) == pair(jax.device_put(array)) == by_definition(array)
    np.testing.assert_array_equal(checksum_on_device(jax.device_put(array), None), by_definition(array))


@pytest.mark.parametrize(("axis", "parts"), [(0, 2), (1, 3), (2, 5)])
def test_checksums_of_parts_add_up_to_that_of_the_whole(axis, parts):
    array, index = draw(4, 6, 10), [slice(None)] * 3
    found = {"numpy": np.zeros(2, np.uint32), "device": np.zeros(2, np.uint32)}
    for part in np.split(np.arange(array.shape[axis]), parts):
        index[axis] = slice(int(part[0]), int(part[-1]) + 1)
        values, runs = array[tuple(index)], runs_of(index, array.shape)
        found["numpy"] += checksum(np, values.reshape(-1), np.uint32(0), runs)
        found["device"] += np.asarray(checksum_on_device(jax.device_put(values), runs))
    for sums in found.values():
        np.testing.assert_array_equal(sums, by_definition(array))


def test_every_small_change_is_found():
    """Changes of any bit, of signs in pairs, and of places."""
    array = draw(12)
    changed = [array]
    for bit, place in itertools.product(range(32), (0, 5, 11)):
        changed.append(array.copy())
        changed[-1].view(np.uint32)[place] ^= np.uint32(1 << bit)
    for a, b in itertools.combinations(range(12), 2):
        for change in (-array[[a, b]], array[[b, a]]):
            changed.append(array.copy())
            changed[-1][[a, b]] = change
    assert len({tuple(pair(each)) for each in changed}) == len(changed)

"""Checksums of arrays: their definition, parts of arrays on any device, and the changes that they find."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.runs import hashes

MODULUS = 2**32


def by_definition(array):
    """The checksum in Python's whole numbers."""

    def mix(i):
        i = (i ^ i >> 16) * 0x7FEB352D % MODULUS
        i = (i ^ i >> 15) * 0x846CA68B % MODULUS
        return i ^ i >> 16

    words = np.ascontiguousarray(array).reshape(-1).view(f"uint{8 * min(4, array.dtype.itemsize)}").tolist()
    keys = [0x9E3779B1 * p % MODULUS for p in range(len(words))]
    first = [mix(x ^ k) for x, k in zip(words, keys, strict=True)]
    second = [mix((t + k) % MODULUS) for t, k in zip(first, keys, strict=True)]
    return [sum(first) % MODULUS, sum(second) % MODULUS]


def draw(*shape, dtype=np.float32):
    return np.asarray(np.random.default_rng(0).normal(size=shape).astype(dtype))


def pair(array):
    return next(iter(hashes.hash_arrays({"array": array}).values()))


ARRAYS = [
    draw(3, 5),
    draw(7, dtype=jnp.bfloat16),
    draw(7, dtype=jnp.float8_e4m3fn),
    draw(3, 5, dtype=np.float64),
    draw(7, dtype=np.complex64),
    np.array(2**60 + 1),
    np.array(7, np.int32),
    np.array([True, False]),
    draw(0, 3),
    draw(hashes.BLOCK + 9),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_a_checksum_is_that_of_its_definition(array, x64):
    assert pair(array) == pair(jax.device_put(array)) == by_definition(array)
    np.testing.assert_array_equal(hashes.checksum_on_device(jax.device_put(array), ()), by_definition(array))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("parts", [(2, 1, 1), (1, 3, 1), (1, 1, 5), (2, 1, 5), (4, 3, 2)])
def test_checksums_of_parts_add_up_to_that_of_the_whole(parts, dtype, x64):
    """Parts are boxes that divide one axis or several."""
    array = draw(4, 6, 10, dtype=dtype)
    edges = ([slice(k * n // p, (k + 1) * n // p) for k in range(p)] for n, p in zip(array.shape, parts, strict=True))
    found = {"numpy": np.zeros(2, np.uint32), "device": np.zeros(2, np.uint32)}
    for index in itertools.product(*edges):
        part, runs = array[index], hashes.runs_of(index, array)
        found["numpy"] += hashes.checksum(np, hashes.words_of(part), np.uint32(0), runs)
        found["device"] += np.asarray(hashes.checksum_on_device(jax.device_put(part), runs))
    for sums in found.values():
        np.testing.assert_array_equal(sums, by_definition(array))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_small_change_is_found(dtype):
    """Changes of any bit, of signs in pairs, and of places."""
    array = draw(12, dtype=dtype)
    changed = [array]
    for bit, place in itertools.product(range(32), range(array.view(np.uint32).size)):
        changed.append(array.copy())
        changed[-1].view(np.uint32)[place] ^= np.uint32(1 << bit)
    for a, b in itertools.combinations(range(12), 2):
        for change in (-array[[a, b]], array[[b, a]]):
            changed.append(array.copy())
            changed[-1][[a, b]] = change
    assert len({tuple(pair(each)) for each in changed}) == len(changed)


@pytest.mark.parametrize("masks", [(1, 1), (2**15, 2**15), (2**31, 2**31), (8, 2**29), (0, 0)])
def test_changes_of_two_words_are_found_but_for_the_stated_chance(masks):
    """Their bits in the masks are flipped, or else the words are swapped.

    Of 2^38 pairs of words, few keep the first sum (at most 20 2^-32), and 2^-8 of these the low byte of the second.
    """
    rng, tables = np.random.default_rng(0), []
    for number, place, other in (0, 3, 1000), (1, 1000, 3):
        words = 2 * rng.integers(2**31, size=2**19, dtype=np.uint32) + np.uint32(number)  # no two equal ones
        before, after = (np.full(words.size, at, np.uint32) for at in (place, place if any(masks) else other))
        changed = words ^ np.uint32(masks[number])
        tables.append(np.subtract(hashes.terms(changed, after), hashes.terms(words, before)))
    (first, second), (other_first, other_second) = tables
    order = np.argsort(first)
    low, high = (np.searchsorted(first[order], -other_first, side) for side in ("left", "right"))
    kept = np.flatnonzero(high > low)
    assert kept.size < 30 * 2**6
    assert np.sum((second[order][low[kept]] + other_second[kept]) % 2**8 == 0) < 20

"""The stack: every operation is undone exactly, and costs what its probability says."""

import numpy as np
import pytest
from scipy.stats import norm

from diffenc_jax.core.errors import RunError
from diffenc_jax.lab.coding.stack import Stack


def random_operations(count):
    """(mean, std, distances in std) for Gaussians of all widths, some of them far from the mean."""
    random = np.random.RandomState(0)
    for _ in range(count):
        size = random.randint(1, 300)
        far = random.standard_t(1.2, size) * random.choice([1.0, 1e4])
        yield random.normal(0, 1e4, size), np.exp(random.uniform(-1, 5, size)), far


@pytest.mark.parametrize("pops", [lambda number: number < 40, lambda number: number % 2 == 0], ids=["first", "in turn"])
def test_everything_is_undone(pops):
    stack, done = Stack(), []
    for number, (mean, std, far) in enumerate(random_operations(80)):
        if pops(number):
            pad = np.random.RandomState(number).randint(0, 2**16, 2 * len(mean))
            stack.mask(pad)
            done.append((stack.pop_gaussian(mean, std), mean, std, pad))
        else:
            k = np.clip(np.rint(mean + std * far), -(2**31), 2**31).astype(np.int64)
            stack.push_any(k, mean, std)
            done.append((k, mean, std, None))
    back = Stack(stack.words())
    assert not back.is_initial
    for k, mean, std, pad in reversed(done):
        if pad is None:
            np.testing.assert_array_equal(back.pop_any(mean, std), k)
        else:
            back.push_gaussian(k, mean, std)
            back.mask(pad)
    assert back.is_initial
    assert len(back.words()) == stack.initial_words + 1


def test_popped_and_pushed_bits_are_those_of_the_probability():
    mean, std = np.tile([0.3, -1234.7, 5e8, -5e8, 0.0], 40), np.tile([4.0, 0.7, 30.0, 4.0, 400.0], 40)
    stack = Stack()
    stack.mask(np.random.RandomState(0).randint(0, 2**16, 1000))
    before = stack.bits
    k = stack.pop_gaussian(mean, std)
    cells = norm.cdf(k + 0.5, mean, std) - norm.cdf(k - 0.5, mean, std)
    assert before - stack.bits == pytest.approx(-np.log2(cells).sum(), rel=1e-3)
    stack.push_any(k, mean, std)
    assert stack.bits == pytest.approx(before, abs=0.2)


def test_one_wide_distribution_makes_no_other_longer():
    std = np.append(np.full(2000, 4.0), 2e4)
    k = np.rint(std * np.random.RandomState(0).normal(size=2001)).astype(np.int64)
    stack = Stack()
    before = stack.bits
    stack.push_any(k, np.zeros(2001), std)
    cost = -np.log2(norm.cdf(k + 0.5, 0, std) - norm.cdf(k - 0.5, 0, std)).sum()
    assert stack.bits - before == pytest.approx(cost, abs=0.1)


def test_what_cannot_have_been_popped_is_refused():
    with pytest.raises(RunError, match="not decoded to the images"):
        Stack().push_gaussian(np.array([0, 100]), np.zeros(2), np.ones(2))


def test_a_stack_that_is_popped_to_nothing_is_not_initial():
    stack = Stack(np.array([2**23], np.uint32))
    np.testing.assert_array_equal(stack.pop_categorical(np.array([[0.5, 0.5]])), [1])
    assert not stack.is_initial

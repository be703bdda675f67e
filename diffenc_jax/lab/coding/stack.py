"""A stack of bits onto which symbols are pushed, and from which they are popped: asymmetric numeral systems.

Popping a symbol of probability p removes log2(1/p) bits from the stack, pushing it adds the same number, and each
undoes the other (arXiv 1311.2540). `constriction` does the arithmetic, with probabilities of 24 bits. Every symbol of
an alphabet has at least the probability 2^-24, so that it can be coded.

Bits-back coding pops before it pushes. The stack therefore takes zeros from below when it is empty. After everything is
decoded, only these zeros are left.
"""

import math
from typing import Any

import numpy as np
from constriction import stream

from diffenc_jax.core.errors import RunError

AnsCoder = stream.stack.AnsCoder
Categorical, QuantizedGaussian, Uniform = stream.model.Categorical, stream.model.QuantizedGaussian, stream.model.Uniform

NOT_DECODED = "the file is not decoded to the images that were compressed; decompress it on the machine that wrote it"
# Standard deviations on either side of the mean that an alphabet covers: 1e-13 of the mass lies beyond. An alphabet is
# no larger than 2^21, so that the smallest probabilities take a small part of the mass.
REACH, LARGEST_REACH = 7.5, 2**20
# Bits of a probability. A pop looks at as many on top of the stack, however few it takes.
PRECISION = 24
# Values that are coded with equal probabilities of 16 bits.
HALF_WORD = 2**16
# Zeros that are put below a stack at a time, in words.
BLOCK = 256


class Stack:
    """A stack of 32-bit words.

    Integers are coded under normal distributions, rounded, with `mean` and `std` float64 [n].
    """

    def __init__(self, words: np.ndarray | None = None):
        """A new stack, or the stack for which `words()` returned `words`, which must not end in 0."""
        self._below = 0  # zeros that were put below, in words
        self._untouched = 0  # those of them that were never popped
        if words is None:
            self._coder = AnsCoder(np.zeros(0, np.uint32), seal=True)
            self._grow(BLOCK)
        else:
            self._coder = AnsCoder(words)

    @property
    def bits(self) -> float:
        """Length of the stack in bits, with fractions; only differences of lengths are meaningful."""
        words, state = self._coder.pos()
        return 32 * (words - self._below) + math.log2(state)

    @property
    def initial_words(self) -> int:
        """Number of words of zeros that were popped from below the stack so far."""
        return self._below - self._untouched

    @property
    def is_initial(self) -> bool:
        """Whether the stack holds only zeros from below, as after everything is decoded."""
        words = self._coder.get_compressed()
        return words[-1:].tolist() == [1] and not words[:-1].any()

    def words(self) -> np.ndarray:
        """The words of the stack, including the words popped from below, uint32."""
        return self._coder.get_compressed()[self._untouched :]

    def pop_gaussian(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Integers [n] from N(mean, std²), none further from the mean than `REACH` times the largest std."""
        centre = _rounded(mean)
        return centre + self._pop(_gaussian(std), mean - centre, std)

    def push_gaussian(self, k: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
        """Undo `pop_gaussian`; raises RunError if k [n] cannot be its result."""
        centre = _rounded(mean)
        if np.abs(k - centre).max() > _reach(std):
            raise RunError(NOT_DECODED)
        self._push(k - centre, _gaussian(std), mean - centre, std)

    def push_any(self, k: np.ndarray, mean: np.ndarray, std: np.ndarray) -> None:
        """Push any integers k [n] that are at most 2^32 from the mean.

        Integers with similar widths share an alphabet. In a larger alphabet than necessary, the smallest probabilities
        would take more of the mass. The outermost symbols of an alphabet stand for all integers beyond; 32 bits give
        the distance.
        """
        for part in reversed(_alike(std)):
            centre, last = _rounded(mean[part]), _reach(std[part])
            offset = k[part] - centre
            beyond = np.abs(offset) - last
            self._push(np.stack(np.divmod(beyond[beyond >= 0], HALF_WORD)).ravel(), Uniform(HALF_WORD))
            self.push_gaussian(centre + np.clip(offset, -last, last), mean[part], std[part])

    def pop_any(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Undo `push_any`."""
        k = np.zeros(len(mean), np.int64)
        for part in _alike(std):
            k[part] = self.pop_gaussian(mean[part], std[part])
            offset = k[part] - _rounded(mean[part])
            outer = np.abs(offset) == _reach(std[part])
            high, low = self._pop(Uniform(HALF_WORD), 2 * int(outer.sum())).reshape(2, -1)
            k[part[outer]] += np.sign(offset[outer]) * (high * HALF_WORD + low)
        return k

    def push_categorical(self, symbols: np.ndarray, probabilities: np.ndarray) -> None:
        """Push symbols [n] under probabilities [n, V]."""
        self._push(symbols, Categorical(perfect=False), probabilities)

    def pop_categorical(self, probabilities: np.ndarray) -> np.ndarray:
        """Undo `push_categorical`."""
        return self._pop(Categorical(perfect=False), probabilities)

    def mask(self, pad: np.ndarray) -> None:
        """Combine the top of the stack with half-words `pad`, uint16 [n], by exclusive or. A second call undoes it."""
        top = self._pop(Uniform(HALF_WORD), len(pad))
        self._push(top ^ pad, Uniform(HALF_WORD))

    def _push(self, symbols: np.ndarray, *model) -> None:
        self._coder.encode_reverse(symbols.astype(np.int32), *model)

    def _pop(self, model, *parameters) -> np.ndarray:
        """Popped symbols [n], under distributions with parameters [n, ...], or n symbols of one distribution."""
        count = parameters[0] if isinstance(parameters[0], int) else len(parameters[0])
        if self._below and self._coder.pos()[0] < count + 2:  # no symbol takes a word
            self._grow(max(count + 2, BLOCK))
        symbols = self._coder.decode(model, *parameters)
        self._untouched = min(self._untouched, self._coder.pos()[0])
        return symbols.astype(np.int64)

    def _grow(self, count: int) -> None:
        """Put `count` words of zeros below the stack."""
        self._coder = AnsCoder(np.concatenate([np.zeros(count, np.uint32), self._coder.get_compressed()]))
        self._below += count
        self._untouched = min(self._untouched + count, self._coder.pos()[0])  # the topmost ones are in the state


def _alike(std: np.ndarray) -> list[np.ndarray]:
    """For each power of two that occurs: the indices of the widths between it and the next power."""
    _, exponents = np.frexp(std)
    return [np.flatnonzero(exponents == exponent) for exponent in np.unique(exponents)]


def _rounded(mean: np.ndarray) -> np.ndarray:
    return np.rint(mean).astype(np.int64)


def _reach(std: np.ndarray) -> int:
    """The last symbol, on either side of the mean, of an alphabet for these standard deviations."""
    return min(math.ceil(REACH * float(np.max(std))) + 1, LARGEST_REACH)


def _gaussian(std: np.ndarray) -> Any:
    return QuantizedGaussian(-_reach(std), _reach(std))

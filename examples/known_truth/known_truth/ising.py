"""The Ising model on an L x L torus at its critical temperature.

An image has the pixels 0 and 1, which stand for the spins s = -1 and 1:

  p(s) = exp(b Σ s s') / Z    summed over the 2 L² pairs of neighbours, b = ½ ln(1 + √2)
"""

import numpy as np
from scipy.special import logsumexp

from known_truth.coupling import COUPLING, by_coupling

LONGEST_ROW = 10  # of which a transfer matrix has all 2^L states


def log_prob(images: np.ndarray) -> np.ndarray:
    """ln p, nats [N], of images [N, L, L, 1]."""
    return log_weight(images) - log_partition(images.shape[1])


def log_weight(images: np.ndarray) -> np.ndarray:
    """b Σ s s' of images [N, L, L, 1]."""
    spins = 2.0 * images[..., 0] - 1.0
    return COUPLING * sum((spins * np.roll(spins, 1, axis)).sum(axis=(1, 2)) for axis in (1, 2))


def log_partition(side: int) -> float:
    """ln Z by Kaufman's formula (Phys. Rev. 76, 1232, 1949).

      Z = ½ (2 sinh 2b)^(L²/2) [Π 2 cosh(½ L γ_r) + Π 2 sinh(½ L γ_r), over odd r, and both over even r, 0 <= r < 2L]
      cosh γ_r = cosh 2b coth 2b - cos(π r / L) for r > 0, and γ_0 = 2b + ln tanh b

    At the critical temperature γ_0 = 0, so that the last product is 0.
    """
    return float(logsumexp(_log_products(side)[:3]) - np.log(2) + 0.5 * side**2 * np.log(2 * np.sinh(2 * COUPLING)))


def entropy(side: int) -> float:
    """Entropy of an image, nats: ln Z - b E[Σ s s'], where E[Σ s s'] = d ln Z / db.

    At the critical temperature dγ_0/db = 4, and the other γ_r have the derivative 0. So of the products only the last
    one has a derivative, 4 L Π 2 sinh(½ L γ_r) over even r > 0, and that of ½ L² ln(2 sinh 2b) is L² coth 2b.
    """
    *products, last = _log_products(side)
    pairs = side**2 / np.tanh(2 * COUPLING) + 4 * side * np.exp(last - logsumexp(products))
    return log_partition(side) - COUPLING * float(pairs)


def _log_products(side: int) -> list[float]:
    """ln of the products of Kaufman's formula: cosh and sinh of odd r, cosh of even r, and sinh of even r > 0."""
    cosine = np.cos(np.pi * np.arange(1, 2 * side) / side)
    gamma = np.arccosh(np.cosh(2 * COUPLING) / np.tanh(2 * COUPLING) - cosine)
    half = 0.5 * side * np.append(0.0, gamma)
    factors = (half[1::2], 1), (half[1::2], -1), (half[::2], 1), (half[2::2], -1)
    return [values.sum() + np.log1p(sign * np.exp(-2 * values)).sum() for values, sign in factors]


def transfer_matrix(side: int) -> np.ndarray:
    """[2^L, 2^L]: weight of the pairs between one row and the next, with half of the pairs within each; Z = tr T^L."""
    spins = 2.0 * _bits(np.arange(2**side), side) - 1.0
    within = (spins * np.roll(spins, 1, axis=1)).sum(axis=1)
    return np.exp(COUPLING * (spins @ spins.T + 0.5 * (within[:, None] + within)))


def draw(rng: np.random.Generator, side: int, count: int) -> np.ndarray:
    """Independent images, uint8 [count, L, L, 1]: by transfer matrices or, of long rows, by coupling from the past."""
    return (_by_transfer if side <= LONGEST_ROW else by_coupling)(rng, side, count)


def _by_transfer(rng: np.random.Generator, side: int, count: int) -> np.ndarray:
    """The first row by p(a) ∝ (T^L)_aa; row k by p(b | row before c, a) ∝ T_cb (T^(L-k))_ba, with k = 1 the second."""
    transfer = transfer_matrix(side)
    powers = [np.eye(len(transfer)), transfer / np.linalg.norm(transfer, 2)]
    while len(powers) <= side:
        powers.append(powers[-1] @ powers[1])
    rows = np.empty((count, side), int)
    rows[:, 0] = rng.choice(len(transfer), count, p=np.diag(powers[side]) / np.trace(powers[side]))
    for k in range(1, side):
        for part in np.array_split(np.arange(count), -(-count // 2000)):  # [2000, 2^L] at a time
            weights = np.cumsum(transfer[rows[part, k - 1]] * powers[side - k][rows[part, 0]], axis=1)
            level = rng.uniform(size=(len(part), 1)) * weights[:, -1:]
            rows[part, k] = (weights < level).sum(axis=1)
    return _bits(rows, side).astype(np.uint8)[..., None]


def _bits(numbers: np.ndarray, side: int) -> np.ndarray:
    """The binary digits [..., side] of numbers [...]."""
    return (numbers[..., None] >> np.arange(side)) & 1

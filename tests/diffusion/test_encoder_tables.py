"""The tables of docs/encoder-law.md, for linear encoders on Gaussian data with independent components.

k and γ are [T + 1, n], values at the ends of the steps for each component.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_digits

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.reverse import linear
from diffenc_jax.diffusion.schedules import gamma_min_for
from tests.diffusion.law import LinearPath
from tests.diffusion.test_encoder_law import GAMMA_0, GAMMA_1, matrix_encoder, step_costs

DOCUMENT = (Path(__file__).parents[2] / "docs/encoder-law.md").read_text()


def table(heading, first):
    """Rows, as lists of texts, of the table in a section of the document whose first column has this title."""
    section = DOCUMENT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = section.partition(f"| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    assert rows
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def agrees(printed, value):
    """Whether `printed` is `value`, rounded to its digits."""
    digits = len(printed.partition(".")[2])
    return abs(float(printed) - value) <= 0.6 * 10**-digits


def numbers(text):
    return np.array([float(number) for number in re.findall(r"[\d.]+", text)])


def in_bits(nats):
    """Bits per dimension of nats [n] of the components."""
    return jnp.mean(nats) / np.log(2)


def information(k, gamma, eigenvalues):
    return 0.5 * jnp.log1p(jnp.exp(-gamma) * k**2 * eigenvalues)


def divergence(k, gamma, eigenvalues):
    """KL(q(z_1) ‖ N(0, I)) [n]."""
    excess = (k[-1] ** 2 * eigenvalues - 1) * jax.nn.sigmoid(-gamma[-1])
    return 0.5 * (excess - jnp.log1p(excess))


def price(k, gamma, eigenvalues):
    """Σ I(x; z_t | z_s) [n]."""
    s, t = gamma[:-1], gamma[1:]
    variance = eigenvalues / (1 + jnp.exp(-s) * k[:-1] ** 2 * eigenvalues)
    return 0.5 * jnp.log1p((k[1:] - k[:-1]) ** 2 * variance / (jnp.exp(t) - jnp.exp(s))).sum(axis=0)


def diffusion(k, gamma, eigenvalues):
    """The diffusion term [n] at ratio 1."""
    s, t = gamma[:-1], gamma[1:]
    rest = jnp.exp(s - t)
    variance = eigenvalues / (1 + jnp.exp(-t) * k[1:] ** 2 * eigenvalues)
    return 0.5 * ((k[:-1] - rest * k[1:]) ** 2 * variance * jnp.exp(-s) / (1 - rest)).sum(axis=0)


def excess(k, gamma, eigenvalues):
    """The bound at ratio 1 beyond H(x) + E KL(q(x | z_0) ‖ p(x | z_0)), bits/dim."""
    ends = [information(k[i], gamma[i], eigenvalues) for i in (0, -1)]
    return in_bits(diffusion(k, gamma, eigenvalues) - ends[0] + ends[1] + divergence(k, gamma, eigenvalues))


def factors(parameters, depth, count):
    """k with k_0 = 1."""
    return jnp.concatenate([jnp.ones((1, count)), parameters.reshape(depth, count)])


def levels(parameters, depth, count):
    """Increasing γ between the fixed ends, common to all components or one schedule for each."""
    logits = parameters.reshape(depth - 1, -1)
    shares = jax.nn.softmax(jnp.concatenate([jnp.zeros((1, logits.shape[1])), logits]), axis=0)
    inner = GAMMA_0 + (GAMMA_1 - GAMMA_0) * jnp.cumsum(shares, axis=0)
    return jnp.broadcast_to(jnp.concatenate([jnp.full((1, logits.shape[1]), GAMMA_0), inner]), (depth + 1, count))


def equal_steps(depth, count, gamma_1=GAMMA_1):
    return jnp.broadcast_to(jnp.linspace(GAMMA_0, gamma_1, depth + 1)[:, None], (depth + 1, count))


def least(function, start):
    """The parameters at which `function` is least."""
    value_and_grad = jax.jit(jax.value_and_grad(function))
    options = dict(maxiter=20_000, maxfun=40_000, ftol=1e-15, gtol=1e-9, maxcor=40)
    result = minimize(
        lambda x: [np.asarray(part) for part in value_and_grad(x)], start, jac=True, method="L-BFGS-B", options=options
    )
    return result.x


def best(choice, eigenvalues, depth):
    """k and γ at the least excess that a choice of the table allows."""
    count = len(eigenvalues)
    ones, zeros, size = np.ones(depth * count), np.zeros(depth - 1), depth * count
    makers = {
        "nothing: VDM, equal steps": (lambda p: (factors(ones, depth, count), equal_steps(depth, count)), np.zeros(0)),
        "k": (lambda p: (factors(p, depth, count), equal_steps(depth, count)), ones),
        "times": (lambda p: (factors(ones, depth, count), levels(p, depth, count)), zeros),
        "times per component": (
            lambda p: (factors(ones, depth, count), levels(p, depth, count)),
            np.tile(zeros, count),
        ),
        "k and times": (
            lambda p: (factors(p[:size], depth, count), levels(p[size:], depth, count)),
            np.concatenate([ones, zeros]),
        ),
    }
    make, start = makers[choice]
    return make(least(lambda p: excess(*make(p), eigenvalues), start) if len(start) else start)


def cost_of_the_library(k, gamma, eigenvalues):
    """The diffusion term [] by the losses, for the encoder that has k at the common ends of the steps."""
    grid, columns, size = np.asarray(gamma[:, 0]), np.asarray(k).T, 3 // len(eigenvalues)

    def matrix(at, xp=np):
        factors = [xp.interp(at, grid, column) for column in columns] * size
        return xp.stack(factors, axis=1)[:, :, None] * np.eye(3)

    path = LinearPath(matrix, np.diag(np.tile(eigenvalues, size)))
    return step_costs(matrix_encoder(matrix), linear, grid[:-1], grid[1:], path)[0].sum() / size


@pytest.mark.parametrize("depth", [10, *(pytest.param(depth, marks=pytest.mark.slow) for depth in (5, 20, 50))])
def test_few_steps(x64, depth):
    """Every choice, and k at common times by the losses."""
    rows = table("Few steps", "eigenvalues of the covariance")
    column = 2 + [5, 10, 20, 50].index(depth)
    for row in rows:
        eigenvalues = numbers(row[0])
        k, gamma = best(row[1], eigenvalues, depth)
        assert agrees(row[column], float(excess(k, gamma, eigenvalues))), row
        if row[1] != "times per component":
            expected = float(diffusion(k, gamma, eigenvalues).sum())
            assert cost_of_the_library(k, gamma, eigenvalues) == pytest.approx(expected, rel=1e-7)


def test_amplification_is_paid_at_the_noise_end(x64):
    """The figures of the text for equal eigenvalues and few steps."""
    eigenvalues = np.array([0.26])
    for depth, largest, paid in ((5, 59.0, 2.96), (10, 30.8, 0.49)):
        k, gamma = best("k", eigenvalues, depth)
        assert float(k[-1, 0]) == pytest.approx(largest, abs=0.1)
        assert float(in_bits(divergence(k, gamma, eigenvalues))) == pytest.approx(paid, abs=0.006)
    start = jnp.full((1, 1), GAMMA_0)
    assert float(in_bits(divergence(jnp.ones((1, 1)), start, eigenvalues))) == pytest.approx(0.44, abs=0.005)


def least_price_and_divergence(eigenvalues, gamma_1, depth):
    gamma = equal_steps(depth, len(eigenvalues), gamma_1)

    def cost(increments):
        k = 1 + jnp.cumsum(factors(increments, depth, len(eigenvalues)) - 1, axis=0)
        return in_bits(price(k, gamma, eigenvalues) + divergence(k, gamma, eigenvalues))

    return float(cost(least(cost, np.ones(depth * len(eigenvalues)))))


@pytest.mark.slow
def test_end_terms(x64):
    """The gain that an encoder can have at the noise end at infinite depth, whose error at depth T is of order 1/T."""
    for row in table("End terms", "eigenvalues of the covariance"):
        eigenvalues, gamma_1 = numbers(row[0]), float(row[1])
        k, gamma = jnp.ones((1, len(eigenvalues))), jnp.full((1, len(eigenvalues)), gamma_1)
        latent = information(k[-1], gamma[-1], eigenvalues) + divergence(k, gamma, eigenvalues)
        assert agrees(row[2], float(in_bits(latent))), row
        assert agrees(row[3], float(in_bits(divergence(k, gamma, eigenvalues)))), row
        coarse, fine = (least_price_and_divergence(eigenvalues, gamma_1, depth) for depth in (100, 200))
        assert agrees(row[4], 2 * fine - coarse), row


def test_the_gap_of_shrinking_encoders(x64):
    spectrum = numbers("0.01 0.1 0.25 1 4")
    for row in table("Gaussian data", "a"):
        shrink = lambda gamma, a=float(row[0]): (1 - a / (1 + np.exp(-gamma)))[:, None, None] * np.eye(1)  # noqa: E731
        for printed, eigenvalue in zip(row[1:], spectrum, strict=True):
            path = LinearPath(shrink, np.diag([eigenvalue]))
            assert agrees(printed, path.gap(GAMMA_0, GAMMA_1) / np.log(2)), row


def test_the_figures_of_the_digits():
    """Bits/dim of the text: the gap's bound by the covariance, and the mean's part of the latent term of VDM."""
    x = (2 * load_digits().images[:1500].reshape(-1, 64) + 1) / 17 - 1
    shrink = lambda gamma: (1 / (1 + np.exp(gamma)))[:, None, None] * np.eye(64)  # noqa: E731
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T)).clip(1e-12)  # some pixels are constant
    gap = LinearPath(shrink, np.diag(eigenvalues)).gap(gamma_min_for(17), GAMMA_1)
    assert gap / 64 / np.log(2) == pytest.approx(0.0253, abs=6e-5)
    for gamma, latent, share in ((5.0, 0.0031, 0.0018), (2.0, 0.0600, 0.0321)):
        nats = losses.latent(jnp.asarray(x), jnp.asarray(gamma)).mean()
        assert float(in_bits(nats / 64)) == pytest.approx(latent, abs=6e-5)
        mean = 0.5 * np.mean(x.mean(axis=0) ** 2) / (1 + np.exp(gamma))
        assert float(in_bits(mean)) == pytest.approx(share, abs=6e-5)

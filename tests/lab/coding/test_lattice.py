"""Distributions on the lattice: their moments, the joint distribution of the path, and the cost of a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from diffenc_jax.diffusion.ancestral import model_step
from diffenc_jax.diffusion.encoders import NonTrainable
from diffenc_jax.diffusion.gaussian import diffuse, velocity_from_image
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.ratios import Table
from diffenc_jax.diffusion.steps import Steps
from diffenc_jax.lab.coding.lattice import Gaussians, Lattice

GAMMA = np.array([-9.0, -3.0, 0.5, 1.0, 4.0])


def random(*shape, seed=0):
    return np.random.RandomState(seed).normal(size=shape)


@pytest.mark.parametrize("std", [1.0, 2.0, 8.0])
def test_rounded_distributions_have_the_moments_of_what_they_replace(std):
    mean = np.linspace(-0.5, 0.5, 11)
    rounded = Gaussians(mean, np.full(11, std)).rounded()
    k = np.arange(-100, 101)[:, None]
    cells = norm.cdf(k + 0.5, *rounded) - norm.cdf(k - 0.5, *rounded)
    np.testing.assert_allclose((cells * k).sum(axis=0), mean, atol=1e-6)
    np.testing.assert_allclose((cells * (k - mean) ** 2).sum(axis=0), std**2, atol=1e-5)


def test_both_orders_have_one_joint_distribution():
    """q(z_i | z_{i+1}, x) q(z_{i+1} | x) = q(z_i | x) q(z_{i+1} | z_i) for an encoder that does not drift."""
    lattice = Lattice(GAMMA, 0.25)
    x, z = random(5, 2, 2, 1), random(2, 5, 2, 2, 1, seed=1)

    def log_density(distribution, i, z):
        return norm.logpdf(z / lattice.unit[i], *distribution)

    for i in range(lattice.depth):
        backward = log_density(lattice.backward(i, z[1], x, x), i, z[0])
        backward += log_density(lattice.direct(i + 1, x), i + 1, z[1])
        forward = log_density(lattice.direct(i, x), i, z[0]) + log_density(lattice.forward(i + 1, z[0]), i + 1, z[1])
        np.testing.assert_allclose(backward, forward, rtol=1e-6)


def test_a_step_costs_what_the_loss_says(x64):
    """KL(q(z_i | z_{i+1}, x) ‖ p(z_i | z_{i+1})) for an encoder that drifts, and any ratio."""
    process = Process(
        NonTrainable(), lambda z, gamma: Prediction(velocity_from_image(z, 0.5 * jnp.tanh(z), gamma)), lambda t: t
    )
    steps = Steps(jnp.asarray(GAMMA), Table(jnp.asarray([0.5, 0.9, 1.3, 0.7])))
    lattice, x, eps = Lattice(GAMMA, 0.25), jnp.asarray(random(3, 2, 2, 1)), jnp.asarray(random(3, 2, 2, 1, seed=1))

    @jax.jit
    def at(i):
        """The loss of a step, and what the distributions of the path and of the model follow from."""
        step = steps.step(i, 3)
        encoding = step.encode(process.encoder, x)
        z_t, v = diffuse(encoding.x_t, step.gamma_t, eps)
        loss = step.loss(process.errors(step, process.estimate(z_t, step.gamma_t), v, encoding)) / steps.depth
        return loss, (z_t, process.encoder.mean(x, step.gamma_s), encoding.x_t), model_step(process, z_t, step)

    for i in range(steps.depth):
        loss, of_path, of_model = jax.tree.map(np.asarray, at(i))
        path, model = lattice.backward(i, *of_path), lattice.model(i, *of_model)
        np.testing.assert_allclose(path.divergence(model).sum(axis=(1, 2, 3)), loss, rtol=1e-9)

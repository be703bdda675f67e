"""The law of encoders, without the losses: informations by determinants, and entropies by quadrature.

The latent is u = z / α = x_t + n, with noise n of variance e^γ that is a Brownian motion in e^γ: from s to t > s it
gains an independent part of variance e^(γ_t) - e^(γ_s).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Nodes and weights of the mean over N(0, 1) by the trapezoidal rule, for functions with poles near the real axis.
EPS = np.linspace(-9.0, 9.0, 301)
EPS_WEIGHTS = np.exp(-0.5 * EPS**2) / np.exp(-0.5 * EPS**2).sum()


def gauss_legendre(start, stop, nodes=200):
    """Nodes and weights of an integral from `start` to `stop`."""
    x, weights = np.polynomial.legendre.leggauss(nodes)
    return 0.5 * (start + stop) + 0.5 * (stop - start) * x, 0.5 * (stop - start) * weights


def log_normal(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + np.log(2 * np.pi * variance))


@dataclass(frozen=True)
class LinearPath:
    """x_t = K(γ) x with x ~ N(0, C).

    Attributes:
      matrix: γ [T] -> K [T, d, d].
      covariance: C [d, d].
    """

    matrix: Callable[[np.ndarray], np.ndarray]
    covariance: np.ndarray

    @property
    def dims(self):
        return len(self.covariance)

    def joint(self, *gammas):
        """Covariance [T, n, d, n, d] of (x, u at each of `gammas`), each [T], in ascending order."""
        ones = np.ones((len(gammas[0]), 1, 1))
        maps = [ones * np.eye(self.dims), *map(self.matrix, gammas)]
        noise = [0.0 * gammas[0], *map(np.exp, gammas)]  # x has none, and the covariance is the earlier variance
        blocks = [
            [
                a @ self.covariance @ b.swapaxes(1, 2) + noise[min(i, j)][:, None, None] * np.eye(self.dims)
                for j, b in enumerate(maps)
            ]
            for i, a in enumerate(maps)
        ]
        return np.array(blocks).transpose(2, 0, 3, 1, 4)

    def information(self, gammas, a, b, given=()):
        """I(a; b | given) [T] of groups of parts: 0 is x, and i is u at the i-th of `gammas`."""
        joint = self.joint(*gammas)

        def log_det(parts):
            size = len(parts) * self.dims
            block = joint[:, list(parts)][:, :, :, list(parts)].reshape(len(joint), size, size)
            return np.linalg.slogdet(block)[1]

        return 0.5 * (log_det(a + given) + log_det(b + given) - log_det(a + b + given) - log_det(given))

    def at(self, gamma):
        """I(x; z) at one γ."""
        return self.information([np.array([gamma])], (0,), (1,))[0]

    def lost(self, gamma_s, gamma_t):
        """I(x; z_t | z_s) [T]."""
        return self.information([gamma_s, gamma_t], (0,), (2,), (1,))

    def estimator(self, gamma):
        """E[x | u] = M u: M [T, d, d]."""
        gain = self.covariance @ self.matrix(gamma).swapaxes(1, 2)
        return np.linalg.solve(self.joint(gamma)[:, 1, :, 1], gain.swapaxes(1, 2)).swapaxes(1, 2)

    def drift(self, gamma):
        """dK/dγ [T, d, d]."""
        step = 1e-4
        return (self.matrix(gamma + step) - self.matrix(gamma - step)) / (2 * step)

    def backward(self, gamma_s, gamma_t):
        """Covariance [T, d, d] of u_s given u_t."""
        joint = self.joint(gamma_s, gamma_t)
        ss, st, tt = joint[:, 1, :, 1], joint[:, 1, :, 2], joint[:, 2, :, 2]
        return ss - st @ np.linalg.solve(tt, st.swapaxes(1, 2))

    def step_variance(self, gamma_s, gamma_t):
        """Variance [T, 1] of u_s in the model at ratio 1, (σ_Q / α_s)²."""
        return (np.exp(gamma_s) * -np.expm1(gamma_s - gamma_t))[:, None]

    def misfit(self, gamma_s, gamma_t, variance=None):
        """KL [T] of q(u_s | u_t) from the Gaussian of the same mean and of `variance` [T, d]; None for the best."""
        exact = self.backward(gamma_s, gamma_t)
        diagonal = np.diagonal(exact, axis1=1, axis2=2)
        variance = diagonal if variance is None else variance
        return 0.5 * (np.sum(diagonal / variance - 1 + np.log(variance), axis=1) - np.linalg.slogdet(exact)[1])

    def gap(self, gamma_0, gamma_1):
        """½ ∫ e^(-γ) tr Cov(dx_t/dγ | z) dγ."""
        gamma, weights = gauss_legendre(gamma_0, gamma_1)
        drift = self.drift(gamma)
        posterior = self.covariance - self.estimator(gamma) @ self.matrix(gamma) @ self.covariance
        rate = np.trace(drift @ posterior @ drift.swapaxes(1, 2), axis1=1, axis2=2)
        return 0.5 * weights @ (np.exp(-gamma) * rate)

    def divergence_from_standard(self, gamma):
        """KL(q(z) ‖ N(0, I)) at one γ."""
        covariance = self.joint(np.array([gamma]))[0, 1, :, 1] / (1 + np.exp(gamma))
        return 0.5 * (np.trace(covariance) - self.dims - np.linalg.slogdet(covariance)[1])


@dataclass(frozen=True)
class DiscretePath:
    """x_t = f(x, γ) for a number x with finitely many values.

    Attributes:
      encode: γ [...] -> x_t [..., V] of every value.
      prior: probabilities [V].
    """

    encode: Callable[[np.ndarray], np.ndarray]
    prior: np.ndarray

    @property
    def entropy(self):
        return -self.prior @ np.log(self.prior)

    def latents(self, gamma):
        """x_t [..., V] and u = x_t + e^(γ/2) ε [..., V, E] at γ [...]."""
        x_t = self.encode(gamma)
        return x_t, x_t[..., None] + np.exp(0.5 * gamma)[..., None, None] * EPS

    def mean(self, values):
        """E over x and ε of `values` [..., V, E]."""
        return np.einsum("...ve,v,e->...", values, self.prior, EPS_WEIGHTS)

    def posterior(self, gamma):
        """ln q(x' | u) [..., V, E, V] at the latents of γ [...]."""
        x_t, u = self.latents(gamma)
        variance = np.exp(gamma)[..., None, None, None]
        logits = np.log(self.prior) + log_normal(u[..., None], x_t[..., None, None, :], variance)
        return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)

    def reconstruction_excess(self, gamma_0, values):
        """E KL(q(x | z_0) ‖ p(x | z_0)), where p is the softmax of -½ (u - values)² e^(-γ_0)."""
        _, u = self.latents(gamma_0)
        logits = -0.5 * (u[..., None] - values) ** 2 * np.exp(-gamma_0)
        model = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        exact = self.posterior(gamma_0)
        return self.mean(np.sum(np.exp(exact) * (exact - model), axis=-1))

    def divergence_from_standard(self, gamma):
        """KL(q(z) ‖ N(0, I))."""
        x_t, u = self.latents(gamma)
        density = np.logaddexp.reduce(
            np.log(self.prior) + log_normal(u[..., None], x_t[..., None, None, :], np.exp(gamma)), axis=-1
        )
        return self.mean(density - log_normal(u, 0.0, 1 + np.exp(gamma)))  # both densities are of u

    def gap(self, gamma_0, gamma_1, step=1e-4, nodes=200):
        """½ ∫ e^(-γ) E Var(dx_t/dγ | z) dγ."""
        gamma, weights = gauss_legendre(gamma_0, gamma_1, nodes)
        drift = (self.encode(gamma + step) - self.encode(gamma - step)) / (2 * step)
        posterior = np.exp(self.posterior(gamma))
        mean = np.einsum("gvew,gw->gve", posterior, drift)
        variance = np.einsum("gvew,gvew->gve", posterior, (drift[:, None, None, :] - mean[..., None]) ** 2)
        return 0.5 * weights @ (np.exp(-gamma) * self.mean(variance))

    def step(self, gamma_s, gamma_t, centre, variance):
        """I(x; z_t | z_s) and E KL(q(u_s | u_t) ‖ N(centre(u_t), variance)) of one step, by entropies of (u_s, u_t)."""
        x_s, x_t = self.encode(gamma_s), self.encode(gamma_t)
        gained = np.exp(gamma_t) - np.exp(gamma_s)
        u_s = x_s[:, None, None] + np.exp(0.5 * gamma_s) * EPS[::2, None]
        u_t = u_s + (x_t - x_s)[:, None, None] + np.sqrt(gained) * EPS[::2]
        prior = np.log(self.prior)
        start = prior + log_normal(u_s[..., None], x_s, np.exp(gamma_s))
        both = start + log_normal((u_t - u_s)[..., None], x_t - x_s, gained)
        end = prior + log_normal(u_t[..., None], x_t, np.exp(gamma_t))
        start, both, end = (np.logaddexp.reduce(terms, axis=-1) for terms in (start, both, end))
        known = log_normal(u_t - u_s, (x_t - x_s)[:, None, None], gained)
        weights = EPS_WEIGHTS[::2] / EPS_WEIGHTS[::2].sum()
        mean = lambda values: np.einsum("vij,v,i,j->", values, self.prior, weights, weights)  # noqa: E731
        return mean(known - (both - start)), mean(both - end - log_normal(u_s, centre(u_t), variance))

"""The bound -log p(x) <= reconstruction + latent + diffusion, nats per example (arXiv 2310.19789; arXiv 2107.00630)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from diffenc_jax.core.streams import gaussian, uniform
from diffenc_jax.diffusion.arrays import AnyShape, Data, Images, PerExample, Scalar
from diffenc_jax.diffusion.encoders import Encoding
from diffenc_jax.diffusion.gaussian import align, diffuse, sum_dims
from diffenc_jax.diffusion.process import Process
from diffenc_jax.diffusion.steps import Errors, Instant, PathPoint, Steps
from diffenc_jax.diffusion.times import antithetic

# Names of the terms that add up to the bound.
TERMS = ("reconstruction", "latent", "diffusion")


class Noise(NamedTuple):
    """Everything random in one evaluation of the bound, except dropout.

    Attributes:
      t: [B] times in [0, 1); at finite depth they choose the steps.
      eps_0: [E, ...] Gaussian noise of the images whose end points are evaluated.
      eps_t: [B, ...] Gaussian noise of z_t.
    """

    t: PerExample
    eps_0: Float[Array, "e *d"]
    eps_t: Images


class EndpointData(NamedTuple):
    """Examples [E, ...] whose end points are evaluated, with their conditions [E, K] for a process with a condition."""

    data: Num[Array, "e *d"]
    condition: Float[Array, "e k"] | None = None


class Terms(NamedTuple):
    """The terms of the bound, nats per example [B].

    The end-point terms, reconstruction and latent, may be evaluated on fewer images [E].

    Attributes:
      head_losses: the losses [B] of additional heads by name, which are not a part of the bound. No gradient goes
        through the targets.
        'slope_error': ‖(dx_t/dγ) / σ_t² - ŝ‖² of a derivative head. Its minimum is ŝ = E[(dx_t/dγ) / σ_t² | z_t].
        'error_score': ½ Σ (ln V + e²/V) of an error head, with e = v_t - v̂ + σ_t (drift + k x̂): -ln N(e; 0, V) up to
          a constant. Its minimum is V = E[e² | z_t].
    """

    reconstruction: Float[Array, "*e"]
    latent: Float[Array, "*e"]
    diffusion: AnyShape
    head_losses: dict[str, AnyShape]

    @property
    def total(self) -> AnyShape:
        """The bound."""
        return self.reconstruction + self.latent + self.diffusion

    def weighted(self, weight: AnyShape) -> "Terms":
        """The terms for times that are not uniform: terms that depend on the time are multiplied by `weight`."""
        weight = align(weight, self.diffusion)
        heads = {name: weight * loss for name, loss in self.head_losses.items()}
        return self._replace(diffusion=weight * self.diffusion, head_losses=heads)


def bound(process: Process, data: Data, key: jax.Array, steps: Steps | None = None) -> Terms:
    """One unbiased estimate of the bound for each example, with times and noise drawn from `key`.

    The times are spread evenly over the batch (`times.antithetic`).

    Args:
      data: [B, ...], as `process.decoder` takes them: pixels, or standardised real numbers.
      steps: the steps at finite depth; None for infinite depth.

    Raises:
      InputError: the data are not of the process's shape, or not as many as its conditions.
    """
    process.check(data)
    key_t, key_0, key_eps = jax.random.split(key, 3)
    t = antithetic(uniform(key_t), len(data))
    noise = Noise(t, gaussian(key_0, data.shape), gaussian(key_eps, data.shape))
    return bound_at(process, data, process.point(t, steps), noise)


def bound_at(
    process: Process, data: Data, point: PathPoint, noise: Noise, endpoints: EndpointData | None = None
) -> Terms:
    """One unbiased estimate of the bound for each example, at given points of the path and with given noise.

    Args:
      data: [B, ...].
      point: an `Instant` for infinite depth, a `Step` for finite depth.
      endpoints: the examples whose end points are evaluated, where their number E divides B; None for all.
    """
    x = process.decoder.values(data)
    with jax.named_scope("encoder"):
        encoding, data_end, noise_end = _encode(process, point, x, endpoints)
    with jax.named_scope("score_network"):
        z_t, v = diffuse(encoding.x_t, point.gamma_t, encoding.encoded.noise(noise.eps_t))
        estimate = process.estimate(z_t, point.gamma_t)
    with jax.named_scope("losses"):
        gamma_0, gamma_1 = process.endpoints
        errors = process.errors(point, estimate, v, encoding)
        heads = {}
        if estimate.slope is not None:
            slope = jax.lax.stop_gradient(point.slope(process.encoder, x, encoding))
            heads["slope_error"] = sum_dims(jnp.square(slope - estimate.slope))
        if estimate.log_error is not None:
            heads["error_score"] = error_score(errors, estimate.log_error)
        diffusion = point.loss(errors)
        if process.decoder.takes_reals and isinstance(point, Instant):
            diffusion -= point.control(noise.eps_t)
        endpoint_data = data if endpoints is None else endpoints.data
        reconstruction = process.decoder.reconstruction(data_end, endpoint_data, gamma_0, noise.eps_0)
        latent_term = latent(noise_end.x_t, gamma_1, noise_end.log_std, process.code_nats)
        return Terms(reconstruction, latent_term, diffusion, heads)


def errors_at(process: Process, point: PathPoint, x: Images, eps: Images) -> Errors:
    """The model's two errors at `point` for images x and noise ε; `point.loss` turns them into the diffusion loss."""
    encoding = point.encode(process.encoder, x)
    return errors_of(process, point, encoding, encoding.encoded.noise(eps))


def errors_of(process: Process, point: PathPoint, encoding: Encoding, noise: Images) -> Errors:
    """The model's two errors at z_t = α_t x_t + σ_t noise."""
    z_t, v = diffuse(encoding.x_t, point.gamma_t, noise)
    return process.errors(point, process.estimate(z_t, point.gamma_t), v, encoding)


def _encode(process, point, x, endpoints):
    """Encoding [B, ...] at `point`, and the encodings [E, ...] at the data and at the noise end of the path.

    If only some examples have end points, one call of the encoder serves all points, and the encoder is compiled once.
    Its batch is B/E rows of x, then both ends of one example, and so on: if devices hold blocks of a batch, the rows
    stay on their devices.
    """
    condition, ends = process.condition, process.endpoints
    if endpoints is None:
        twice = process.with_condition(None if condition is None else jnp.concatenate([condition, condition]))
        both = twice.encoder.encode(jnp.concatenate([x, x]), jnp.repeat(jnp.stack(ends), len(x)))
        halves = (jax.tree.map(lambda rows: jnp.split(rows, 2)[i], both) for i in (0, 1))  # noqa: B023
        return point.encode(process.encoder, x), *halves
    count = len(endpoints.data)

    def join(rows, at_0, at_1):
        rows = rows.reshape(count, -1, *rows.shape[1:])
        joined = jnp.concatenate([rows, at_0[:, None], at_1[:, None]], axis=1)
        return joined.reshape(-1, *joined.shape[2:])

    point = point.joined(join, count, *ends)
    x_ends = process.decoder.values(endpoints.data)
    if condition is not None:
        process = process.with_condition(join(condition, endpoints.condition, endpoints.condition))
    joined = point.encode(process.encoder, join(x, x_ends, x_ends))
    encoded = jax.tree.map(lambda rows: rows.reshape(count, -1, *rows.shape[1:]), joined)
    encoding = jax.tree.map(lambda rows: rows[:, :-2].reshape(x.shape), encoded)
    data_end, noise_end = (jax.tree.map(lambda rows: rows[:, i], encoded.encoded) for i in (-2, -1))  # noqa: B023
    return encoding, data_end, noise_end


def error_score(errors: Errors, log_error: Images) -> PerExample:
    """½ Σ [ln V + e²/V], nats per example [B] without the constant, from ln V [B, ...]; see `Terms.head_losses`."""
    square = jax.lax.stop_gradient(jnp.square(errors.velocity + errors.drift))
    return 0.5 * sum_dims(log_error + square * jnp.exp(-log_error))


def latent(x_1: Images, gamma_1: Scalar, log_std: Images | None = None, code_nats: float = 0.0) -> PerExample:
    """KL(q(z_1 | x) ‖ N(0, I)) = ½ Σ [α_1² x_1² + σ² - ln σ² - 1], nats per example [B], with σ = σ_1 e^ρ.

    The cost of a code is added, spread evenly over the dimensions.

    It is summed as ½ Σ [α_1² x_1² - α_1² + softplus(-γ_1)], since σ_1² - 1 = -α_1² and -ln σ_1² = softplus(-γ_1), and
    ½ Σ [σ_1² (e^(2 ρ) - 1) - 2 ρ]: the first form loses its digits where α_1² is small.
    """
    alpha2 = jax.nn.sigmoid(-gamma_1)
    terms = alpha2 * jnp.square(x_1) - alpha2 + jax.nn.softplus(-gamma_1)
    if log_std is not None:
        terms += jax.nn.sigmoid(gamma_1) * jnp.expm1(2.0 * log_std) - 2.0 * log_std
    if code_nats:
        terms += 2.0 * code_nats / x_1[0].size
    return 0.5 * sum_dims(terms)

"""Optimizer, metrics and streams against what they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config import unpack
from diffenc_jax.diffusion.losses import Terms
from diffenc_jax.errors import InputError
from diffenc_jax.streams import at_step, stream
from diffenc_jax.train.metrics import Meter
from diffenc_jax.train.optimizer import TrainConfig, make_optimizer
from tests import tiny


def test_optimizer_is_adamw_by_hand():
    """Three steps in numpy: warm-up over two steps, decay on kernels and scales, none on biases."""
    config = unpack(TrainConfig, tiny.config(train__weight_decay=0.1).train, "train")
    optimizer = make_optimizer(config)
    params = {"a": {"kernel": np.array([1.0, -2.0]), "bias": np.array([0.5]), "scale": np.array([3.0])}}
    rng = np.random.RandomState(0)
    grads = [{"a": {name: rng.normal(size=value.shape) for name, value in params["a"].items()}} for _ in range(3)]
    ours, state = jax.tree.map(jnp.float32, params), optimizer.init(params)
    for grad in grads:
        updates, state = optimizer.update(jax.tree.map(jnp.float32, grad), state, ours)
        ours = jax.tree.map(jnp.add, ours, updates)
    for name, value in params["a"].items():
        x, m, v = value.copy(), 0.0, 0.0
        for k, grad in enumerate(grads):
            g = grad["a"][name]
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
            step = m / (1 - 0.9 ** (k + 1)) / (np.sqrt(v / (1 - 0.99 ** (k + 1))) + 1e-8)
            rate = 1e-3 * min(k / 2, 1)
            x = x - rate * (step + (0.0 if name == "bias" else 0.1) * x)
        np.testing.assert_allclose(ours["a"][name], x, rtol=1e-5)


@pytest.mark.parametrize(
    ("key", "value"), [("steps", 0), ("learning_rate", 0.0), ("warmup_steps", -1), ("b2", 1.0), ("ema_decay", -0.1)]
)
def test_impossible_numbers_are_refused(key, value):
    config = tiny.config(**{f"train__{key}": value})
    with pytest.raises(InputError, match=f"train.{key}"):
        unpack(TrainConfig, config.train, "train")


def test_meter_averages_what_it_was_given():
    rng = np.random.RandomState(0)
    meter, all_bits, all_times, all_weights, norms = Meter.empty(), [], [], [], []
    for k in range(3):
        nats, t, norm = rng.normal(size=(3, 8)).astype(np.float32), rng.uniform(size=8), rng.uniform()
        terms, weight = Terms(*map(jnp.asarray, nats)), jnp.asarray(rng.uniform(0.5, 2, size=8), jnp.float32)
        step = Meter.of_step(terms, jnp.asarray(t), weight, dims=5, grad_norm=jnp.float32(norm))
        meter = meter.plus(step, restart=jnp.asarray(k == 0))
        all_bits.append(nats / (5 * np.log(2)))
        all_times.append(t)
        all_weights.append(weight)
        norms.append(norm)
    bits, times, weights = np.concatenate(all_bits, 1), np.concatenate(all_times), np.concatenate(all_weights)
    bits[2] *= weights
    scalars = meter.scalars()
    assert scalars["bpd"] == pytest.approx(bits.sum(0).mean(), rel=1e-5)
    assert scalars["diffusion"] == pytest.approx(bits[2].mean(), rel=1e-5)
    assert scalars["grad_norm"] == pytest.approx(np.mean(norms), rel=1e-5)
    for i in range(4):
        quarter = (times >= i / 4) & (times < (i + 1) / 4)
        mean = bits[2][quarter].sum() / weights[quarter].sum()
        assert scalars[f"diffusion_quarter_{i + 1}"] == pytest.approx(mean, rel=1e-5)


def test_meter_restarts():
    step = Meter.of_step(Terms(*[jnp.ones(4)] * 3), jnp.linspace(0, 0.9, 4), jnp.ones(4), 1, jnp.ones(()))
    meter = step.plus(step, restart=jnp.asarray(False)).plus(step, restart=jnp.asarray(True))
    assert meter.scalars() == step.scalars()


def test_streams_differ_by_name_seed_and_step():
    keys = [stream(0, "time"), stream(0, "noise"), stream(1, "time"), at_step(0, "time", 0), at_step(0, "time", 1)]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == len(keys)

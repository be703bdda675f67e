"""AdamW against the same in numpy."""

import jax
import numpy as np

from diffenc_jax.train.step import make_optimizer
from tests import tiny


def test_what_decays():
    """After a step with zero gradients: networks but for their biases, not end points of a schedule nor ratios."""
    optimizer = make_optimizer(tiny.config(train__warmup_steps=0).train, interior=("network",))
    stays = {
        "schedule": {"gamma_0": 1.0, "span": 1.0, "network": {"bias": 1.0}},
        "ratio": {"log": 1.0},
        "score": {"conv": {"bias": 1.0}},
    }
    decays = {"schedule": {"network": {"kernel": 1.0}}, "score": {"conv": {"kernel": 1.0}, "norm": {"scale": 1.0}}}
    for params, same in ((stays, True), (decays, False)):
        ours = jax.tree.map(np.float32, params)
        updates, _ = jax.jit(optimizer.update)(jax.tree.map(np.zeros_like, ours), optimizer.init(ours), ours)
        for update in jax.tree.leaves(updates):
            assert (update == 0.0) if same else (update < 0.0)


def test_optimizer_is_adamw():
    """Three steps: warm-up over two of them, decay on kernels and scales, none on biases."""
    optimizer = make_optimizer(tiny.config(train__weight_decay=0.1).train)
    params = {"a": {"kernel": np.array([1.0, -2.0]), "bias": np.array([0.5]), "scale": np.array([3.0])}}
    rng = np.random.RandomState(0)
    grads = [{"a": {name: rng.normal(size=value.shape) for name, value in params["a"].items()}} for _ in range(3)]
    ours, update = jax.tree.map(np.float32, params), jax.jit(optimizer.update)
    state = optimizer.init(ours)
    for grad in grads:
        updates, state = update(jax.tree.map(np.float32, grad), state, ours)
        ours = jax.tree.map(np.add, ours, updates)
    for name, value in params["a"].items():
        x, m, v = value.copy(), 0.0, 0.0
        for k, grad in enumerate(grads):
            g = grad["a"][name]
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
            step = m / (1 - 0.9 ** (k + 1)) / (np.sqrt(v / (1 - 0.99 ** (k + 1))) + 1e-8)
            rate = 1e-3 * min(k / 2, 1)
            x = x - rate * (step + (0.0 if name == "bias" else 0.1) * x)
        np.testing.assert_allclose(ours["a"][name], x, rtol=1e-5)

"""Optimizers against the same in numpy, and the rates, clipping and averages of a step against closed forms."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from diffenc_jax.core.errors import InputError
from diffenc_jax.data.images import Batch
from diffenc_jax.parallel.sharding import make_mesh
from diffenc_jax.train.muon import are_matrices, orthogonal_factors, orthogonalized
from diffenc_jax.train.optimizers import learning_rate, make_optimizer, with_rates_at
from diffenc_jax.train.program import TrainingProgram, decayed
from tests import tiny

MODEL = tiny.model(tiny.config("vdm", small=True))
SEED = np.uint32(0)


@pytest.mark.parametrize("kind", ["adamw", "optax:lion", "optax:lars"])
def test_weights_of_networks_decay_and_biases_end_points_and_ratios_do_not(kind, monkeypatch):
    """After a step with zero gradients: networks but for their biases, not end points of a schedule nor ratios."""
    monkeypatch.setattr(optax, "lars", partial(optax.lars, weight_decay=0.1))  # without one by default
    config = tiny.config(train__warmup_steps=0, train__optimizer__kind=kind)
    optimizer = make_optimizer(config.train, partial(decayed, interior=("network",)))
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


def test_adamw_takes_the_steps_of_its_paper():
    """Three steps: warm-up over two of them, decay on kernels and scales, none on biases."""
    optimizer = make_optimizer(tiny.config(train__optimizer__weight_decay=0.3).train, decayed)

    def tree(values):
        kernel, bias, scale = np.split(np.float32(values), [2, 3])
        return {"a": {"kernel": kernel, "bias": bias, "scale": scale}}

    x, decay, m, v = np.array([1.0, -2.0, 0.5, 3.0]), np.array([0.3, 0.3, 0.0, 0.3]), 0.0, 0.0
    ours, update, rng = tree(x), jax.jit(optimizer.update), np.random.RandomState(0)
    state = optimizer.init(ours)
    for k in range(1, 4):
        g = rng.normal(size=4)
        updates, state = update(tree(g), state, ours)
        ours = jax.tree.map(np.add, ours, updates)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        step = m / (1 - 0.9**k) / (np.sqrt(v / (1 - 0.99**k)) + 1e-8)
        x = x - 1e-3 * min((k - 1) / 2, 1) * (step + decay * x)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), ours, tree(x))


def test_learning_rates_rise_and_fall_by_their_formulas():
    """The rates of 50 steps, with a warm-up of 10 and without one."""
    falling = {
        "constant": lambda s, _: 1.0,
        "cosine": lambda s, rest: (1 + math.cos(math.pi * s / rest)) / 2,
        "linear": lambda s, rest: 1 - s / rest,
        "rsqrt": lambda s, rest: math.sqrt(max(50 - rest, 1) / (max(50 - rest, 1) + s)),
    }
    steps = np.arange(51)
    for name, formula in falling.items():
        for warmup in (0, 10):
            changes = dict(steps=50, warmup_steps=warmup, learning_rate=0.5, learning_rate_schedule=name)
            config = tiny.config(**{f"train__{key}": value for key, value in changes.items()})
            rates = jax.jit(jax.vmap(learning_rate(config.train)))(steps)
            expected = [0.5 * (n / warmup if n < warmup else formula(n - warmup, 50 - warmup)) for n in steps]
            np.testing.assert_allclose(rates, expected, atol=1e-6)


def test_the_length_of_a_training_is_its_own_where_it_decides_rates():
    """It may be changed for a run only where rates do not depend on it, and the warm-up must end before it."""
    for name, same in {"constant": True, "cosine": False, "linear": False, "rsqrt": True}.items():
        first, longer = (tiny.config(train__steps=n, train__learning_rate_schedule=name) for n in (8, 9))
        assert (first.hash == longer.hash) == same
    short = tiny.config(train__steps=2, train__learning_rate_schedule="linear")
    with pytest.raises(InputError, match=r"train.warmup_steps=2 must be less than train.steps=2"):
        make_optimizer(short.train, decayed)


def test_a_function_of_optax_by_its_name():
    """A gradient step of size 1, whose gradient is scaled down where it is larger than the limit."""
    for limit in (1e9, 0.25):
        changes = dict(optimizer__kind="optax:sgd", learning_rate=1.0, warmup_steps=0, gradient_clip_norm=limit)
        changes |= dict(ema_warmup=True, ema_decay=0.9999)
        config = tiny.config("vdm", small=True, **{f"train__{key}": value for key, value in changes.items()})
        step = TrainingProgram(MODEL, config)
        before = jax.jit(step.init)(SEED)
        after, report = jax.jit(step.train_step)(before, Batch(jnp.asarray(tiny.images(8))), SEED)
        whole, moved = float(report.meter.grad_norm.compute()), jax.tree.map(jnp.subtract, after.params, before.params)
        assert whole > 0.25
        np.testing.assert_allclose(optax.tree.norm(moved), min(whole, limit), rtol=1e-4)
        averages = jax.tree.map(lambda a, b: 0.1 * a + 0.9 * b, before.params, after.params)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), after.ema, averages)


def test_what_is_no_optimizer_is_refused():
    for kind, message in (
        ("adamv", "unknown optimizer 'adamv', perhaps adamw; known: adamw, muon"),
        ("prodigy", "unknown optimizer 'prodigy', perhaps optax.contrib:prodigy"),
        ("optax:cosine_distance", "kind=optax:cosine_distance cannot be used: cosine_distance"),
        ("builtins:repr", "kind=builtins:repr must return an optax.GradientTransformation, not str"),
        *((f"optax:{name}", f"{name} cannot be used: .*; see docs/") for name in ("clip", "scale_by_adam", "lbfgs")),
        ("optax:chain", "kind=optax:chain cannot be used: .*; see docs/extending.md"),
    ):
        with pytest.raises(InputError, match=message):
            TrainingProgram(MODEL, tiny.config("vdm", small=True, train__optimizer__kind=kind), make_mesh())


def spoilt(state_only, rate):
    """Plain descent whose update, or else its state, is NaN at the second step."""

    def update(grads, state, params=None):
        count, moment = state
        nan = jnp.where(count == 1, jnp.nan, 0.0)
        updates = jax.tree.map(lambda grad: -rate(count) * grad + (0.0 if state_only else nan), grads)
        return updates, (count + 1, moment + (nan if state_only else 0.0))

    return optax.GradientTransformation(lambda params: (jnp.zeros((), jnp.int32), jnp.zeros(())), update)


@pytest.mark.parametrize("state_only", [False, True])
def test_an_update_that_is_not_finite_is_skipped(state_only, monkeypatch):
    """Neither the parameters nor the state of the optimizer become NaN, although loss and gradient are finite."""
    monkeypatch.setattr(optax, "spoilt", partial(spoilt, state_only), raising=False)
    config = tiny.config("vdm", small=True, train__optimizer__kind="optax:spoilt", train__on_nonfinite="skip")
    step, batch = TrainingProgram(MODEL, config), Batch(jnp.asarray(tiny.images(8)))
    train_step, finite = jax.jit(step.train_step), []
    state = first = jax.jit(step.init)(SEED)
    for _ in range(3):
        state, report = train_step(state, batch, SEED)
        finite.append(bool(report.finite))
        first = state if len(finite) == 1 else first
    assert finite == [True, False, False]
    jax.tree.map(np.testing.assert_array_equal, state.replace(step=first.step, meter=first.meter), first)


def test_a_falling_rate_counts_skipped_steps(monkeypatch):
    """It is 0 after the last step, also if steps before it were skipped; a step of size 1 by each rate."""
    config = tiny.config(train__steps=4, train__warmup_steps=0, train__learning_rate_schedule="linear").train
    optimizer = make_optimizer(config, decayed)
    params = {"a": {"bias": jnp.zeros(1)}}
    state, sizes = optimizer.init(params), []
    for step in (0, 2, 3, 4):
        updates, state = optimizer.update({"a": {"bias": jnp.ones(1)}}, with_rates_at(state, step), params)
        sizes.append(-float(updates["a"]["bias"][0]) / config.learning_rate)
    np.testing.assert_allclose(sizes, [1, 0.5, 0.25, 0], atol=1e-5)


RNG = np.random.RandomState(0)
MUON = {"kind": "muon", "momentum": 0.9, "b1": 0.9, "b2": 0.99, "epsilon": 1e-8, "weight_decay": 0.3}


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


KERNELS = [
    ("mid_0/conv_0", drawn(3, 3, 4, 8), (1, 36, 8)),
    ("down/blocks/conv_1", drawn(5, 3, 3, 4, 4), (5, 36, 4)),
    ("up/blocks/shortcut", drawn(2, 6, 3), (2, 6, 3)),
    ("blocks/blocks/attention/query", drawn(2, 6, 3, 4), (2, 6, 12)),
    ("blocks/blocks/attention/out", drawn(2, 3, 4, 6), (2, 12, 6)),
]


@pytest.mark.parametrize(("path", "kernel", "shape"), KERNELS)
def test_an_update_has_the_singular_vectors_of_its_matrix_and_singular_values_near_one(path, kernel, shape):
    path, of_equal_size = f"score/{path}/kernel", {"score/mid_1/conv_0/kernel": 2 * drawn(3, 3, 4, 8)}
    change = jax.jit(orthogonalized)(unflatten_dict({path: kernel} | of_equal_size, sep="/"))
    change = np.asarray(flatten_dict(change, sep="/")[path])
    assert change.shape == kernel.shape
    factors = change.reshape(shape) / np.sqrt(max(shape[1:]) / min(shape[1:]))
    for matrix, factor in zip(kernel.reshape(shape), factors, strict=True):
        u, _, v = np.linalg.svd(matrix, full_matrices=False)
        values = u.T @ factor @ v.T
        np.testing.assert_allclose(values, np.diag(np.diag(values)), atol=1e-4)
        assert np.all((np.diag(values) > 0.68) & (np.diag(values) < 1.21))


def test_a_change_does_not_depend_on_the_size_of_the_momentum():
    """Without a momentum there is no change; where float32 loses the squares of its entries, no larger one."""
    matrix, scales = drawn(6, 36), (1, 1e-8, 1e-16, 1e16, 1e-30, 0)
    whole, *scaled, lost, of_zeros = orthogonal_factors(np.stack([np.float32(scale) * matrix for scale in scales]))
    for change in scaled:
        np.testing.assert_allclose(change, whole, atol=1e-5)
    assert np.abs(lost).max() <= np.abs(whole).max()
    np.testing.assert_array_equal(of_zeros, 0.0)


def test_steps_are_those_of_the_paper():
    """Three steps, with a warm-up over two: momentum with Nesterov's correction, and decay. The bias is AdamW's."""
    config = tiny.config(train__optimizer=MUON).train
    optimizers = [make_optimizer(each.train, decayed) for each in (tiny.config(train__optimizer=MUON), tiny.config())]
    params = {"score": {"conv_0": {"kernel": drawn(3, 3, 4, 8), "bias": drawn(8)}}}
    w, momentum, states = params["score"]["conv_0"]["kernel"], 0.0, [each.init(params) for each in optimizers]
    for k in range(3):
        grads = jax.tree.map(lambda leaf: drawn(*leaf.shape), params)
        steps = [each.update(grads, state, params) for each, state in zip(optimizers, states, strict=True)]
        (updates, _), (adamws, _) = steps
        np.testing.assert_allclose(*(each["score"]["conv_0"]["bias"] for each in (updates, adamws)), rtol=1e-6)
        params, states = jax.tree.map(np.add, params, updates), [state for _, state in steps]
        g, rate = grads["score"]["conv_0"]["kernel"], config.learning_rate * min(k / 2, 1)
        momentum = 0.9 * momentum + g
        x = (g + 0.9 * momentum).reshape(36, 8).astype(np.float64)
        x /= np.linalg.norm(x)
        for _ in range(5):
            square = x.T @ x
            x = x @ (3.4445 * np.eye(8) - 4.7750 * square + 2.0315 * square @ square)
        w = w - rate * (np.sqrt(36 / 8) * x.reshape(3, 3, 4, 8) + 0.3 * w)
    np.testing.assert_allclose(params["score"]["conv_0"]["kernel"], w, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("small", [False, True], ids=["unet", "transformer"])
def test_embeddings_first_and_last_layers_are_left_to_adamw(small):
    """And norms, biases and positions; all other kernels are matrices of Muon."""
    left = {
        *(f"time/dense_{i}/{name}" for i in (0, 1) for name in ("kernel", "bias")),
        *(("embed/kernel", "out/kernel", "cond_out/kernel") if small else ("conv_in/kernel", "conv_out/kernel")),
    }
    params = jax.eval_shape(tiny.model(tiny.config("vdm", small)).init, jax.random.key(0))
    for path, is_matrix in flatten_dict(are_matrices(params)["score"], sep="/").items():
        assert is_matrix == (path.endswith("/kernel") and path not in left), path

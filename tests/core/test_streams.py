"""Random streams: a seed gives the same numbers under every setting of JAX, or is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffenc_jax.core.errors import InputError
from diffenc_jax.core.streams import at_step, gaussian, signs, stream, uniform
from diffenc_jax.nets.kernels.dropout import draw_masks

SETTINGS = {
    "x64": lambda: jax.enable_x64(True),
    "rbg": lambda: jax.default_prng_impl("rbg"),
    "unsafe_rbg": lambda: jax.default_prng_impl("unsafe_rbg"),
}


def draws(seed=7):
    """Draws as the package makes them: for a batch, per image, and for dropout."""
    key = at_step(seed, "noise", 3)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(4))
    return {
        "gaussian": gaussian(key, (2, 3, 4)),
        "uniform": uniform(key, (5,)),
        "signs": signs(key, (2, 6)),
        "by image": jax.vmap(lambda key: gaussian(key, (1, 3)))(keys),
        "times by image": jax.vmap(uniform)(keys),
        "parameters": jax.random.normal(jax.random.split(key, 3)[1], (4,), jnp.float32),
        "kept": draw_masks(key, 0.4, [(2, 3, 8)])[0].kept().astype(jnp.float32),
    }


plain_draws = jax.jit(lambda: draws())


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_seed_draws_the_same_whatever_the_settings(settings):
    plain = plain_draws()
    with SETTINGS[settings]():
        others = jax.jit(lambda: draws())()  # a function of its own, since JAX does not trace again for all settings
    for name, values in plain.items():
        assert others[name].dtype == values.dtype == jnp.float32
        np.testing.assert_array_equal(others[name], values, err_msg=name)


def test_draws_have_their_distributions():
    """Kolmogorov-Smirnov tests, and counts within five standard deviations. A wrong word size would fail."""
    size, key = 100_000, stream(0, "distributions")

    @jax.jit
    def drawn():
        masks = [mask.kept() for mask in draw_masks(key, 0.1, [(size,)] * 4)]
        return gaussian(key, (size, 1))[:, 0], uniform(key, (size,)), signs(key, (size,)), masks

    normal, even, sign, masks = jax.tree.map(np.asarray, drawn())
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    assert stats.kstest(even, "uniform").pvalue > 1e-3
    assert abs(np.asarray(sign, np.float64).sum()) < 5 * np.sqrt(size)
    for kept in masks:  # of the halves of two words
        assert abs(np.mean(kept) - 0.9) < 5 * np.sqrt(0.09 / size)


def test_other_draws_from_the_same_keys_are_refused():
    with jax.threefry_partitionable(False), pytest.raises(InputError, match="unset JAX_THREEFRY_PARTITIONABLE"):
        stream(0, "params")


def test_a_large_seed_is_the_same_traced_or_not():
    """Compiled draws take the seed as an array; 2^32 - 1 does not fit into int32."""
    draw = jax.jit(lambda seed: uniform(stream(seed, "eval")))
    for seed in (1, 2**31, 2**32 - 1):
        assert float(draw(np.uint32(seed))) == float(uniform(stream(seed, "eval")))


def test_seeds_names_and_steps_give_different_streams():
    cases = [(seed, name, step) for seed in (0, 1, 2**31) for name in ("params", "noise", "time") for step in (0, 1, 2)]
    values = {case: float(uniform(at_step(*case))) for case in cases}
    assert len(set(values.values())) == len(cases)
    assert float(uniform(stream(0, "noise"))) not in values.values()

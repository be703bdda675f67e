"""A training loop of one's own: DiffEnc on 8x8 digits, with `diffenc_jax.diffusion`, `diffenc_jax.nets` and optax only.

    python examples/minimal.py --steps=1500

There is no configuration, no checkpoint and no log. The loss is the bound in nats per image; the bound is also the test
value.
"""

import argparse
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from diffenc_jax.diffusion import losses
from diffenc_jax.diffusion.decoders import Levels
from diffenc_jax.diffusion.encoders import Trainable
from diffenc_jax.diffusion.process import Prediction, Process
from diffenc_jax.diffusion.schedules import FixedLinear
from diffenc_jax.nets.unet import UNet

DECODER, SHAPE = Levels(17), (8, 8, 1)
NORMS = dict(groups=8, mid_groups=8, out_groups=8)
SCORE = UNet(width=32, layers=2, levels=0, dropout=0.1, fourier_bins=(2.0, 1.0), bin_width=DECODER.bin_width, **NORMS)
ENCODER = UNet(width=16, layers=2, levels=2, dropout=0.1, fourier_bins=(), bin_width=DECODER.bin_width, **NORMS)
SCHEDULE = FixedLinear(DECODER.gamma_min, 5.0)


def init(key):
    """Parameters of both networks."""
    images, time = jnp.zeros((1, *SHAPE)), jnp.zeros(1)
    keys = dict(zip(("score", "encoder"), jax.random.split(key), strict=True))
    return {name: net.init(keys[name], images, time) for name, net in (("score", SCORE), ("encoder", ENCODER))}


def process_of(params, dropout_key=None):
    """The diffusion process with these parameters; its networks see γ on [0, 1]."""
    split = (None, None) if dropout_key is None else jax.random.split(dropout_key)
    keys = {"score": split[0], "encoder": split[1]}

    def apply(name, network, x, gamma):
        time = (gamma - SCHEDULE.gamma_min) / (SCHEDULE.gamma_max - SCHEDULE.gamma_min)
        return network.apply(params[name], x, time, keys[name])

    return Process(
        encoder=Trainable(lambda x, gamma: apply("encoder", ENCODER, x, gamma)),
        predict=lambda z, gamma: Prediction(z + apply("score", SCORE, z, gamma)),
        gamma=lambda t: SCHEDULE.apply({}, t),
        decoder=DECODER,
    )


def bits_per_dim(params, pixels, key, dropout_key=None):
    """The bound [], averaged over images."""
    nats = losses.bound(process_of(params, dropout_key), pixels, key).total
    return nats.mean() / (math.prod(SHAPE) * math.log(2))


def main(steps, batch_size=128, seed=0):
    """Train, and return the bound on the test images in bits/dim."""
    images = load_digits().images.astype(np.uint8)[..., None]
    images = images[np.random.RandomState(0).permutation(len(images))]
    train, test = images[:1500], jnp.asarray(images[1500:])
    optimizer = optax.adamw(2e-3, b2=0.99, weight_decay=0.01)

    @jax.jit
    def step(params, ema, state, pixels, key):
        loss, gradient = jax.value_and_grad(bits_per_dim)(params, pixels, *jax.random.split(key))
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return params, optax.incremental_update(params, ema, 0.01), state, loss

    params = ema = jax.jit(init)(jax.random.key(seed))
    state, rng = optimizer.init(params), np.random.RandomState(seed)
    for number in range(steps):
        pixels = train[rng.choice(len(train), batch_size, replace=False)]
        params, ema, state, loss = step(params, ema, state, pixels, jax.random.fold_in(jax.random.key(seed), number))
        if number % 100 == 0:
            print(f"step {number}: {loss:.3f} bits/dim")
    evaluate = jax.jit(bits_per_dim)
    return float(np.mean([evaluate(ema, test, jax.random.key(number)) for number in range(8)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    print(f"test: {main(parser.parse_args().steps):.3f} bits/dim")

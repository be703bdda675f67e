"""Choices of a code, and of a compressed file. This module loads no JAX, since the help of a command shows them."""

from dataclasses import dataclass

from diffenc_jax.core.keys import Keyed, Limits, key, seed

ANCESTRAL_ORDER, BIT_SWAP = "ancestral", "bit_swap"


@dataclass(frozen=True)
class Coding(Keyed):
    """Choices of a code; keys of the estimator code_length."""

    order: str | None = key(
        None,
        "Order of pops and pushes: 'ancestral' pops all latents first, 'bit_swap' one at a time.",
        none="bit_swap where the encoder allows it",
        choices=(ANCESTRAL_ORDER, BIT_SWAP),
    )
    spacing: float = key(
        0.25,
        "Spacing of the lattices of latents, as a share of the standard deviation of a step.",
        limits=Limits("lie between 0 and 1", lambda value: 0 < value < 1),
    )

    def order_for(self, drifts: bool) -> str:
        """The chosen order or, by default, the one that takes fewer initial bits, for an encoder that drifts or not."""
        return self.order or (ANCESTRAL_ORDER if drifts else BIT_SWAP)


@dataclass(frozen=True)
class Compression(Coding):
    """Choices of a compressed file."""

    batch_size: int = key(
        64,
        "Images per batch, each on a stack of its own, rounded up to a multiple of the number of devices.",
        unit="images",
        limits=Limits("lie in 1 .. 4096", lambda size: 1 <= size <= 4096),
    )
    seed: int = seed("Seed of the latents of a compressed file.")

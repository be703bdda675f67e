"""Types of the arrays that the mathematics takes; tests check them at run time."""

from collections.abc import Callable

from jaxtyping import Array, Float, Int, Num, UInt8

# Images, latents and noise, [B, ...].
Images = Float[Array, "b *d"]
# Pixels of images, uint8 [B, ...].
Pixels = UInt8[Array, "b *d"]
# What a decoder models: pixels, or standardised real numbers, [B, ...].
Data = Num[Array, "b *d"]
# One number per example, [B].
PerExample = Float[Array, " b"]
# Noise levels γ: one per example [B], or one per example and dimension [B, ...].
Gammas = Float[Array, "b ..."]
Scalar = Float[Array, ""]
# The condition of each image of a batch, such as its label, as K numbers.
Condition = Float[Array, "b k"]
# An array of any shape. All arguments of this type have the same shape.
AnyShape = Float[Array, "*b"]
# Number of a step, and the function from it to the noise [B, ...] of the step.
Index = int | Int[Array, ""]
NoiseOf = Callable[[Array], Images]

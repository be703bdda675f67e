"""Parts for diffenc_jax that live outside it."""

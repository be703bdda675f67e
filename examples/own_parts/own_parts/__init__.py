"""Parts for diffenc_jax that live outside it: an encoder, a noise schedule and an estimator."""

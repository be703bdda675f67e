"""Training: state, draws, gradients, the step, the loop and what it writes."""

from diffenc_jax.core.tensorflow import imported_when_used

# CLU imports TensorFlow and its Keras, which takes seconds and half a gigabyte. Only TensorBoard's writer uses them, in
# a thread of its own.
with imported_when_used("tensorflow", "tensorboard.plugins.hparams.api"):
    import clu.metric_writers
    import clu.periodic_actions  # noqa: F401

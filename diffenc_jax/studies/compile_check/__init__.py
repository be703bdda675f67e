"""Memory and work of a training step on a TPU slice, by the real TPU compiler on a machine without a TPU."""

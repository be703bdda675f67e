"""Memory and work of a training step on TPU slices, by the real TPU compiler on a machine without a TPU."""

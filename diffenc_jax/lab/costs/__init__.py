"""Costs of a training step: measured on this machine, or on TPU slices by the real compiler without a TPU."""

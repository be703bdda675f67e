"""Costs of a training step: measured on this machine, or estimated by the compilers of absent TPUs and GPUs."""

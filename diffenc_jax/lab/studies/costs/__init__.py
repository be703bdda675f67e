"""Costs of a training step: parameters and FLOPs from shapes, memory and time on this machine."""

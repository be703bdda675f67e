"""Costs of a training step: parameters and FLOPs from shapes alone, memory and time on this machine."""

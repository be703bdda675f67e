"""Profile of training steps: where the time of a step goes."""

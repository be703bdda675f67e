"""Training: state, draws, gradients, the step, the loop and its curves."""

"""State, optimizer, step, loop, checkpoints."""

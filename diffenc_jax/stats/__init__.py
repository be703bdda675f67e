"""Statistics of what was evaluated: numpy and scipy only."""

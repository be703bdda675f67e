"""Data with exactly known probabilities: the Ising model at its critical temperature, and a Markov mesh."""

"""Images: named data sets, users' files, and training batches as a function of (seed, step)."""

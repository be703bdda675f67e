"""Images in: named data sets, users' files, and batches that are a function of (seed, step)."""

"""A run on disk: files, lock, configuration, metrics, checkpoints and records; opening a trained run.

No other package opens the files of a workdir.
"""

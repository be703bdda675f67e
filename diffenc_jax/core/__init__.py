"""Errors, named random streams, settings of the process, and software versions."""

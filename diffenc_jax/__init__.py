"""DiffEnc (arXiv 2310.19789), VDM (arXiv 2107.00630) and their relatives in JAX."""

__version__ = "0.1.0"

"""Cascades of diffusion models over integer wavelet bands; the bits include everything that a decoder needs."""

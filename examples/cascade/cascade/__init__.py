"""Cascades of diffusion models over integer wavelet bands: every band is paid for, and a decoder has what it needs."""

"""Tests of diffenc_jax, and what they share."""

from pathlib import Path

ROOT = Path(__file__).parents[1]

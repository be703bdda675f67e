"""Bits-back coding: from images to bits on a stack and back."""

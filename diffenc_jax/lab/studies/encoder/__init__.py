"""Effects of a trained encoder on images at each noise level, and the number of bits that its path is worth."""

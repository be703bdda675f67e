"""The diffusion loss by noise level: where along the path the bits are, and which errors they come from."""

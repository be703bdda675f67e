"""How good samples are, without a downloaded network: each figure beside the same one of real images."""

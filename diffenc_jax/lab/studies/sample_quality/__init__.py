"""Quality of samples without a downloaded network: each number beside the same one of real images."""

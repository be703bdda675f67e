"""The mathematics, pure: every function takes its noise and its networks as arguments."""

"""Comparisons of runs: of evaluations image by image, of arms over seeds, and with the published figures."""

"""Comparisons of runs: evaluations image by image, arms over seeds, and measured with published figures."""

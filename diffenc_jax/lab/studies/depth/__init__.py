"""Finite depth: what a finite number of steps costs, and how much of that fitted times and variance ratios recover."""

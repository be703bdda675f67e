"""The published comparisons: their runs, figures and costs, and measured values beside the published ones."""

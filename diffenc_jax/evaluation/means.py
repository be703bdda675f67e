"""Means of many values, such as one per image."""

import numpy as np

# Decorator of functions whose values may be infinite: it silences numpy's warnings.
quietly = np.errstate(over="ignore", invalid="ignore")


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [...] over the first axis of `values` [n, ...], n > 1, and its standard error."""
    return values.mean(axis=0), np.sqrt(variance(values) / len(values))


def variance(values: np.ndarray) -> np.ndarray:
    """Sample variance [...] over the first axis of `values` [n, ...], n > 1; exactly 0 for equal values."""
    return (values - values[:1]).var(axis=0, ddof=1)

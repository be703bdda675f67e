"""Statistics of evaluations, and of runs over seeds; they need only numpy and scipy.

scipy.stats takes a second to import, so modules call it by its full name, which imports it at the first use.
"""

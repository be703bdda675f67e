"""Statistics of evaluations, and of runs over seeds; they need only numpy and scipy.

Importing scipy.stats takes a second. Modules call it by its full name, so the import happens at the first use.
"""

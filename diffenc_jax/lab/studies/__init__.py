"""Studies of trained runs. In each, measure.py gives numbers, table.py rows and text, figure.py a matplotlib Figure."""

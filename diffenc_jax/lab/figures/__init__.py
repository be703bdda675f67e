"""Figures by matplotlib: one style for all studies, and files of them."""

"""Figures by matplotlib, in one style for all studies, and their files."""

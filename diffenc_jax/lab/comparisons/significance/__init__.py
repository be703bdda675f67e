"""Significance over seeds: do arms differ by more than their training seeds, and how many seeds would show it?"""

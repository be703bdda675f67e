"""Comparison of evaluations: do they differ by more than their standard errors?"""

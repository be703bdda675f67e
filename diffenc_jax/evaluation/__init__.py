"""Estimation of likelihoods of images: fitted steps, estimators, and the evaluator of whole splits."""

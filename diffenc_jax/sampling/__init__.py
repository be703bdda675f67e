"""Samples of a trained model: from noise to images, and their files and pictures."""

"""Samples of a trained model: from noise to images, films, reconstructions and files."""

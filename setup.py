"""Packages of the distribution: the configurations of configs/ are installed as `diffenc_jax.configs`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["diffenc_jax*"]), "diffenc_jax.configs"],
    package_dir={"diffenc_jax.configs": "configs"},
)

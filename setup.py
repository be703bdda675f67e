"""Packages of the distribution, and README.md as its description, with addresses in place of paths.

The configurations of configs/ are installed as `diffenc_jax.configs`.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

# Targets that are no addresses: those of links, and those of pictures.
LINK, PICTURE = r"(?<=\]\()(?!\w+:|#)", r'(?<=src=")(?!\w+:)'
readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
readme = re.sub(LINK, "https://github.com/diffenc-jax/diffenc_jax/blob/main/", readme)
readme = re.sub(PICTURE, "https://raw.githubusercontent.com/diffenc-jax/diffenc_jax/main/", readme)

setup(
    long_description=readme,
    long_description_content_type="text/markdown",
    packages=[*find_packages(include=["diffenc_jax*"]), "diffenc_jax.configs"],
    package_dir={"diffenc_jax.configs": "configs"},
)

"""Packages of the distribution, its version with the commit, and README.md as its description, with addresses.

The configurations of configs/ are installed as `diffenc_jax.configs`.
"""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from diffenc_jax.core.versions import package_version  # noqa: E402  needs nothing that is not installed yet

# A source distribution states the version of the clone that it was made from.
stated = HERE / "PKG-INFO"
version = re.search("^Version: (.*)$", stated.read_text("utf-8"), re.M)[1] if stated.exists() else package_version()
# Targets that are no addresses: those of links, and those of pictures.
LINK, PICTURE = r"(?<=\]\()(?!\w+:|#)", r'(?<=src=")(?!\w+:)'
readme = (HERE / "README.md").read_text("utf-8")
readme = re.sub(LINK, "https://github.com/diffenc-jax/diffenc_jax/blob/main/", readme)
readme = re.sub(PICTURE, "https://raw.githubusercontent.com/diffenc-jax/diffenc_jax/main/", readme)

setup(
    version=version,
    long_description=readme,
    long_description_content_type="text/markdown",
    packages=[*find_packages(include=["diffenc_jax*"]), "diffenc_jax.configs"],
    package_dir={"diffenc_jax.configs": "configs"},
)

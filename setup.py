"""Packages of the distribution, its version with the commit, and README.md as its description.

The configurations of configs/ are installed as `diffenc_jax.configs`.
"""

import re
import runpy
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# This module imports nothing that is not installed yet.
package_version = runpy.run_path(str(HERE / "diffenc_jax" / "core" / "versions.py"))["package_version"]

# A source distribution states the version of the clone that it was made from.
stated = HERE / "PKG-INFO"
version = re.search("^Version: (.*)$", stated.read_text("utf-8"), re.M)[1] if stated.exists() else package_version()
# Files of the repository, of which the description of a distribution has neither links nor pictures.
LINK, PICTURE = r"\[([^\]]*)\]\((?!\w+:|#)[^)]*\)", r"<img [^>]*>\n\n.*?\n\n"
readme = (HERE / "README.md").read_text("utf-8")
readme = re.sub(LINK, r"\1", re.sub(PICTURE, "", readme, flags=re.DOTALL))

setup(
    version=version,
    long_description=readme,
    long_description_content_type="text/markdown",
    packages=[*find_packages(include=["diffenc_jax*"]), "diffenc_jax.configs"],
    package_dir={"diffenc_jax.configs": "configs"},
)

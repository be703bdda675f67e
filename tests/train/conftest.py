"""Fixtures of several modules of tests of training."""

import pytest

from tests.stored_runs import write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A file of training images, and of 8 test images."""
    return str(write_images(tmp_path_factory.mktemp("images") / "images.npz", count=8))

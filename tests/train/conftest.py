"""Fixtures of several modules of tests of training."""

import pytest

from tests.train.running import save_images


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A file of training images, and of 8 test images."""
    return save_images(tmp_path_factory.mktemp("images"), num_test=8)

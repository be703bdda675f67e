"""Fixtures of several modules of tests of training."""

import pytest

from tests.stored_runs import write_images
from tests.train.running import train


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A file of training images, and of 8 test images."""
    return str(write_images(tmp_path_factory.mktemp("images") / "images.npz", count=8))


@pytest.fixture(scope="module")
def unbroken(request, images, tmp_path_factory):
    """The folder of a run without a stop, by the module's `config`."""
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    train(request.module.config(images), workdir)
    return workdir

"""A fixture of several modules of tests of training."""

import pytest

from tests.train.running import train


@pytest.fixture(scope="module")
def unbroken(request, images, tmp_path_factory):
    """The folder of a run without a stop, by the module's `config`."""
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    train(request.module.config(images), workdir)
    return workdir

"""One page that several tests read."""

import pytest

from tests.lab.report import made_up


@pytest.fixture(scope="module", autouse=True)
def figures(sketched):
    """Figures are sketched: tests of the figures draw them whole."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three arms of two seeds with all their studies."""
    return made_up.write_root(tmp_path_factory.mktemp("root"), made_up.ARMS)


@pytest.fixture(scope="module")
def file(root, tmp_path_factory):
    """The page of these runs."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    made_up.write_page(path, root, "--reference=vdm")
    return path


@pytest.fixture(scope="module")
def page(file):
    return made_up.read(file)

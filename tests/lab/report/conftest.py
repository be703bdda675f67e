"""One page that several tests read."""

import pytest

from tests.lab.report import pages


@pytest.fixture(scope="module", autouse=True)
def figures(sketched):
    """Figures are sketched: tests of the figures draw them whole."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three arms of two seeds with all their studies."""
    return pages.write_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def file(root, tmp_path_factory):
    """The page of these runs."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    pages.write_page(path, root, "--reference=vdm")
    return path


@pytest.fixture(scope="module")
def page(file):
    return pages.read(file)

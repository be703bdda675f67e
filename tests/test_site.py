"""The site of the documentation: built strictly, whole in itself, and legible at two widths."""

import re
import time

import pytest

from diffenc_jax.config import Config
from diffenc_jax.config.schema import every_key
from tests import ROOT
from tests.browser import requested, resize
from tests.processes import python

pytestmark = pytest.mark.slow
# Elements that pass the window or scroll; on a telephone tables and equations may scroll in their own boxes.
PAGE = """
const width = document.documentElement.clientWidth;
const scrolling = width < 700 ? '.md-typeset__scrollwrap, .arithmatex' : ':not(*)';
document.querySelectorAll('details').forEach(element => element.open = true);
return {
  fits: document.documentElement.scrollWidth <= width,
  cut: [...document.querySelectorAll('article :is(table, img, pre, pre > code, .arithmatex)')].filter(element =>
    (element.getBoundingClientRect().right > width + 1 || element.scrollWidth > element.clientWidth + 1) &&
    !element.closest(scrolling)
  ).map(element => element.outerHTML.slice(0, 80)),
  images: [...document.querySelectorAll('article img')].filter(image => !image.naturalWidth).map(image => image.src),
  raw: document.querySelectorAll('.arithmatex:not(:has(.katex)), .katex-error').length,
};
"""
WHOLE = {"fits": True, "cut": [], "images": [], "raw": 0}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="MkDocs is not installed; pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    python("-m", "mkdocs", "build", "--strict", "--quiet", f"--site-dir={folder}", NO_MKDOCS_2_WARNING="1")
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def test_every_document_is_a_page_and_every_key_is_on_one(site, pages):
    documents = {f"{path.stem}.html" for kind in ("md", "ipynb") for path in (ROOT / "docs").glob(f"*.{kind}")}
    assert documents | {"index.html", "changelog.html"} <= {path.relative_to(site).as_posix() for path in pages}
    keys, api = (site / "configuration.html").read_text(), (site / "api.html").read_text()
    assert {path for path, _ in every_key(Config)} <= set(re.findall(r'id="([^"]+)"', keys))
    assert {"diffenc_jax.api.Run.fit", "diffenc_jax.api.open"} <= set(re.findall(r'id="([^"]+)"', api))


@pytest.mark.parametrize("width", [400, 1280])
def test_pages_from_disk_are_whole_and_ask_no_other_host(browser, pages, width):
    resize(browser, width)
    alike = [path for path in pages if path.parent.name == "results"]  # of which the first and the last are looked at
    for path in [path for path in pages if path not in alike[1:-1]]:
        browser.get(path.as_uri())
        for _ in range(100):  # a script of the page wraps its tables, and may be late on a busy machine
            seen = browser.execute_script(PAGE)
            if seen == WHOLE:
                break
            time.sleep(0.1)
        assert seen == WHOLE, path.name
    assert requested(browser) == []
    assert browser.get_log("browser") == []

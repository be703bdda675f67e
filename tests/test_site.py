"""The site of the documentation: built strictly, whole in itself, and legible at three widths."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from diffenc_jax.config import Config
from diffenc_jax.config.schema import sections_of
from diffenc_jax.config.sections import Options
from diffenc_jax.core.keys import keys_of
from tests.browser import requested, resize

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
# Attributes whose targets a browser loads with the page, without a click.
LOADED = {
    ("a", "ping"),
    ("form", "action"),
    ("object", "data"),
    ("image", "href"),
    ("use", "href"),
    ("video", "poster"),
}
# Elements that pass the window or scroll; on a telephone tables, equations and the map may scroll in their own boxes.
PAGE = """
const width = document.documentElement.clientWidth;
const scrolling = width < 700 ? '.md-typeset__scrollwrap, .arithmatex, .map' : ':not(*)';
document.querySelectorAll('details').forEach(element => element.open = true);
return {
  scroll: document.documentElement.scrollWidth,
  width: width,
  cut: [...document.querySelectorAll('article :is(table, img, pre, pre > code, .map, .arithmatex)')].filter(element =>
    (element.getBoundingClientRect().right > width + 1 || element.scrollWidth > element.clientWidth + 1) &&
    !element.closest(scrolling)
  ).map(element => element.outerHTML.slice(0, 80)),
  images: [...document.querySelectorAll('article img')].filter(image => !image.naturalWidth).map(image => image.src),
  equations: document.querySelectorAll('.arithmatex').length,
  rendered: document.querySelectorAll('.arithmatex > .katex, .arithmatex > .katex-display').length,
  errors: [...document.querySelectorAll('.katex-error')].map(element => element.textContent),
};
"""


class Page(HTMLParser):
    """A page's anchors, links, and the addresses that are loaded with it."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loaded = {""}, [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        loads = {name for name in found if name in ("src", "srcset") or (tag, name) in LOADED}
        if tag == "link" and found.get("rel") not in ("canonical", "next", "prev", "alternate"):
            loads.add("href")
        self.loaded += [found[name] for name in loads if found[name]]
        self.loaded += re.findall(r"url\(([^)]*)\)", found.get("style") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="MkDocs is not installed; pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", f"--site-dir={folder}"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_every_document_is_a_page(site, pages):
    names = {path.relative_to(site).as_posix() for path in pages}
    documents = [path for kind in ("md", "ipynb") for path in (ROOT / "docs").glob(f"*.{kind}")]
    assert {f"{path.stem}.html" for path in documents} <= names
    assert {"index.html", "changelog.html"} <= names


def test_what_is_loaded_lies_in_the_site(site, pages):
    loaded = [(path.parent, address) for path, page in pages.items() for address in page.loaded]
    for path in site.rglob("*.css"):
        text = path.read_text()
        assert "@import" not in text
        loaded += [(path.parent, address.strip("\"' ")) for address in re.findall(r"url\(([^)]*)\)", text)]
    assert loaded
    for folder, address in loaded:
        if not address.startswith(("data:", "#")):
            assert (folder / re.sub("[?#].*", "", address)).is_file(), address


def test_links_and_their_anchors_lead_somewhere(pages):
    for path, page in pages.items():
        for link in page.links:
            if not re.match(r"\w+:", link):
                name, anchor = urldefrag(unquote(link))
                target = (path.parent / name).resolve() if name else path
                assert target.is_file(), f"{path.name}: {link}"
                anchors = pages[target].anchors if target in pages else {""}
                assert anchor.startswith("__") or anchor in anchors, f"{path.name}: {link}"


def test_the_configuration_reference_has_every_key(site, pages):
    def paths(section):
        yield from (f"{section.section}.{name}".removeprefix(".") for name in keys_of(section))
        for nested in sections_of(section).values():
            yield from paths(nested) if not issubclass(nested, Options) else ()

    assert set(paths(Config)) | {"model.score.kind"} <= pages[site / "configuration.html"].anchors


def test_the_map_has_every_package(site):
    drawing = (site / "architecture.html").read_text()
    for path in (ROOT / "diffenc_jax").glob("*/__init__.py"):
        assert f">{path.parent.name}</text>" in drawing


@pytest.mark.parametrize("width", [400, 800, 1280])
def test_pages_from_disk_are_whole_and_ask_no_other_host(browser, site, pages, width):
    resize(browser, width)
    equations = 0
    for path in pages:
        browser.get(path.as_uri())
        seen = browser.execute_script(PAGE)
        assert seen["scroll"] <= seen["width"], path.name
        assert (seen["cut"], seen["images"], seen["errors"]) == ([], [], []), path.name
        assert seen["rendered"] == seen["equations"], path.name
        equations += seen["equations"]
    assert equations > 50
    assert requested(browser) == []
    assert browser.get_log("browser") == []


def test_tables_fit_a_printed_page(browser, site, pages):
    """A4 less its margins; a table that is wider would be cut."""
    right = "return [...document.querySelectorAll('table')].map(table => table.getBoundingClientRect().right)"
    resize(browser, 703)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        for path in pages:
            browser.get(path.as_uri())
            assert max(browser.execute_script(right), default=0) <= 703, path.name
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_search_works_from_disk(browser, site):
    from selenium.webdriver.support.ui import WebDriverWait

    resize(browser, 1280)
    browser.get((site / "index.html").as_uri())
    field = browser.find_element("css selector", ".md-search__input")
    field.click()
    field.send_keys("importance")
    found = "return [...document.querySelectorAll('.md-search-result__link')].map(link => link.href)"
    links = WebDriverWait(browser, 20).until(lambda browser: browser.execute_script(found))
    assert any("method.html" in link or "evaluation.html" in link for link in links)
    assert requested(browser) == []

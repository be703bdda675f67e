"""The page in a real browser: on a telephone, on a screen, and in print."""

import base64
import re

import pytest

from tests.browser import requested, resize

MEASURE = """
const width = document.documentElement.clientWidth;
const curves = [...document.querySelectorAll('h2')].find(title => title.textContent == 'Curves').parentElement;
const figures = [...curves.querySelectorAll('figure')];
return {
  fits: document.documentElement.scrollWidth <= width,
  images: [...document.images].map(image => image.complete && image.naturalWidth > 0),
  outside: [...document.querySelectorAll('body *')].filter(element =>
    !element.closest('.scroll') && element.getBoundingClientRect().right > width + 1
  ).map(element => element.tagName + ' ' + element.textContent.slice(0, 50)),
  columns: new Set(figures.map(figure => figure.getBoundingClientRect().left)).size,
  tables: [...document.querySelectorAll('table')].map(table => table.getBoundingClientRect().right - width),
};
"""


@pytest.mark.parametrize(("width", "columns"), [(400, 1), (1280, 2)])
def test_it_fits_and_is_whole(browser, file, width, columns):
    """Curves stand in two columns on a screen."""
    resize(browser, width)
    browser.get(file.as_uri())
    seen = browser.execute_script(MEASURE)
    assert seen["fits"]
    assert seen["outside"] == []
    assert seen["columns"] == columns
    assert len(seen["images"]) > 10
    assert all(seen["images"])
    assert browser.get_log("browser") == []
    assert requested(browser) == []


def test_three_arms_print_on_few_pages_with_nothing_cut(browser, file):
    browser.get(file.as_uri())
    pdf = base64.b64decode(browser.print_page())
    assert 1 < len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 15
    resize(browser, 718)  # A4 less its margins
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    seen = browser.execute_script(MEASURE)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert seen["outside"] == []
    assert max(seen["tables"]) <= 1

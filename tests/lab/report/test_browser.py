"""The page in a real browser: at three widths, and in print."""

import base64
import re
from itertools import pairwise

import pytest

from tests.browser import resize

MEASURE = """
return {
  scroll: document.documentElement.scrollWidth,
  width: document.documentElement.clientWidth,
  images: [...document.images].map(image => image.complete && image.naturalWidth > 0 && image.alt.length > 0),
  outside: [...document.querySelectorAll('body *')].filter(element =>
    !element.closest('.unseen, .skip, .wide') && (
      element.getBoundingClientRect().right > document.documentElement.clientWidth + 1 ||
      (element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1)
    )
  ).map(element => element.tagName + ' ' + element.textContent.slice(0, 50)),
  pictures: [...document.querySelectorAll('figure:not(.small) img')].map(
    image => image.getBoundingClientRect().width / image.getAttribute('width')
  ),
  headings: [...document.querySelectorAll('h1, h2, h3, h4')].map(heading => Number(heading.tagName[1])),
  ends: [...document.querySelectorAll('section > :is(p, .scroll), section > figure > .wide')].map(
    element => Math.round(element.getBoundingClientRect().right)
  ),
  font: Math.min(...[...document.querySelectorAll('p, td, th, figcaption, code')].map(
    element => parseFloat(getComputedStyle(element).fontSize)
  )),
};
"""


@pytest.mark.parametrize("width", [400, 800, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_is_whole(browser, file, width, scheme):
    resize(browser, width)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(file.as_uri())
    seen = browser.execute_script(MEASURE)
    assert seen["scroll"] <= seen["width"]
    assert seen["outside"] == []
    assert seen["images"]
    assert all(seen["images"])
    assert min(seen["pictures"]) > 0.65  # text of 12 pixels in a figure keeps 8
    assert len(set(seen["ends"])) == 1  # one width for prose, tables and figures
    assert seen["headings"][0] == 1
    assert all(b <= a + 1 for a, b in pairwise(seen["headings"]))
    assert seen["font"] >= 12
    assert browser.get_log("browser") == []


def test_three_arms_print_on_few_pages_with_nothing_cut(browser, file):
    browser.get(file.as_uri())
    pdf = base64.b64decode(browser.print_page())
    assert 1 < len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 13
    resize(browser, 718)  # A4 less its margins
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script(MEASURE)["outside"] == []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

"""The page in a real browser: at three widths, and in print."""

import base64
import re
import shutil
from itertools import pairwise

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MEASURE = """
return {
  scroll: document.documentElement.scrollWidth,
  width: document.documentElement.clientWidth,
  images: [...document.images].map(image => image.complete && image.naturalWidth > 0 && image.alt.length > 0),
  outside: [...document.querySelectorAll('body *')].filter(element =>
    !element.closest('.unseen, .skip') && (
      element.getBoundingClientRect().right > document.documentElement.clientWidth + 1 ||
      (element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1)
    )
  ).map(element => element.tagName + ' ' + element.textContent.slice(0, 50)),
  headings: [...document.querySelectorAll('h1, h2, h3, h4')].map(heading => Number(heading.tagName[1])),
  font: Math.min(...[...document.querySelectorAll('p, td, th, figcaption, code')].map(
    element => parseFloat(getComputedStyle(element).fontSize)
  )),
};
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pytest.importorskip("selenium", reason="selenium is not installed; pip install '.[test]'")
    if not (BROWSER and DRIVER):
        pytest.skip("no Chromium with its driver is installed; apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.mark.parametrize("width", [400, 800, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_is_whole(browser, file, width, scheme):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(file.as_uri())
    seen = browser.execute_script(MEASURE)
    assert seen["scroll"] <= seen["width"]
    assert seen["outside"] == []
    assert seen["images"]
    assert all(seen["images"])
    assert seen["headings"][0] == 1
    assert all(b <= a + 1 for a, b in pairwise(seen["headings"]))
    assert seen["font"] >= 12
    assert browser.get_log("browser") == []


def test_three_arms_print_on_few_pages_with_nothing_cut(browser, file):
    browser.get(file.as_uri())
    pdf = base64.b64decode(browser.print_page())
    assert 1 < len(re.findall(rb"/Type\s*/Page[^s]", pdf)) <= 13
    metrics = {"width": 718, "height": 900, "deviceScaleFactor": 1, "mobile": False}  # A4 less its margins
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script(MEASURE)["outside"] == []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

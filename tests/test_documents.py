"""README, docs, notebook and site: links, commands and names exist, code runs, and the pages are legible."""

import importlib
import re
import runpy
import shlex
import textwrap
import time

import pytest

from diffenc_jax.__main__ import COMMANDS, command_of
from diffenc_jax.commands.options import make_parser
from diffenc_jax.config import Config, load_config
from diffenc_jax.config.schema import every_key
from diffenc_jax.core import parts
from tests import ROOT, tiny
from tests.browser import requested, resize
from tests.headings import anchors
from tests.processes import QUICKLY_COMPILED, python

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path: path.read_text() for path in DOCUMENTS}
TARGET = re.compile(r'(?:\]\(|src=")([^)\s"]+)')
documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def commands(text):
    """(command, its arguments) of each line of `diffenc`, with continued lines joined."""
    for line in re.findall(r"^ {4}diffenc (.*)$", re.sub(r"\\\n\s*", "", text), re.MULTILINE):
        name, *arguments = shlex.split(re.sub(r"[\[\]|]", " ", line), comments=True)
        yield name, arguments


@documents
def test_links_lead_somewhere(path):
    for target in TARGET.findall(TEXTS[path]):
        if not re.match(r"\w+:", target):
            name, _, anchor = target.partition("#")
            file = path.parent / name if name else path
            assert file.exists(), target
            assert not anchor or anchor in anchors(file.read_text()), target


def test_the_list_of_public_names_is_that_of_the_code():
    """`python docs/site/api.py` writes it."""
    assert runpy.run_path(str(ROOT / "docs/site/api.py"))["page"]() == TEXTS[ROOT / "docs/api.md"]


def test_the_description_of_the_distribution_has_no_links_to_files(monkeypatch):
    options = {}
    monkeypatch.setattr("setuptools.setup", options.update)
    runpy.run_path(str(ROOT / "setup.py"))
    text = options["long_description"]
    assert "<img" not in text
    assert set(TARGET.findall(text)) == {t for t in TARGET.findall(TEXTS[ROOT / "README.md"]) if re.match(r"\w+:", t)}


COMMANDS_OF_EXAMPLES = {"classify"}


@documents
def test_commands_and_their_options_exist(path):
    for name, arguments in (one for one in commands(TEXTS[path]) if one[0] not in COMMANDS_OF_EXAMPLES):
        known = {option for action in make_parser(command_of(name), name)._actions for option in action.option_strings}
        options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
        assert not {option for option in options if not option.startswith("--config.")} - known, name
    for name in re.findall(r"`diffenc ([a-z][\w-]*)", TEXTS[path]):
        assert name in COMMANDS
    assert set(re.findall(r"-m diffenc_jax\.([\w.]*\w)", TEXTS[path])) <= {"main"}


KEYS_OF_EXAMPLES = {"model.encoder.power"}  # of the parts in docs/extending.md


@documents
def test_keys_that_a_document_names_exist(path):
    config = load_config("digits").to_dict()
    config["model"]["score"] |= parts.keys("score", "unet") | parts.keys("score", "transformer")
    config["eval"]["options"] = parts.keys("estimator", "code_length")
    sections = "|".join(name for name, value in config.items() if isinstance(value, dict))
    text = re.sub(r"^ {4}(?:\$|error:) .*$", "", TEXTS[path], flags=re.MULTILINE)  # docs/mistakes.md: wrong input
    found = re.findall(rf"(?<=--config\.)[a-z_.\d]+(?==)|(?<=`)(?:{sections})\.[a-z_.\d]+(?=[=`])", text)
    for key in set(found) - KEYS_OF_EXAMPLES:
        value = config
        for part in key.split(".") if key != "key" else []:  # --config.key=value is the general form
            assert part in value, key
            value = value[part]


@documents
def test_functions_that_a_document_names_exist(path):
    for name in re.findall(r"`((?:diffusion|evaluation|lab)\.[\w.]+)`", TEXTS[path]):
        module, *rest = name.split(".")
        value = importlib.import_module(f"diffenc_jax.{module}")
        for part in rest:
            if not hasattr(value, part):
                importlib.import_module(f"{value.__name__}.{part}")
            value = getattr(value, part)


@documents
def test_files_that_a_document_names_exist(path):
    for name in re.findall(r"`((?:tests|benchmarks|configs|launch)/[\w/.]*)`", TEXTS[path]):
        assert (ROOT / name).exists(), name


STEPS_OF_CELLS = '"train.steps": 2000'


@pytest.mark.slow
def test_every_cell_of_the_page_on_densities_runs(tmp_path, monkeypatch):
    """One after another, with short trainings."""
    cells = re.findall(r"^(?:    .*\n|\n(?=    ))+", (ROOT / "docs/densities.md").read_text(), re.MULTILINE)
    code = "\n".join(textwrap.dedent(cell) for cell in cells if "diffenc train" not in cell)
    assert code.count(STEPS_OF_CELLS) == 2
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code.replace(STEPS_OF_CELLS, '"train.steps": 20').replace("(0), 100)", "(0), 5)"), names)
    assert names["log_p"].nats.shape == names["log_p"].standard_error.shape == (600,)
    assert names["scores"].shape == (4, 2)
    assert names["chain"].shape == (5, 2)


FIGURES = {"samples", "encoder", "by-time"}
# What makes it shorter here.
SHORTER = {
    '"digits:': '"small.py:',
    '"train.steps": 400': '"train.steps": 20, "eval.passes": 2, "eval.time_sampling": "uniform"',
    '"gammas": 21, "images": 3': '"gammas": 5, "images": 1',
    "cells=25, draws=2": "cells=5, draws=1",
}


def printed(outputs):
    return "".join(output.get("text", "") for output in outputs)


def numbers(text):
    return [float(number) for number in re.findall(r"\d+\.\d+", text)]


@pytest.mark.slow
def test_the_notebook_runs_and_its_outputs_are_what_its_text_says(tmp_path, monkeypatch):
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"{package} is not installed; pip install '.[test]'")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XLA_FLAGS", QUICKLY_COMPILED)
    text = (ROOT / "docs" / "digits.ipynb").read_text(encoding="utf-8")
    for long, short in SHORTER.items():
        long, short = (source.replace('"', '\\"') for source in (long, short))
        assert long in text
        text = text.replace(long, short)
    (tmp_path / "small.py").write_text(tiny.FILE)
    (tmp_path / "digits.ipynb").write_text(text, encoding="utf-8")
    cells = importlib.import_module("notebooks").executed(tmp_path / "digits.ipynb", tmp_path)["cells"]
    outputs = {cell["id"]: cell["outputs"] for cell in cells if cell["cell_type"] == "code"}
    assert {name for name, found in outputs.items() if any("image/png" in o.get("data", ()) for o in found)} == FIGURES
    reconstruction, latent, diffusion, total = (numbers(line)[0] for line in printed(outputs["terms"]).splitlines())
    assert total == pytest.approx(reconstruction + latent + diffusion, abs=2e-4)
    assert "the same digit: True" in printed(outputs["compress"])
    (table,) = outputs["compare"]
    bits = {line.split()[1]: numbers(line)[0] for line in table["data"]["text/markdown"].splitlines() if "pass" in line}
    assert bits["diffenc"] == total
    assert bits["vdm"] < numbers(printed(outputs["growth"]))[0]


# Elements that pass the window or scroll; on a telephone tables and equations may scroll in their own boxes.
SEEN = """
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


@pytest.mark.slow
def test_every_document_is_a_page_and_every_key_is_on_one(site, pages):
    documents = {f"{path.stem}.html" for kind in ("md", "ipynb") for path in (ROOT / "docs").glob(f"*.{kind}")}
    assert documents | {"index.html", "changelog.html"} <= {path.relative_to(site).as_posix() for path in pages}
    keys, api = (site / "configuration.html").read_text(), (site / "api.html").read_text()
    assert {path for path, _ in every_key(Config)} <= set(re.findall(r'id="([^"]+)"', keys))
    assert {"diffenc_jax.api.Run.fit", "diffenc_jax.api.open"} <= set(re.findall(r'id="([^"]+)"', api))


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1280])
def test_pages_from_disk_are_whole_and_ask_no_other_host(browser, pages, width):
    resize(browser, width)
    alike = [path for path in pages if path.parent.name == "results"]  # of which the first and the last are looked at
    for path in [path for path in pages if path not in alike[1:-1]]:
        browser.get(path.as_uri())
        for _ in range(100):  # a script of the page wraps its tables, and may be late on a busy machine
            seen = browser.execute_script(SEEN)
            if seen == WHOLE:
                break
            time.sleep(0.1)
        assert seen == WHOLE, path.name
    assert requested(browser) == []
    assert browser.get_log("browser") == []

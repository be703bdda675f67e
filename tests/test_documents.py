"""README and docs: links lead somewhere, and commands, options, keys and functions exist."""

import importlib
import re
import runpy
import shlex

import pytest

from diffenc_jax.__main__ import COMMANDS, command_of
from diffenc_jax.commands.options import make_parser
from diffenc_jax.config import load_config
from diffenc_jax.core import parts
from tests import ROOT
from tests.headings import anchors

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
    config["model"]["score"] |= load_config("digits_variants:vdm-transformer").to_dict()["model"]["score"]
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

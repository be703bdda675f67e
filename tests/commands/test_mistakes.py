"""docs/mistakes.md: every command that it shows, run, prints the line that stands below it."""

import re
import shlex
from functools import partial
from glob import glob
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import jax
import numpy as np
import pytest
from PIL import Image

from diffenc_jax.__main__ import main
from diffenc_jax.config import load_config
from diffenc_jax.model import DataSpec
from diffenc_jax.parallel import memory
from diffenc_jax.runs.stored import StoredRun
from tests import ROOT
from tests.bucket import Faults
from tests.lab.comparisons.significance import made_up
from tests.lab.interop.published_file import published_parameters, write
from tests.processes import python

PAGE = (ROOT / "docs" / "mistakes.md").read_text()
IMAGES = np.random.RandomState(0).randint(0, 256, (60, 8, 8, 3)).astype(np.uint8)
SKIPPED = "[...]"  # a part of a line that is left out of the page


class Mistake(NamedTuple):
    """An entry of the page: its heading, the command that is typed, and the line that is printed."""

    heading: str
    command: str
    line: str


def mistakes():
    for section in PAGE.split("\n## ")[1:]:
        (command,) = re.findall(r"^    \$ (.*)$", section, re.MULTILINE)
        (line,) = re.findall(r"^    (error: .*)$", section, re.MULTILINE)
        yield Mistake(section.partition("\n")[0], command, line)


def write_pictures():
    Path("photos").mkdir()
    for i in range(10):
        Image.fromarray(IMAGES[i, : 4 + i % 2]).save(f"photos/{i}.png")


def write_run():
    StoredRun(Path("runs/first")).write(load_config("digits"))


def write_records():
    """Two runs, evaluated on 40 and on 30 images."""
    made_up.write(Path("runs"), "vdm", 0)
    made_up.write(Path("runs"), "diffenc", 0, made_up.values("diffenc", 0)[:, :30])


def write_checkpoint():
    write(Path("checkpoint_800000"), published_parameters(load_config("digits"), DataSpec((8, 8, 1), 17)))


def no_network(request):
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setattr("socket.getaddrinfo", Mock(side_effect=OSError("no network")))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def no_memory(request):
    """The step needs what XLA's compiler says of it, after a minute, on a machine of 23.54 GiB."""
    monkeypatch = request.getfixturevalue("monkeypatch")
    text = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 578.49GiB."
    monkeypatch.setattr(jax.stages.Lowered, "compile", Mock(side_effect=jax.errors.JaxRuntimeError(text)))
    monkeypatch.setattr(memory, "device_memory", lambda: int(23.54 * 2**30))


def no_rights(request):
    request.getfixturevalue("bucket").faults = Faults(share=1.0, kinds=(403,))


# What a command finds, by the entry's heading: files, or conditions of the machine.
FILES = {
    "Pictures of different sizes": write_pictures,
    "Too few images": partial(np.savez, "one.npz", IMAGES[:1]),
    "Images as floating-point numbers": partial(np.savez, "scaled.npz", IMAGES / 255),
    "Images of 8 bits in a configuration for fewer levels": partial(np.savez, "mine.npz", IMAGES),
    "The workdir of another configuration": write_run,
    "Resuming under another seed": write_run,
    "Comparing evaluations on different images": write_records,
    "A published checkpoint of another model": write_checkpoint,
}
CONDITIONS = {
    "No data set, and no network": no_network,
    "Out of memory": no_memory,
    "A bucket without permission": no_rights,
}
# Entries whose command runs in a process of its own, with more in its environment than the page shows.
PROCESSES = {
    "No accelerator": {},
    "A batch that does not divide over the devices": {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"},
}


def arguments_of(command):
    """Words after `diffenc`, with file names in place of patterns, as a shell gives them."""
    program, *words = shlex.split(command)
    assert program == "diffenc"
    return [name for word in words for name in (sorted(glob(word)) or [word])]


def test_the_page_has_twenty_entries_and_each_preparation_is_of_one():
    headings = [mistake.heading for mistake in mistakes()]
    assert len(headings) == len(set(headings)) == 20
    assert {*FILES, *CONDITIONS, *PROCESSES} <= set(headings)


SLOW = ("Out of memory",)  # a network is initialised
HERE = [
    pytest.param(mistake, marks=[pytest.mark.slow] * (mistake.heading in SLOW), id=mistake.heading)
    for mistake in mistakes()
    if mistake.heading not in PROCESSES
]


@pytest.mark.parametrize("mistake", HERE)
def test_a_mistake_and_its_message(mistake, tmp_path, monkeypatch, request, capsys):
    monkeypatch.chdir(tmp_path)
    FILES.get(mistake.heading, lambda: None)()
    CONDITIONS.get(mistake.heading, lambda _: None)(request)
    assert main(arguments_of(mistake.command)) in (1, 2)
    check(mistake, capsys.readouterr().err)


@pytest.mark.slow
@pytest.mark.parametrize("heading", PROCESSES)
def test_a_mistake_that_the_environment_makes(heading, tmp_path):
    (mistake,) = (mistake for mistake in mistakes() if mistake.heading == heading)
    assigned, _, rest = mistake.command.rpartition("diffenc ")
    given = dict(word.split("=", 1) for word in shlex.split(assigned))
    words = arguments_of(f"diffenc {rest}")
    done = python("-m", "diffenc_jax", *words, cwd=tmp_path, code=2, **(given | PROCESSES[heading]))
    check(mistake, done.stderr)


def check(mistake, said):
    """Assert that the command has said this line and nothing else."""
    (line,) = said.splitlines()
    assert re.fullmatch(".*".join(map(re.escape, mistake.line.split(SKIPPED))), line), line

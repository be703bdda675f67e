"""Made-up workdirs with everything that a page shows, and the page as a parser sees it."""

import json
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from diffenc_jax.__main__ import main
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies.by_time import ByTime
from diffenc_jax.lab.studies.depth import Arguments, Depths
from diffenc_jax.lab.studies.study import Measured
from diffenc_jax.runs.stored import StoredRun
from tests.lab.comparisons.significance import made_up

ARMS = ("vdm", "diffenc", "nontrainable")


def write_root(root):
    """Write finished runs of two seeds, all studies of the first seed of each arm, and the cost of a step of vdm."""
    made_up.write_all(root, ARMS, (0, 1))
    for arm in ARMS:
        write_studies(root / f"{arm}-seed0")
    (root / "costs").mkdir()
    (root / "costs" / "vdm.json").write_text(json.dumps(made_up.COST))
    return root


def write_studies(place):
    """Write what loss-by-time, depth-study and sample leave."""
    config = StoredRun(place).config
    data = {"name": "digits", "split": "test"}
    for name, result in {"loss-by-time": by_time(), "depth-study": depths()}.items():
        study = studies.load(name)
        for step in (500, 1500):
            measured = Measured(name, config.arm, step, config.seed, config.arm, data, {}, {}, {}, result)
            path = study.path(place, measured).with_suffix(".json")
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(study.content(measured)[0]))
    for name in ("1500-depth250-seed0.png", "500-depth250-seed0.png", "1500-depth250-seed0-0.9.png"):
        picture(place / "samples" / name)


def by_time():
    """A result that is alike for every run, over cells of equal width."""
    quantities = ("diffusion", "velocity", "residual")
    values = {**dict.fromkeys(quantities, 0.1), **{f"{name}_se": 0.01 for name in quantities}}
    rows = [{"t": t, "gamma": 18.3 * t - 13.3, "gamma_width": 18.3 / 8, **values} for t in (np.arange(8) + 0.5) / 8]
    return ByTime(rows, 1.83, 0.01)


def depths():
    """An excess that is inversely proportional to the depth."""
    cases = [(depth, choice, 1 / depth) for depth in (10, 50) for choice in Arguments().choices]
    known = {"excess_se": 0.01, "kept": 0.5}
    return Depths(1.85, [{"depth": d, "choice": c, "bpd": 1.85 + x, "excess": x, **known} for d, c, x in cases])


def picture(path):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)


def write_page(out, *arguments):
    """Write a page by the command; returns it parsed."""
    assert main(["report", *map(str, arguments), f"--out={out}"]) == 0
    return read(out)


class Page:
    """The parts of a page, which is well-formed as XML too.

    Attributes:
      tags: (name, attributes) of every element, in order.
      headings: (level, text).
      tables: by caption, the rows of cells, heads first; without a caption, by the heading above.
      code: every line of shell commands.
      text: all of it.
    """

    def __init__(self, html):
        root = ElementTree.fromstring(html)
        root.find("head").remove(root.find("head/style"))
        self.tags = [(element.tag, element.attrib) for element in root.iter()]
        self.code = [line for element in root.iter("code") for line in text_of(element).splitlines()]
        self.text, self.headings, self.tables = text_of(root), [], {}
        for element in root.iter():
            if element.tag in ("h1", "h2", "h3", "h4"):
                self.headings.append((int(element.tag[1]), text_of(element)))
            elif element.tag == "table":
                caption = element.findtext("caption") or self.headings[-1][1]
                self.tables[caption] = [[text_of(cell) for cell in row] for row in element.iter("tr")]

    def all(self, name):
        """The attributes of every element of that name."""
        return [attributes for tag, attributes in self.tags if tag == name]


def text_of(element):
    return "".join(element.itertext())


def read(path):
    return Page(path.read_text())

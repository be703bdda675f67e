"""Made-up workdirs with everything that a page shows, and the page as a parser sees it."""

import json
import math
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from diffenc_jax.__main__ import main
from diffenc_jax.lab import studies
from diffenc_jax.lab.studies.by_time.study import ByTime
from diffenc_jax.lab.studies.depth.study import Arguments, Depths
from diffenc_jax.lab.studies.study import Measured
from diffenc_jax.runs.workdir import stored_config
from tests.lab.studies.significance import made_up

ARMS = ("vdm", "diffenc", "nontrainable")
CELLS = 8


def write_root(root, arms, seeds=(0, 1)):
    """Write finished runs, all studies of the first seed of each arm, and the cost of a step of vdm."""
    made_up.write_all(root, arms, seeds)
    for arm in arms:
        for seed in seeds:
            write_metrics(root / f"{arm}-seed{seed}", seed)
        write_studies(root / f"{arm}-seed{seeds[0]}")
    (root / "costs").mkdir()
    (root / "costs" / "vdm.json").write_text(json.dumps(made_up.COST))
    return root


def write_metrics(place, seed):
    """Write everything that training logs, and evaluations during training."""
    rows = []
    for step in range(50, 1501, 50):
        bits = 1.9 + 0.01 * seed + 100 / step
        terms = {"reconstruction": 0.01, "latent": 0.001, "diffusion": bits - 0.011}
        quarters = {f"diffusion_quarter_{i}": (5 - i) * bits for i in (1, 2, 3, 4)}
        rows.append({"step": step, "bpd": bits, **terms, **quarters, "grad_norm": 9 / step, "images_per_second": 321.0})
    rows += [{"step": step, "test_total": 1.8 + 50 / step} for step in range(500, 1501, 500)]
    (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_studies(place):
    """Write what loss-by-time, depth-study and sample leave."""
    config = stored_config(place)
    data = {"name": "digits", "split": "test"}
    for name, result in {"loss-by-time": by_time(), "depth-study": depths()}.items():
        study = studies.load(name)
        for step in (500, 1500):
            measured = Measured(name, config.arm, step, config.seed, config.arm, data, {}, {}, {}, result)
            path = study.path(place, measured).with_suffix(".json")
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(study.content(measured)[0]))
    picture(place / "samples" / "1500-depth250-seed0.png")
    picture(place / "samples" / "500-depth250-seed0.png")


def by_time():
    """The same for every run: a bump over t."""
    rows = by_time_rows()
    return ByTime(rows, sum(row["diffusion"] * row["gamma_width"] for row in rows), 0.01)


def by_time_rows():
    """A row per cell, the same for every run: a bump over t."""
    rows = []
    for t in (np.arange(CELLS) + 0.5) / CELLS:
        values = {"diffusion": 0.1 + math.exp(-40 * (t - 0.4) ** 2), "velocity": t, "residual": 0.0}
        errors = {f"{name}_se": 0.01 for name in values}
        rows.append({"t": t, "gamma": -13.3 + 18.3 * t, "gamma_width": 18.3 / CELLS, **values, **errors})
    return rows


def depths():
    """An excess of 0.5 to 4 divided by the depth."""
    rows = []
    for depth in (10, 50):
        for choice, cost in zip(Arguments().choices, (4.0, 3.0, 2.0, 1.0, 0.7, 0.5), strict=True):
            excess = cost / depth
            row = {"depth": depth, "choice": choice, "bpd": 1.85 + excess, "excess": excess, "excess_se": excess / 20}
            rows.append(row | {"kept": cost / 4})
    return Depths(1.85, rows)


def picture(path):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)


def write_page(out, *arguments):
    """Write a page by the command; returns it parsed."""
    assert main(["report", *map(str, arguments), f"--out={out}"]) == 0
    return read(out)


class Page(HTMLParser):
    """The parts of a page.

    Attributes:
      tags: (name, attributes) of every element, in order.
      headings: (level, text).
      tables: by caption, the rows of cells, heads first.
      marked: the text of every <mark>.
      code: the text of every line of shell commands.
      text: all of it.
    """

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.headings, self.tables, self.marked, self.code, self.text = [], [], {}, [], [], ""
        self._open, self._rows, self._caption = [], [], ""
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "wbr"):
            self._open.append(tag)
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        elif tag in ("h1", "h2", "h3", "h4", "h5"):
            self.headings.append((int(tag[1]), ""))
        elif tag == "span" and "code" in self._open:
            self.code.append("")
        elif tag == "mark":
            self.marked.append("")
        elif tag == "caption":
            self._caption = ""

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text += data
        if "caption" in self._open:
            self._caption += data
        if {"td", "th"} & set(self._open):
            self._rows[-1][-1] += data
        if self.headings and self._open and self._open[-1] == f"h{self.headings[-1][0]}":
            level, text = self.headings[-1]
            self.headings[-1] = level, text + data
        if "code" in self._open and "span" in self._open:
            self.code[-1] += data
        if "mark" in self._open:
            self.marked[-1] += data

    def all(self, name):
        """The attributes of every element of that name."""
        return [attributes for tag, attributes in self.tags if tag == name]


def read(path):
    return Page(path.read_text())

"""The page: its numbers are those of the records and of the other commands, and it is well-formed."""

import base64
import io
import json
import re
from itertools import pairwise

import numpy as np
from PIL import Image

from diffenc_jax.__main__ import main
from diffenc_jax.config import load_config
from diffenc_jax.lab.comparisons.compare import compare, comparison_table
from diffenc_jax.lab.comparisons.significance.summary import write_summary
from diffenc_jax.lab.figures.style import arm_style
from diffenc_jax.runs.records import read_evaluation, read_record
from diffenc_jax.runs.stored import StoredRun
from tests.lab.comparisons.significance import made_up as runs
from tests.lab.report import pages
from tests.refusals import refused
from tests.stored_runs import change

ARMS = pages.ARMS


def cells(page, caption):
    """A table's rows by their first cell, each by its heads."""
    heads, *rows = page.tables[caption]
    return {row[0]: dict(zip(heads[1:], row[1:], strict=True)) for row in rows}


def test_every_run_has_its_records_figures_and_origin(root, page):
    table, origin = cells(page, "Bits/dim ± noise ± images"), cells(page, "Runs")
    assert len(table) == 6
    assert "; bound, infinite depth, 4 passes, noise of each run's seed; step 1,500." in page.text
    for arm in ARMS:
        for seed in (0, 1):
            known = read_record(runs.record_file(root / f"{arm}-seed{seed}"))
            row, made = table[f"{arm}, seed {seed}"], origin[f"{arm}, seed {seed}"]
            assert row["total"] == f"{known['bpd']['total']:.4f} ± 0.0100 ± 0.0200"
            assert row["latent"] == f"{known['bpd']['latent']:.4f} ± 0.0100 ± 0.0200"
            assert made["configuration's hash"] == known["config_hash"]
            assert (made["evaluation's seed"], made["step"]) == (str(seed), "1,500 of 1,500")
    assert cells(page, "Images evaluated on")["test"]["sha256"] == known["dataset"]["sha256"]
    assert cells(page, "Made with")["numpy"] == {"version": "2"}


def test_what_significance_says_is_said_in_the_same_figures(root, page):
    """Every table of significance.md, cell by cell, and the sentences that read it."""
    write_summary(root, "vdm", 0.01)
    markdown = (root / "significance.md").read_text()
    compared = 0
    for title, section in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", markdown, re.S | re.M):
        lines = [line for line in section.splitlines() if line.startswith("|")]
        if lines and title != "Bits/dim during training":  # which the page draws
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]
            assert page.tables["Costs" if title == "Costs of the arms" else title] == rows
            compared += 1
        if not title.startswith("Costs"):  # the page has the differing keys among its configurations
            assert all(item in page.text for item in re.findall(r"^- (.*)$", section, re.M))
    assert compared >= 4
    colours = [tag["style"].removeprefix("border-left-color: ") for tag in page.all("div") if "style" in tag]
    assert colours == [arm_style(arm)["color"] for arm in sorted(ARMS)]
    for arm, row in cells(page, "Values").items():
        assert f"{arm}, 2 seeds\n{row['mean']} bits/dim" in page.text


def test_loose_runs_are_compared_like_by_the_commands(page, tmp_path):
    """Over seeds as in a root; single runs by diffenc compare, to the arm that is the reference of the page."""
    places = [runs.write(tmp_path / "loose", arm, seed) for arm in sorted(ARMS) for seed in (0, 1)]
    loose = pages.write_page(tmp_path / "page.html", *places, "--reference=vdm")
    for title in ("Values", "Differences to vdm", "Tests and power"):
        assert loose.tables[title] == page.tables[title]
    assert "Differences to the reference, bits/dim" not in page.tables
    places = [tmp_path / "loose" / f"{arm}-seed0" for arm in ARMS]
    page = pages.write_page(tmp_path / "page.html", *places, "--reference=vdm")
    expected = comparison_table(compare([read_evaluation(runs.record_file(place)) for place in places]))
    table = page.tables["Differences to the reference, bits/dim"]
    assert table == [list(expected.heads), *([str(cell) for cell in row] for row in expected.rows)]
    assert next(row[0] for row in table if "reference" in row) == "vdm"
    assert "There are no statistics over seeds: " in page.text


def test_arms_are_compared_by_one_way_of_evaluating_and_common_seeds(tmp_path):
    """One arm is evaluated once more with other passes, and lacks a seed: its values stand apart, and that is said."""
    runs.write_all(tmp_path / "root", ("vdm", "diffenc"), seeds=(0, 1, 2))
    (tmp_path / "root" / "diffenc-seed2" / "config.json").unlink()
    runs.write(tmp_path / "root", "diffenc", 0, runs.values("diffenc", 0, passes=8) - 1)
    page = pages.write_page(tmp_path / "page.html", tmp_path / "root", "--reference=vdm")
    for arm in ("vdm", "diffenc"):
        mean = np.mean([runs.values(arm, seed).mean() for seed in (0, 1)])
        assert f"{arm}, 2 seeds\n{mean:.4f} ± " in page.text
    assert "Means are over the seeds that all arms have: 0, 1." in page.text
    assert "split, estimator" not in page.tables["Bits/dim ± noise ± images"][0]
    assert "bound, infinite depth, 4 passes, noise of each run's seed; step 1,500." in page.text
    (other,) = page.tables["Other records, bits/dim ± noise ± images"][1:]
    assert other[0] == "diffenc, seed 0"
    assert other[-1].endswith("8 passes")


def test_runs_that_are_not_one_experiment_are_shown_without_comparison(tmp_path):
    """Runs of one arm and seed, and of different seeds."""
    one = runs.write(None, "vdm", 0, place=tmp_path / "one")
    other = {"place": tmp_path / "other", "overrides": ("train.batch_size=32",)}
    other = runs.write(None, "vdm", 0, runs.values("vdm", 0) + 3, **other)
    page = pages.write_page(tmp_path / "page.html", one, other)
    assert "hold the same arm and seed" in page.text
    assert f"above those of the uniform distribution over the values of a pixel: {other}/eval" in page.text
    shown = cells(page, "Differences between the runs")["train.batch_size"]
    assert (shown[str(one)], shown[str(other)]) == ("64", "32")
    page = pages.write_page(tmp_path / "page.html", one, runs.write(tmp_path, "diffenc", 1))
    assert "Differences to the reference, bits/dim" not in page.tables
    for arm, seed in (("vdm", 0), ("diffenc", 1)):
        total = runs.values(arm, seed).mean()
        assert f"{arm}, seed {seed}\n{total:.4f} ± 0.0100 (noise) ± 0.0200 (images) bits/dim" in page.text


def test_real_numbers_are_examples_with_nats_and_an_encoder_of_another_kind(tmp_path):
    """Their likelihood may be the best before the last step."""
    changes = ("data.pixel_levels=None", "model.decoder.kind=gaussian", "log.samples=0", "model.encoder.kind=affine")
    for arm in ("vdm", "diffenc"):
        place = runs.write(tmp_path, arm, 0, overrides=changes)
        data = json.loads(runs.record_file(place).read_text())["dataset"]
        change(runs.record_file(place), dataset=data | {"values": "real"})
        rows = ({"step": step, "test_total": bpd} for step, bpd in ((500, -1.0), (1000, -1.5), (1500, -0.5)))
        (place / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = pages.write_page(tmp_path / "page.html", tmp_path)
    assert not re.search(r"\bimages?\b", page.text.replace("fit.images", ""))
    nats = runs.values("vdm", 0).mean() * runs.NATS
    assert f"bound, infinite depth; {nats:.4f} nats per example" in page.text
    shown = cells(page, "Bits/dim ± noise ± examples")["vdm, seed 0"]["nats per example"]
    assert shown == f"{nats:.4f} ± {0.01 * runs.NATS:.4f} ± {0.02 * runs.NATS:.4f}"
    (caption,) = (caption for caption in page.tables if caption.startswith("Bits/dim on test during training"))
    assert page.tables[caption][2] == ["vdm", "-1.5000", "1,000", "-0.5000", "1,500"]
    assert "with its trainable encoder in place of affine." in page.text


def test_studies_have_their_newest_results_their_tables_and_their_sentences(page):
    table = cells(page, "digits (test), step 1500: the diffusion loss, bits/dim")
    assert [row["area"] for row in table.values()] == [f"{pages.by_time().area:.4f}"] * 3
    expected = pages.depths()
    for table in expected.tables():
        shown = page.tables[f"diffenc, seed 0 on digits (test), step 1500: {table.caption}"]
        assert shown == [list(table.heads), *([str(cell) for cell in row] for row in table.rows)]
    assert f"vdm, seed 0 on digits (test), step 1500: {expected.sentence()}." in page.text
    drawn = [image["alt"] for image in page.all("img") if image["alt"].startswith("Samples of")]
    assert len(drawn) == 2 * len(ARMS)
    assert all("step 1500, depth250, seed0" in alt for alt in drawn)


def test_the_configuration_is_set_beside_the_published_one(page):
    """After the differences between the runs."""
    (caption,) = (caption for caption in page.tables if caption.endswith("differ from the published recipe"))
    assert [*page.tables].index("Differences between the runs") < [*page.tables].index(caption)
    assert "with the same kind of encoder." in page.text
    table = cells(page, caption)
    assert table["train.steps"] == {**dict.fromkeys(ARMS, "1500"), "published": "8000000"}
    assert table["model.encoder.width"] == {"vdm": "–", "diffenc": "16", "nontrainable": "–", "published": "64 or –"}
    assert not {"train.optimizer.b2", "model.encoder.kind"} & set(table)
    assert cells(page, "All keys")["train.optimizer.b2"] == {**dict.fromkeys(ARMS, "0.99"), "published": "0.99"}
    shown = cells(page, "Differences between the runs")["model.encoder.kind"]
    assert [shown[arm] for arm in ARMS] == ["identity", "trainable", "nontrainable"]


def test_it_is_well_formed_and_needs_nothing_else(page):
    assert page.all("html") == [{"lang": "en"}]
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(text.strip() for _, text in page.headings)
    anchors = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(anchors)) == len(anchors)
    assert [link["href"].removeprefix("#") for link in page.all("a")] == anchors
    assert not {"script", "iframe"} & {tag for tag, _ in page.tags}
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    for _, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith(("#", "data:,"))
    for image in page.all("img"):
        assert len(image["alt"]) > 20
        Image.open(io.BytesIO(base64.b64decode(image["src"].partition("base64,")[2]))).load()


def test_a_page_replaces_a_page_and_no_other_file(tmp_path, capsys):
    """Made twice of the same run, it is the same page."""
    place, file, written = runs.write(tmp_path, "vdm", 0), tmp_path / "page.html", []
    pages.write_studies(place)
    for _ in range(2):
        assert main(["report", str(place), f"--out={file}"]) == 0
        assert capsys.readouterr().out == f"1 run in {file} ({file.stat().st_size / 1e6:.1f} MB)\n"
        written.append(file.read_text())
    assert written[0] == written[1]
    file.write_text("<!doctype html>\n<title>mine</title>\n")
    assert "; name another file\n" in refused(main, ["report", place, f"--out={file}"], capsys)
    assert "mine" in file.read_text()


def test_what_is_not_there_yet_has_its_command(tmp_path):
    place = tmp_path / "a run"
    StoredRun(place).write(load_config("digits", ("train.steps=7",)))
    page = pages.write_page(tmp_path / "page.html", place)
    measured = ("loss-by-time", "depth-study", "rate-distortion", "encoder-study", "draws-study", "anomalies")
    names = ("eval", *measured, "sample-quality", "sample")
    assert page.code == [f"diffenc {name} '{place}'" for name in names]
    titles = [text for _, text in page.headings]
    assert titles[1:] == ["Configuration", "Provenance", "Not made yet"]
    assert "No run is evaluated yet." in page.text
    assert not page.all("img")

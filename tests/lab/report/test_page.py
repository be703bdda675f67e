"""The page: its numbers are those of the records and of the other commands, and it is well-formed."""

import base64
import io
import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.__main__ import main
from diffenc_jax.commands import train
from diffenc_jax.commands.arguments import load_arguments_config, make_parser, parse
from diffenc_jax.config import load_config
from diffenc_jax.data.baselines import histogram_bpd, uniform_bpd
from diffenc_jax.data.dataset import load_dataset
from diffenc_jax.lab.figures.style import arm_style
from diffenc_jax.lab.report.collect import collect
from diffenc_jax.lab.report.results import find_over_seeds
from diffenc_jax.lab.studies.compare.measure import compare
from diffenc_jax.lab.studies.compare.table import comparison_table
from diffenc_jax.lab.studies.significance.summary import write_summary
from diffenc_jax.lab.studies.trivial import trivial_models
from diffenc_jax.runs.records import read_evaluation
from diffenc_jax.runs.workdir import Origin, stored_config, write_config
from tests.lab.report import made_up
from tests.lab.studies.significance import made_up as runs

ROOT = Path(__file__).parents[3]
ARMS = made_up.ARMS


def cells(page, caption):
    """A table's rows by their first cell, each by its heads."""
    heads, *rows = page.tables[caption]
    return {row[0]: dict(zip(heads[1:], row[1:], strict=True)) for row in rows}


def record(root, arm, seed):
    return json.loads(runs.record_file(root / f"{arm}-seed{seed}").read_text())


def test_every_run_has_its_records_figures(root, page):
    table = cells(page, "Bits/dim ± noise ± images")
    assert len(table) == 6
    for arm in ARMS:
        for seed in (0, 1):
            bpd = record(root, arm, seed)["bpd"]
            row = table[f"{arm}, seed {seed}"]
            assert row["total"] == f"{bpd['total']:.4f} ± 0.0100 ± 0.0200"
            assert row["latent"] == f"{bpd['latent']:.4f} ± 0.0100 ± 0.0200"
            assert row["split, estimator"] == "test, continuous, 4 passes"


def test_what_significance_says_is_said_in_the_same_figures(root, page):
    """Every table of significance.md, cell by cell, and the sentences that read it."""
    write_summary(root, "vdm", 0.01)
    markdown = (root / "significance.md").read_text()
    compared = 0
    for title, section in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", markdown, re.S | re.M):
        lines = [line for line in section.splitlines() if line.startswith("|")]
        if lines:
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]
            title = "Costs" if title == "Costs of the arms" else title
            found = [[cell.strip() for cell in row] for row in page.tables[title]]
            assert found[1:] == rows[1:]
            compared += 1
        if title != "Costs":  # the page has the differing keys among its configurations
            assert all(item in page.text for item in re.findall(r"^- (.*)$", section, re.M))
    assert compared == 5


def test_the_head_has_every_arms_mean_in_its_colour(page):
    colours = [tag["style"].removeprefix("border-left-color: ") for tag in page.all("div") if "style" in tag]
    assert colours == [arm_style(arm)["color"] for arm in sorted(ARMS)]
    for arm in ARMS:
        means = [runs.values(arm, seed).mean() for seed in (0, 1)]
        error = np.std(means, ddof=1) / np.sqrt(2)
        assert f"{arm}, 2 seeds\n{np.mean(means):.4f} ± {error:.4f} bits/dim" in page.text


def test_differences_of_single_runs_are_those_of_compare(root, page, tmp_path):
    """To the arm that is the reference of the page; where arms have several seeds, differences are over seeds alone."""
    assert "Differences to the reference, bits/dim" not in page.tables
    page = made_up.write_page(tmp_path / "page.html", *(root / f"{arm}-seed0" for arm in ARMS), "--reference=vdm")
    expected = comparison_table(compare([read_evaluation(runs.record_file(root / f"{arm}-seed0")) for arm in ARMS]))
    table = page.tables["Differences to the reference, bits/dim"]
    assert table == [list(expected.heads), *([str(cell) for cell in row] for row in expected.rows)]
    assert next(row[0] for row in table if "reference" in row) == "vdm"
    assert "noise: common to all (seed 0, 4 passes)" in page.text


def test_arms_are_compared_by_one_way_of_evaluating_and_common_seeds(tmp_path):
    """One arm is evaluated once more with other passes, and lacks a seed: its values stand apart, and that is said."""
    made_up.write_root(tmp_path / "root", ("vdm", "diffenc"), seeds=(0, 1, 2))
    (tmp_path / "root" / "diffenc-seed2" / "config.json").unlink()
    runs.write(tmp_path / "root", "diffenc", 0, runs.values("diffenc", 0, passes=8) - 1)
    page = made_up.write_page(tmp_path / "page.html", tmp_path / "root", "--reference=vdm")
    for arm in ("vdm", "diffenc"):
        mean = np.mean([runs.values(arm, seed).mean() for seed in (0, 1)])
        assert f"{arm}, 2 seeds\n{mean:.4f} ± " in page.text
    assert "continuous, 4 passes, noise of each run's seed" in page.text
    assert "Means are over the seeds that all arms have: 0, 1. Lower is better." in page.text
    assert all(row[-1].endswith("4 passes") for row in page.tables["Bits/dim ± noise ± images"][1:])
    (other,) = page.tables["Other records, bits/dim ± noise ± images"][1:]
    assert other[0] == "diffenc, seed 0"
    assert other[-1].endswith("8 passes")


def test_a_page_replaces_a_page_and_no_other_file(tmp_path, capsys):
    out, place = tmp_path / "page.html", runs.write(tmp_path, "vdm", 0)
    made_up.write_page(out, place)
    before = out.read_text()
    made_up.write_page(out, place, runs.write(tmp_path, "diffenc", 0))
    assert out.read_text() != before
    assert not list(tmp_path.glob("earlier*"))
    (tmp_path / "notes.html").write_text("<!doctype html>\n<title>mine</title>\n")
    for other in (tmp_path / "notes.html", place / "config.json", *(place / "eval").iterdir()):
        content = other.read_bytes()
        assert main(["report", str(place), f"--out={other}"]) == 2
        assert "; name another file\n" in capsys.readouterr().err
        assert other.read_bytes() == content


def test_arms_without_a_common_seed_are_not_set_side_by_side(tmp_path):
    places = runs.write(tmp_path, "vdm", 0), runs.write(tmp_path, "diffenc", 1)
    page = made_up.write_page(tmp_path / "page.html", *places)
    assert "The arms have no seed in common, so there are no means to compare." in page.text
    assert "± 0.0100 (noise)" not in page.text


def test_uniform_levels_are_a_trivial_model_and_other_images_are_none(page):
    assert cells(page, "Without a network") == {"uniform, log2 17": {"bits/dim": f"{uniform_bpd(17):.4f}"}}
    assert "the images of digits are not those that were evaluated" in page.text
    config = load_config("digits:vdm", ("data.source=cifar10",))
    assert "cifar10 is not loaded for a report" in trivial_models(config, []).missing


def test_the_curves_end_where_the_log_does(page):
    (alt,) = (image["alt"] for image in page.all("img") if image["alt"].startswith("Lines by step"))
    mean = (1.9 + 1.91) / 2 + 100 / 1500
    assert f"vdm, training: {mean + 2 - 100 / 1500:.3f} at step 50, {mean:.3f} at step 1,500" in alt
    assert f"diffenc, evaluation: 1.900 at step 500, {1.8 + 50 / 1500:.3f} at step 1,500" in alt
    assert cells(page, "Bits/dim by step")["1,000"] == dict.fromkeys(ARMS, "1.8500")


def test_studies_have_their_newest_results_their_tables_and_their_sentences(page):
    table = cells(page, "digits (test), step 1500: the diffusion loss, bits/dim")
    assert [row["area"] for row in table.values()] == [f"{made_up.by_time().area:.4f}"] * 3
    expected = made_up.depths()
    for table in expected.tables():
        shown = page.tables[f"diffenc, seed 0 on digits (test), step 1500: {table.caption}"]
        assert shown == [list(table.heads), *([str(cell) for cell in row] for row in table.rows)]
    assert f"vdm, seed 0 on digits (test), step 1500: {expected.sentence()}." in page.text
    titles = [text for _, text in page.headings]
    assert {"Bits by time", "Finite depth"} < set(titles)


def test_newest_samples(page):
    captions = [attributes["alt"] for attributes in page.all("img")]
    drawn = [alt for alt in captions if "step 1500 (depth250, seed0" in alt]
    assert len(drawn) == 3
    assert all(alt.startswith("A grid of images drawn from ") for alt in drawn)
    assert not any("step 500 (" in alt for alt in captions)


def test_keys_that_differ_from_the_published_recipe_are_marked(page):
    (caption,) = (caption for caption in page.tables if caption.endswith("differ from the published recipe"))
    table = cells(page, caption)
    assert table["train.steps"] == {**dict.fromkeys(ARMS, "1500"), "published": "8000000"}
    assert table["train.ends_every"] == {**dict.fromkeys(ARMS, "8"), "published": "1"}
    assert table["model.encoder.width"] == {"vdm": "–", "diffenc": "16", "nontrainable": "–", "published": "64 or –"}
    assert "train.b2" not in table
    assert "model.encoder.kind" not in table
    assert cells(page, "All keys")["train.b2"] == {**dict.fromkeys(ARMS, "0.99"), "published": "0.99"}
    assert cells(page, "Differences between the runs")["model.encoder.kind"] == {
        "vdm": "identity",
        "diffenc": "trainable",
        "nontrainable": "nontrainable",
    }
    expected = sum(value not in ("–", row["published"]) for row in table.values() for value in list(row.values())[:3])
    assert len(page.marked) == 2 * expected  # here, and among all keys


def test_the_provenance_is_the_records(root, page):
    table = cells(page, "Runs")
    for arm in ARMS:
        config = stored_config(root / f"{arm}-seed1")
        row = table[f"{arm}, seed 1"]
        assert row["configuration's hash"] == config.hash == record(root, arm, 1)["config_hash"]
        assert row["evaluation's seed"] == "1"
        assert row["step"] == "1,500 of 1,500"
    dataset = record(root, "vdm", 0)["dataset"]
    assert cells(page, "Images evaluated on")["sha256"] == {"test": dataset["sha256"]}
    assert cells(page, "Made with")["numpy"] == {"version": "2"}


def test_the_commands_make_the_same_configurations(root, page):
    lines = [shlex.split(line)[2:] for line in page.code if line.startswith("diffenc train")]
    given = [parse(make_parser(train, "train"), words) for words in lines]
    assert len(given) == 6
    for arguments in given:
        assert load_arguments_config(arguments) == stored_config(arguments.workdir)
    assert page.code[-1].startswith(f"diffenc report {root} --out=")


def test_it_is_well_formed_for_every_reader(page):
    assert page.all("html") == [{"lang": "en"}]
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(text.strip() for _, text in page.headings)
    anchors = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(anchors)) == len(anchors)
    links = [link["href"] for link in page.all("a")]
    assert len(links) > 10
    assert {link.removeprefix("#") for link in links} <= set(anchors)
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    assert len(page.tables) == len(page.all("table"))  # no two have one caption


def test_it_needs_nothing_else(page):
    assert not page.all("script")
    assert not page.all("iframe")
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    for _, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith(("#", "data:,"))


def test_every_picture_is_whole_and_described(page):
    for image in page.all("img"):
        assert len(image["alt"]) > 30
        picture = Image.open(io.BytesIO(base64.b64decode(image["src"].partition("base64,")[2])))
        picture.load()
        assert picture.width / picture.height == pytest.approx(int(image["width"]) / int(image["height"]), rel=0.01)


def test_the_same_runs_make_the_same_page_whose_name_and_size_are_said(root, file, capsys):
    before = file.read_text()
    assert main(["report", str(root), f"--out={file}", "--reference=vdm"]) == 0
    assert file.read_text() == before
    assert capsys.readouterr().out == f"6 runs in {file} ({file.stat().st_size / 1e6:.1f} MB)\n"
    assert file.stat().st_size < 2e6


def test_one_run_alone(root, tmp_path):
    page = made_up.write_page(tmp_path / "page.html", root / "diffenc-seed1")
    assert page.headings[0] == (1, "digits: diffenc, seed 1")
    total = record(root, "diffenc", 1)["bpd"]["total"]
    assert f"diffenc\n{total:.4f} ± 0.0100 (noise) ± 0.0200 (images) bits/dim" in page.text
    titles = [text for _, text in page.headings]
    assert "Significance over seeds" not in titles
    assert "Differences, image by image" not in titles
    assert any(line.endswith(f"--json={root}/diffenc-seed1/costs/diffenc.json") for line in page.code)


def test_what_is_not_there_yet_has_its_command(tmp_path):
    place = tmp_path / "a run"
    config = load_config("digits", ("train.steps=7",))
    write_config(place, config)
    page = made_up.write_page(tmp_path / "page.html", place)
    for line in (
        f"diffenc eval '{place}'",
        f"diffenc loss-by-time '{place}'",
        f"diffenc depth-study '{place}'",
        f"diffenc rate-distortion '{place}'",
        f"diffenc sample '{place}'",
        f"diffenc encoder-study '{place}'",
        f"diffenc sample-quality '{place}'",
    ):
        assert line in page.code
    images = load_dataset(config.data, "train", "test").splits
    histogram = histogram_bpd(images["train"], images["test"], 17)
    assert cells(page, "Without a network")["per-pixel histogram of training"] == {"bits/dim": f"{histogram:.4f}"}
    (line,) = re.findall(r"Evaluation; .*", page.text)
    assert line.count(";") == 7  # all in one line, and no section is about them
    titles = {text for _, text in page.headings}
    assert "Not made yet" in titles
    assert not {"Bits by time", "Finite depth", "Samples", "Encoder"} & titles
    assert "No run is evaluated yet." in page.text
    assert "Nothing is logged yet" in page.text
    assert not page.all("img")


def test_other_versions_amid_a_training_are_told(tmp_path):
    before, after = (
        {"device": "1 x cpu", "software": {"jax": version}, "parts": {}} for version in ("0.10.2", "0.12.0")
    )
    for name, environments in (("one", [before]), ("two", [before, after])):
        write_config(tmp_path / name, load_config("digits:vdm"), Origin(environments))
    page = made_up.write_page(tmp_path / "page.html", tmp_path / "one", tmp_path / "two")
    assert page.text.count("vdm, seed 0, went on under other versions: jax 0.10.2 -> 0.12.0.") == 1


def test_runs_of_one_arm_and_seed_are_shown_without_statistics(tmp_path):
    one = runs.write(None, "vdm", 0, place=tmp_path / "one")
    other = runs.write(None, "vdm", 0, place=tmp_path / "other", overrides=("train.batch_size=32",))
    page = made_up.write_page(tmp_path / "page.html", one, other)
    assert "hold the same arm and seed" in page.text
    assert len(cells(page, "All keys")["train.batch_size"]) == 3
    assert cells(page, "Differences between the runs")["train.batch_size"] == {
        str(one): "64",
        str(other): "32",
    }


def test_loose_runs_are_tested_like_a_root(root):
    places = [root / f"{arm}-seed{seed}" for arm in sorted(ARMS) for seed in (0, 1)]
    loose, whole = (find_over_seeds(collect(given), "vdm", 0.01) for given in (places, [root]))
    assert loose.analysis == whole.analysis
    assert len(whole.analysis.comparisons) == 2


def test_it_needs_no_jax(tmp_path):
    place = runs.write(tmp_path, "vdm", 0)
    code = (
        "import sys; from diffenc_jax.__main__ import main; "
        f"code = main(['report', {str(place)!r}, '--out={tmp_path / 'page.html'}']); "
        "print(code, {'jax', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 set()"

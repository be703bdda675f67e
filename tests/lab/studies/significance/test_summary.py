"""The markdown, the values and the figures of a summary, from made-up runs."""

import csv
import json
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from diffenc_jax.commands.arguments import make_parser, parse
from diffenc_jax.config import load_config
from diffenc_jax.core.document import markdown
from diffenc_jax.data.baselines import histogram_bpd
from diffenc_jax.data.dataset import load_dataset
from diffenc_jax.lab.commands import significance as command
from diffenc_jax.lab.figures.style import arm_style
from diffenc_jax.lab.studies.significance.grid import Grid
from diffenc_jax.lab.studies.significance.summary import write_summary
from diffenc_jax.lab.studies.significance.table import costs_blocks
from tests.lab.studies.significance import made_up

ARMS = ("diffenc", "vdm", "nontrainable")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = made_up.write_all(tmp_path_factory.mktemp("root"), ARMS)
    (root / "costs").mkdir()
    (root / "costs" / "vdm.json").write_text(json.dumps(made_up.COST))
    write_summary(root, "vdm", 0.01)
    return root


@pytest.fixture(scope="module")
def page(root):
    return (root / "significance.md").read_text()


@pytest.fixture(scope="module")
def content(root):
    return json.loads((root / "significance.json").read_text())


def rows(page, section):
    """The cells of a section's table, by its first cell; the last such row."""
    lines = page.split(f"## {section}\n")[1].split("\n## ")[0].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in table}


def test_the_page_has_every_value(page):
    table = rows(page, "Values")
    for arm in ARMS:
        means = [made_up.values(arm, seed).mean() for seed in range(5)]
        assert table[arm][:5] == [f"{mean:.4f}" for mean in means]
        assert table[arm][5] == f"{np.mean(means):.4f} ± {np.std(means, ddof=1) / np.sqrt(5):.4f}"


def test_the_page_and_the_json_say_the_same(page, content):
    table = rows(page, "Differences to vdm")
    for comparison in content["comparisons"]:
        cells = table[comparison["arm"]]
        low, high = comparison["interval"]
        assert cells[-3] == f"{low:.4f} .. {high:.4f}"
        test = comparison["tests"]["paired t"]
        assert [float(cell) for cell in cells[-2:]] == pytest.approx(
            [test["p_two_sided"], test["holm_p_two_sided"]], rel=0.05
        )


def test_the_reading_claims_what_the_main_test_shows(page, content):
    for comparison in content["comparisons"]:
        line = re.search(rf"- {comparison['arm']} lies (.*)", page).group(1)
        assert ("below" in line.split("(")[0]) == (comparison["mean"] < 0)
        assert ("not significantly different from zero" in line) == (
            comparison["tests"]["paired t"]["holm_p_two_sided"] >= 0.05
        )


def test_what_an_arm_costs(page):
    table = rows(page, "Costs of the arms")
    assert table["vdm"] == ["1,234", "1,500", "2", "3", "+0.0 %", "100", "30"]
    assert table["diffenc"] == ["1,234", "1,500", "–", "–", "–", "–", "–"]
    assert "- nontrainable: model.encoder.kind nontrainable\n" in page


def test_how_many_more_flops_an_arm_gets(content):
    """Per training, against the reference; nothing if the reference is not measured."""
    dearer = made_up.COST | {"flops_per_step": 1.129 * made_up.COST["flops_per_step"]}
    for costs, shown in (({"vdm": made_up.COST, "diffenc": dearer}, "+12.9 %"), ({"diffenc": dearer}, "–")):
        table = costs_blocks(content, costs)[0]
        cells = dict(zip(table.heads, next(row for row in table.rows if row[0] == "diffenc"), strict=True))
        assert cells["against vdm"] == shown


def test_raw_values_are_unrounded(root):
    with (root / "values.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 15
    for line in lines:
        assert float(line["bpd"]) == pytest.approx(made_up.values(line["arm"], int(line["seed"])).mean(), rel=1e-12)
        assert (root / line["record"]).exists()


def test_a_report_is_the_same_when_made_again(root, page, content):
    write_summary(root, "vdm", 0.01)
    assert (root / "significance.md").read_text() == page
    assert json.loads((root / "significance.json").read_text()) == content
    assert not (root / "earlier").exists()


def test_an_earlier_summary_of_other_content_is_kept(tmp_path):
    made_up.write_all(tmp_path, ("vdm", "diffenc"), (0, 1))
    write_summary(tmp_path, "vdm", 0.01)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("[a-z]*.*")}
    made_up.write_all(tmp_path, ("vdm", "diffenc"), (2,))
    write_summary(tmp_path, "vdm", 0.01)
    assert len(json.loads((tmp_path / "significance.json").read_text())["arms"]["vdm"]["bpd"]) == 3
    assert {path.name: path.read_bytes() for path in (tmp_path / "earlier").iterdir()} == before
    write_summary(tmp_path, "diffenc", 0.01)
    kept = json.loads((tmp_path / "earlier" / "significance.json").read_text())
    assert len(kept["comparisons"][0]["paired_seeds"]) == 3
    assert len(list(tmp_path.glob("earlier*"))) == 1


def drawn(root, name):
    """The colours that a figure has anywhere."""
    pixels = np.asarray(Image.open(root / f"{name}.png").convert("RGB")).reshape(-1, 3)
    return {"#{:02X}{:02X}{:02X}".format(*pixel) for pixel in np.unique(pixels, axis=0)}


@pytest.mark.parametrize("name", ["values", "differences", "curves"])
def test_every_arm_is_drawn_in_its_colour(root, name):
    arms = [arm for arm in ARMS if (name, arm) != ("differences", "vdm")]  # the reference
    assert {arm_style(arm)["color"] for arm in arms} <= drawn(root, name)
    assert (root / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_models_of_an_unfinished_training_that_is_worse_than_a_histogram_say_so(tmp_path):
    """The histogram of the digits costs 2.43 bits/dim; the records are of these images."""
    images = load_dataset(load_config("digits").data, "train", "test")
    for arm in ("vdm", "diffenc"):
        for seed in (0, 1, 2):
            bits = 1 + made_up.values(arm, seed)
            made_up.write(
                tmp_path, arm, seed, bits, dataset=images.fingerprint("test") | {"num_examples": bits.shape[1]}
            )
    write_summary(tmp_path, "vdm", 0.01)
    bound = histogram_bpd(images.splits["train"], images.splits["test"], 17)
    page = (tmp_path / "significance.md").read_text()
    headline = json.loads((tmp_path / "significance.json").read_text())["headline"]
    assert f"(per-pixel histogram of training: {bound:.4f} bits/dim): diffenc (2.9" in headline["cautions"][0]
    assert "diffenc (by 0.0167 after step 1,000)" in headline["cautions"][-1]  # 50/1000 - 50/1500
    assert all(line in page for line in [*headline["lines"], *headline["cautions"]])


def test_missing_runs_are_listed(tmp_path):
    made_up.write_all(tmp_path, ("vdm", "diffenc"), (0, 1))
    made_up.write(tmp_path, "vdm", 2)
    write_summary(tmp_path, "vdm", 0.01)
    assert "## Missing\n\n- diffenc, seed 2: not begun\n" in (tmp_path / "significance.md").read_text()
    assert json.loads((tmp_path / "significance.json").read_text())["missing"] == [
        {"arm": "diffenc", "seed": 2, "why": "not begun"}
    ]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_few_seeds_make_a_page(tmp_path, seeds):
    made_up.write_all(tmp_path, ("vdm", "diffenc"), seeds)
    write_summary(tmp_path, "vdm", 0.01)
    page = (tmp_path / "significance.md").read_text()
    assert not re.search(r"\bnan\b", page)
    assert page.startswith(f"# digits: 2 arms, {'seed 0' if seeds == (0,) else 'seeds 0, 1'}\n")
    assert f"over {len(seeds)} seed{'s' * (len(seeds) > 1)}, on these images: too few seeds for a conclusion" in page
    assert "significant" not in page
    assert "Not estimated" in page.split("## Power of this design\n")[1]
    assert json.loads((tmp_path / "significance.json").read_text())["comparisons"][0]["power"] == {}


def test_the_document_says_what_makes_it(tmp_path):
    made_up.write_all(tmp_path, ("vdm", "diffenc"), (0, 1))
    grid = Grid("configs/digits.py", ("vdm", "diffenc"), (0, 1), ("train.steps=1500",), 4, "diffenc")
    grid.note_in(tmp_path)
    page, _ = write_summary(tmp_path, None, 0.01)
    program, name, *words = shlex.split(markdown(page).splitlines()[-1])
    assert (program, name) == ("diffenc", "significance")
    arguments = parse(make_parser(command, "diffenc significance"), words)
    assert (arguments.root, arguments.passes, arguments.overrides) == (tmp_path, 4, ["train.steps=1500"])
    assert (arguments.arms, arguments.seeds, arguments.reference) == (("vdm", "diffenc"), (0, 1), "diffenc")


def test_the_reference_may_be_missing(tmp_path):
    made_up.write_all(tmp_path, ("diffenc",), (0, 1))
    made_up.write(tmp_path, "vdm", 0)
    made_up.record_file(tmp_path / "vdm-seed0").unlink()
    write_summary(tmp_path, "vdm", 0.01)
    assert (
        "nothing can be compared yet: the reference vdm has no finished run"
        in (tmp_path / "significance.md").read_text()
    )


def test_arms_of_several_depths_name_their_estimators(tmp_path):
    arms = ("vdm-T10", "diffenc-T10", "diffenc-T50")
    made_up.write_all(tmp_path, arms, (0,))
    Grid("digits", arms, (0,), (), made_up.PASSES, "vdm-T10").note_in(tmp_path)
    page, _ = write_summary(tmp_path, None, 0.01)
    how = "extrapolation linear, times uniform, 4 passes"
    arms = f"discrete, depth 10, {how} (vdm-T10, diffenc-T10); discrete, depth 50, {how} (diffenc-T50)"
    assert f"(digits 1, test); {arms}. Averaged" in markdown(page)

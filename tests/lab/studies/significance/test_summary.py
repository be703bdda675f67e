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
from tests.lab.studies.significance import made_up

ARMS = ("diffenc", "vdm", "nontrainable")
DEARER = made_up.COST | {"flops_per_step": 1.129 * made_up.COST["flops_per_step"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = made_up.write_all(tmp_path_factory.mktemp("root"), ARMS)
    (root / "costs").mkdir()
    for arm, cost in (("vdm", made_up.COST), ("diffenc", DEARER)):
        (root / "costs" / f"{arm}.json").write_text(json.dumps(cost))
    write_summary(root, "vdm", 0.01)
    return root


def summarized(root):
    """The page and the JSON of a summary."""
    return (root / "significance.md").read_text(), json.loads((root / "significance.json").read_text())


def rows(page, section):
    """The cells of a section's table, by its first cell; the last such row."""
    lines = page.split(f"## {section}\n")[1].split("\n## ")[0].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in table}


def test_page_json_and_csv_say_the_same(root):
    page, content = summarized(root)
    for arm in ARMS:
        means = [made_up.values(arm, seed).mean() for seed in range(5)]
        error = np.std(means, ddof=1) / np.sqrt(5)
        shown = [*(f"{mean:.4f}" for mean in means), f"{np.mean(means):.4f} ± {error:.4f}"]
        assert rows(page, "Values")[arm][:6] == shown
        assert content["arms"][arm]["mean"] == pytest.approx(np.mean(means))
    for comparison in content["comparisons"]:
        cells, test = rows(page, "Differences to vdm")[comparison["arm"]], comparison["tests"]["paired t"]
        assert cells[-3] == "{:.4f} .. {:.4f}".format(*comparison["interval"])
        assert list(map(float, cells[-2:])) == pytest.approx([test["p_two_sided"], test["holm_p_two_sided"]], rel=0.05)
        line = re.search(rf"- {comparison['arm']} lies (.*)", page).group(1)
        assert ("below" in line.split("(")[0]) == (comparison["mean"] < 0)
        assert ("not significantly different from zero" in line) == (test["holm_p_two_sided"] >= 0.05)
    assert all(line in page for line in [*content["headline"]["lines"], *content["headline"]["cautions"]])
    with (root / "values.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 15
    for line in lines:
        assert float(line["bpd"]) == pytest.approx(made_up.values(line["arm"], int(line["seed"])).mean(), rel=1e-12)
        assert (root / line["record"]).exists()


def test_what_an_arm_costs(root):
    """FLOPs against those of the reference."""
    table = rows(summarized(root)[0], "Costs of the arms")
    assert table["vdm"] == ["1,234", "1,500", "2", "3", "+0.0 %", "100", "30"]
    assert table["diffenc"] == ["1,234", "1,500", "2.258", "3.387", "+12.9 %", "100", "30"]
    assert table["nontrainable"] == ["1,234", "1,500", "–", "–", "–", "–", "–"]
    assert "- nontrainable: model.encoder.kind nontrainable\n" in summarized(root)[0]


@pytest.mark.parametrize("name", ["values", "differences", "curves"])
def test_every_arm_is_drawn_in_its_colour(root, name):
    arms = [arm for arm in ARMS if (name, arm) != ("differences", "vdm")]  # the reference
    pixels = np.unique(np.asarray(Image.open(root / f"{name}.png").convert("RGB")).reshape(-1, 3), axis=0)
    assert {arm_style(arm)["color"] for arm in arms} <= {"#{:02X}{:02X}{:02X}".format(*pixel) for pixel in pixels}
    assert (root / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_models_of_an_unfinished_training_that_is_worse_than_a_histogram_say_so(tmp_path):
    """The histogram of the digits costs 2.43 bits/dim; the records are of these images."""
    images = load_dataset(load_config("digits").data, "train", "test")
    for arm in ("vdm", "diffenc"):
        for seed in (0, 1, 2):
            bits = 1 + made_up.values(arm, seed)
            dataset = images.fingerprint("test") | {"num_examples": bits.shape[1]}
            made_up.write(tmp_path, arm, seed, bits, dataset=dataset)
    write_summary(tmp_path, "vdm", 0.01)
    bound = histogram_bpd(images.splits["train"], images.splits["test"], 17)
    cautions = summarized(tmp_path)[1]["headline"]["cautions"]
    assert f"(per-pixel histogram of training: {bound:.4f} bits/dim): diffenc (2.9" in cautions[0]
    assert "diffenc (by 0.0167 after step 1,000)" in cautions[-1]  # 50/1000 - 50/1500


def test_missing_runs_are_listed(tmp_path):
    made_up.write_all(tmp_path, ("vdm", "diffenc"), (0, 1))
    made_up.write(tmp_path, "vdm", 2)
    write_summary(tmp_path, "vdm", 0.01)
    page, content = summarized(tmp_path)
    assert "## Missing\n\n- diffenc, seed 2: not begun\n" in page
    assert content["missing"] == [{"arm": "diffenc", "seed": 2, "why": "not begun"}]
    for seed in range(3):
        made_up.record_file(tmp_path / f"vdm-seed{seed}").unlink()
    write_summary(tmp_path, "vdm", 0.01)
    assert "nothing can be compared yet: the reference vdm has no finished run" in summarized(tmp_path)[0]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_few_seeds_make_a_page(tmp_path, seeds):
    made_up.write_all(tmp_path, ("vdm", "diffenc"), seeds)
    write_summary(tmp_path, "vdm", 0.01)
    page, content = summarized(tmp_path)
    assert not re.search(r"\bnan\b|significant", page)
    assert page.startswith(f"# digits: 2 arms, {'seed 0' if seeds == (0,) else 'seeds 0, 1'}\n")
    assert f"over {len(seeds)} seed{'s' * (len(seeds) > 1)}, on these images: too few seeds for a conclusion" in page
    assert "Not estimated" in page.split("## Power of this design\n")[1]
    assert content["comparisons"][0]["power"] == {}


def test_the_document_says_what_makes_it_and_how_each_arm_is_evaluated(tmp_path):
    arms = ("vdm-T10", "diffenc-T10", "diffenc-T50")
    made_up.write_all(tmp_path, arms, (0,))
    Grid("configs/digits.py", arms, (0,), ("train.steps=1500",), 4, "diffenc-T10").note_in(tmp_path)
    page = markdown(write_summary(tmp_path, None, 0.01)[0])
    how = "extrapolation linear, times uniform, 4 passes"
    shown = f"discrete, depth 10, {how} (vdm-T10, diffenc-T10); discrete, depth 50, {how} (diffenc-T50)"
    assert f"(digits 1, test); {shown}. Averaged" in page
    program, name, *words = shlex.split(page.splitlines()[-1])
    assert (program, name) == ("diffenc", "significance")
    arguments = parse(make_parser(command, "diffenc significance"), words)
    assert (arguments.root, arguments.passes, arguments.overrides) == (tmp_path, 4, ["train.steps=1500"])
    assert (arguments.arms, arguments.seeds, arguments.reference) == (arms, (0,), "diffenc-T10")

"""The files of a summary: their numbers are those of the runs, and one content stands in all."""

import json
import re

import pytest

from diffenc_jax.core.document import markdown
from diffenc_jax.lab.comparisons.significance.grid import Grid
from diffenc_jax.lab.comparisons.significance.summary import write_summary
from tests.lab.comparisons.significance import made_up

pytestmark = pytest.mark.usefixtures("sketched")
ARMS = ("diffenc", "vdm", "nontrainable")
DEARER = made_up.COST | {"flops_per_step": 1.129 * made_up.COST["flops_per_step"], "cpu_share_of_others": 0.43}


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
    """The cells of a section's table, by its first cell."""
    lines = page.split(f"## {section}\n")[1].split("\n## ")[0].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in table}


def test_page_and_json_say_the_same(root):
    page, content = summarized(root)
    for arm, of in content["arms"].items():
        shown = [*(f"{bpd:.4f}" for bpd in of["bpd"].values()), f"{of['mean']:.4f} ± {of['standard_error']:.4f}"]
        assert rows(page, "Values")[arm][:6] == shown
    for one in content["comparisons"]:
        assert rows(page, "Differences to vdm")[one["arm"]][-1] == "{:.4f} .. {:.4f}".format(*one["interval"])
        cells, names = rows(page, "Tests and power")[one["arm"]], ("paired t", "sign flips", "Welch t")
        ps = [p for name in names for p in (one["tests"][name]["p_two_sided"], one["corrected"][name])]
        assert list(map(float, cells[:6])) == pytest.approx(ps, rel=0.05)
        assert cells[6:] == [f"{one['detectable_difference']:.4f}", str(one["seeds_needed"])]
        line = re.search(rf"- {one['arm']} lies (.*)", page).group(1)
        assert ("below" in line.split("(")[0]) == (one["mean"] < 0)
        assert ("not significantly different from zero" in line) == (one["corrected"]["paired t"] >= 0.05)
    assert all(line in page for line in [*content["headline"]["lines"], *content["headline"]["cautions"]])
    assert all((root / f"{name}.pdf").read_bytes().startswith(b"%PDF") for name in ("values", "curves"))


def test_what_an_arm_costs(root):
    """FLOPs against those of the reference."""
    table = rows(summarized(root)[0], "Costs of the arms")
    assert table["vdm"] == ["1,234", "1,500", "2", "3", "+0.0 %", "100", "30"]
    assert table["diffenc"] == ["1,234", "1,500", "2.258", "3.387", "+12.9 %", "100", "30"]
    assert table["nontrainable"] == ["1,234", "1,500", "–", "–", "–", "–", "–"]
    assert "- nontrainable: model.encoder.kind nontrainable\n" in summarized(root)[0]
    assert re.search("upper bounds.* 43 % during the steps of diffenc", summarized(root)[0])


def test_few_seeds_and_missing_runs_make_a_page(tmp_path):
    made_up.write_all(tmp_path, ("vdm", "diffenc"), (0, 1))
    made_up.write(tmp_path, "vdm", 2)
    write_summary(tmp_path, "vdm", 0.01)
    page, content = summarized(tmp_path)
    assert "## Missing\n\n- diffenc, seed 2: not begun\n" in page
    assert content["missing"] == [{"arm": "diffenc", "seed": 2, "why": "not begun"}]
    assert not re.search(r"\bnan\b|significant", page)
    assert "over 2 seeds, on these images: too few seeds for a conclusion" in page
    assert rows(page, "Tests and power")["diffenc"][-2:] == ["–", "–"]
    for seed in range(3):
        made_up.record_file(tmp_path / f"vdm-seed{seed}").unlink()
    write_summary(tmp_path, "vdm", 0.01)
    assert "## Values" in summarized(tmp_path)[0]
    assert "Differences to" not in summarized(tmp_path)[0]


def test_the_document_says_how_each_arm_is_evaluated(tmp_path):
    arms = ("vdm-T10", "diffenc-T10", "diffenc-T50")
    made_up.write_all(tmp_path, arms, (0,))
    Grid("configs/digits.py", arms, (0,), ("train.steps=1500",), 4, "diffenc-T10").note_in(tmp_path)
    page = markdown(write_summary(tmp_path, None, 0.01)[0])
    how = "extrapolation linear, times uniform, 4 passes"
    shown = f"bound, depth 10, {how} (vdm-T10, diffenc-T10); bound, depth 50, {how} (diffenc-T50)"
    assert f"(digits 1, test); {shown}. Averaged" in page

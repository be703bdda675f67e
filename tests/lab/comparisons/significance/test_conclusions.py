"""Conclusions and their cautions, values beside the published ones, and the files of a summary."""

import json
import re
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from diffenc_jax.config import load_config
from diffenc_jax.core.document import Table, markdown
from diffenc_jax.evaluation.uncertainty import standard_errors
from diffenc_jax.lab.comparisons.significance.analysis import analyse
from diffenc_jax.lab.comparisons.significance.grid import Grid
from diffenc_jax.lab.comparisons.significance.published import COMPARISONS, beside_published
from diffenc_jax.lab.comparisons.significance.summary import cautions, conclusions, write_summary
from diffenc_jax.train.optimizers import ema_decay
from tests.lab.comparisons.significance import made_up

pytestmark = pytest.mark.usefixtures("sketched")
BY_SEED = np.array([1.83, 1.84, 1.85, 1.82, 1.81])  # bits/dim by seed


def analysed(values, reference, **falls):
    """The analysis of two arms' values by seed; evaluations fall since step 150 by so much."""
    curves = {arm: {"evaluation": [(150, [bpd]), (200, [0.0])]} for arm, bpd in falls.items()}
    return of(made_up.finished(made_up.per_seed(vdm=reference, diffenc=values)), curves)


def of(runs, curves=None):
    """The analysis of finished runs; vdm is the reference."""
    return analyse(runs, "vdm", 0.01, curves)


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_fewer_than_three_seeds_are_never_called_significant(seeds):
    vdm = 1.8 + 1e-5 * np.arange(seeds + 1.0) ** 2
    bits = made_up.per_seed(vdm=vdm[:seeds], diffenc=vdm[:seeds] - 0.1 + 1e-7 * np.arange(seeds))
    bits |= {} if seeds else {("vdm", 0): np.ones((1, 2)), ("diffenc", 1): np.ones((1, 2))}
    assert "significant" not in " ".join(conclusions(of(made_up.finished(bits))))


def test_a_claim_and_its_cautions():
    found = analysed(BY_SEED - [0.031, 0.029, 0.032, 0.028, 0.030], BY_SEED, vdm=0.002)
    (line,) = conclusions(found)
    assert "over 5 seeds, on these images: a significant difference" in line
    assert cautions(found) == []
    (unfinished,) = cautions(analysed(BY_SEED, BY_SEED[::-1], vdm=0.9))
    assert "vdm (by 0.9000 after step 150);" in unfinished
    for run in found.runs:
        run.evaluation.record["estimator"]["seed"] = 0
    (shared,) = cautions(of(found.runs))
    assert "share the noise" in shared


@pytest.mark.parametrize("apart", [0.1, 0.0])
def test_nothing_is_concluded_while_there_are_cautions(apart):
    """The sentence keeps the difference, its interval and its p."""
    values = BY_SEED + apart + [0.001, -0.001, 0.002, -0.002, 0.0001]
    plain, limited = analysed(values, BY_SEED), analysed(values, BY_SEED, diffenc=0.9)
    ((claim,), (line,)) = conclusions(plain), conclusions(limited)
    p = claim.partition("(paired t test, ")[2]
    assert "significant" in claim
    assert "significant" not in line
    assert line.startswith(claim.partition(":")[0])
    assert f" on these images (paired t test, {p} " in line


def test_a_model_that_is_worse_than_uniform_is_a_caution():
    """The digits have 17 levels, real numbers have no bound."""
    found = analysed([4.08, 4.09, 4.08], [1.8, 1.9, 1.8])
    assert [line for line in cautions(found) if "diffenc, seed 1 (4.0900, uniform 4.0875);" in line]
    assert "diffenc, seed 0" not in " ".join(cautions(found))
    real = {"data.pixel_levels": None, "model.decoder.kind": "gaussian", "log.samples": 0}
    runs = [run._replace(config=run.config.replace(real)) for run in found.runs]
    assert cautions(of(runs)) == []


def test_regrets_are_paired_by_image_and_an_impossible_one_is_a_caution():
    """Bits/dim of two images by two seeds; the truth is below vdm and above diffenc."""
    values = {("vdm", 0): [[1.0, 2.0]], ("vdm", 1): [[1.2, 2.4]], ("diffenc", 0): [[0.5, 1.4]]}
    runs, true = made_up.finished({key: np.array(bits) for key, bits in values.items()}), np.array([0.8, 1.6])
    for number, run in enumerate(runs):
        record, bits = run.evaluation.record, run.evaluation.bits
        record["dataset"]["true_bpd"] = true.mean()
        record["regret"] = {"bpd": (bits - true).mean(), **standard_errors(bits - true, None)._asdict()}
        runs[number] = run._replace(evaluation=run.evaluation._replace(true_bits=true))
    analysis = of(runs)
    vdm, diffenc = (analysis.arms[arm].regret for arm in ("vdm", "diffenc"))
    assert (vdm.bpd, vdm.mean) == (pytest.approx({0: 0.3, 1: 0.6}), pytest.approx(0.3))  # over the common seed
    assert (vdm.images, diffenc.images) == pytest.approx((0.1, 0.05))
    assert any("below the truth" in line and "diffenc, seed 0 (by 0.2500);" in line for line in cautions(analysis))


def test_a_claim_reads_the_corrected_test():
    """p is 0.028, and twice that beside another arm."""
    arms = {"vdm": BY_SEED, "diffenc": BY_SEED - [0.01, 0.02, 0.03, 0.01, 0.005]}
    (alone,) = conclusions(of(made_up.finished(made_up.per_seed(**arms))))
    other = BY_SEED + np.array([0.01, -0.01, 0.02, -0.02, 0.001])
    both = conclusions(of(made_up.finished(made_up.per_seed(**arms, nontrainable=other))))
    assert ["a significant difference" in line for line in (alone, *both)] == [True, False, False]


AVERAGES = [(0.99, False, 200), (0.99, False, 1500), (0.9999, False, 9000), (0.9999, True, 200), (0.9, True, 5000)]


@pytest.mark.parametrize(("decay", "warmup", "steps"), AVERAGES)
def test_a_long_average_is_a_caution(decay, warmup, steps):
    """One that averages parameters which are, in the mean, older than a tenth of the training."""
    found, mean_age = analysed(np.ones(3), np.ones(3)), 0.0
    config = found.runs[0].config.replace({"train.ema_decay": decay, "train.ema_warmup": warmup, "train.steps": steps})
    for rate in np.broadcast_to(ema_decay(config.train, jnp.arange(float(steps))), steps).tolist():
        mean_age = rate * (mean_age + 1)
    runs = [run._replace(config=config) if run.arm == "vdm" else run for run in found.runs]
    said = " ".join(cautions(replace(found, runs=runs)))
    assert (f"vdm ({1 / (1 - decay):,.0f} steps, trained for {steps:,})" in said) == (mean_age > 0.1001 * steps)


VDM, DIFFENC = np.array([2.643, 2.637, 2.645]), np.array([2.612, 2.628, 2.619])


def beside(name, *values, overrides=()):
    """The cells about the values of the first arms of a comparison, and the whole text."""
    comparison = COMPARISONS[name]
    runs = made_up.finished(made_up.per_seed(**dict(zip(comparison.arms, values, strict=False))), comparison.config)
    (found,) = beside_published(comparison.grid(overrides), analyse(runs, comparison.reference, 0.01))
    assert found.title.endswith(f" {name}")
    (table,) = (block for block in found.blocks if isinstance(block, Table))
    return {row[0]: row[1:] for row in table.rows}, markdown(found)


@pytest.mark.parametrize("name", COMPARISONS)
def test_arms_are_those_of_the_configuration(name):
    comparison = COMPARISONS[name]
    for arm in comparison.arms:
        config = load_config(f"{comparison.config}:{arm}", comparison.overrides)
        assert (config.train.steps, config.train.endpoint_interval) == (comparison.steps, 1)
    grid = comparison.grid(("train.steps=20", "train.batch_size=8"))
    assert grid.overrides == ("train.steps=20", "train.batch_size=8")


def test_differences_to_published_figures_have_welchs_interval():
    """That of the difference between arms is paired in ours, and not in theirs."""
    values, _ = beside("cifar10-large", VDM, DIFFENC)
    published = 2.620 + 0.006 * np.sqrt(3) * np.arange(-1, 2)
    low, high = stats.ttest_ind(DIFFENC, published, equal_var=False).confidence_interval()
    assert values["diffenc-published"][1:] == ["2.62", f"{DIFFENC.mean() - 2.620:.4f}", f"{low:.4f} .. {high:.4f}"]
    errors = np.array([(DIFFENC - VDM).std(ddof=1) / np.sqrt(3), 0.006, 0.003])
    df, difference = (errors**2).sum() ** 2 / (errors**4 / 2).sum(), (DIFFENC - VDM).mean()
    low, high = stats.t(df, difference + 0.021, np.sqrt((errors**2).sum())).interval(0.95)
    measured = f"{difference:.4f} ± {errors[0]:.4f}"
    ends = [f"{difference + 0.021:.4f}", f"{low:.4f} .. {high:.4f}"]
    assert values["diffenc-published - reference"] == [measured, "-0.021", *ends]


def test_what_is_not_known_is_not_made_up():
    values, text = beside("cifar10-nontrainable", VDM, DIFFENC, overrides=("train.steps=40", "train.batch_size=8"))
    low, high = np.array(stats.ttest_1samp(VDM, 2.783).confidence_interval()) - 2.783
    assert values["vdm-8-published"][1:] == ["2.783*", f"{VDM.mean() - 2.783:.4f}", f"{low:.4f} .. {high:.4f}"]
    assert values["nontrainable-8-published"][1:] == ["–", "–", "–"]
    assert "These runs differ from that in train.steps=40, train.batch_size=8." in text
    values, text = beside("cifar10-large", VDM[:1])  # one seed has no interval, and an arm may be missing
    assert values == {"vdm-published": ["2.6430", "2.641", "0.0020", "–"]}
    assert "These runs differ" not in text


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

"""Measured values beside published ones: against scipy and the paper's own test."""

import numpy as np
from scipy import stats

from diffenc_jax.core.document import Table, markdown
from diffenc_jax.lab.studies.reproduction.beside import section
from diffenc_jax.lab.studies.reproduction.comparisons import COMPARISONS
from diffenc_jax.lab.studies.significance.analysis import analyse
from tests.lab.studies.significance import made_up

LARGE = COMPARISONS["cifar10-large"]
VDM, DIFFENC = np.array([2.643, 2.637, 2.645]), np.array([2.612, 2.628, 2.619])


def beside(comparison, *values, overrides=None):
    """The cells about the values of the first arms of a comparison, those about tests, and the whole text."""
    arms = dict(zip(comparison.arms, values, strict=False))
    runs = made_up.finished(made_up.per_seed(**arms), arms_of_config=False)
    given = comparison.overrides if overrides is None else overrides
    found = section(comparison, analyse(runs, comparison.reference, 0.01), given)
    tables = [block.rows for block in found.blocks if isinstance(block, Table)]
    return {row[0]: row[1:] for row in tables[0]}, tables[1] if len(tables) > 1 else [], markdown(found)


def test_differences_to_published_figures_have_welchs_interval():
    """That of the difference between arms is paired in ours, and not in theirs."""
    values, _, _ = beside(LARGE, VDM, DIFFENC)
    published = 2.620 + 0.006 * np.sqrt(3) * np.arange(-1, 2)
    low, high = stats.ttest_ind(DIFFENC, published, equal_var=False).confidence_interval()
    assert values["diffenc-published"][1:] == ["2.62", f"{DIFFENC.mean() - 2.620:.4f}", f"{low:.4f} .. {high:.4f}"]
    errors = np.array([(DIFFENC - VDM).std(ddof=1) / np.sqrt(3), 0.006, 0.003])
    df, difference = (errors**2).sum() ** 2 / (errors**4 / 2).sum(), (DIFFENC - VDM).mean()
    low, high = stats.t(df, difference + 0.021, np.sqrt((errors**2).sum())).interval(0.95)
    assert values["diffenc-published - reference"] == [
        *(f"{difference:.4f} ± {errors[0]:.4f}", "-0.021", f"{difference + 0.021:.4f}", f"{low:.4f} .. {high:.4f}")
    ]


def test_the_papers_test_stands_beside_ours():
    welch = [stats.ttest_ind(DIFFENC, VDM, equal_var=False, alternative=side) for side in ("less", "two-sided")]
    paired = [stats.ttest_rel(DIFFENC, VDM, alternative=side) for side in ("less", "two-sided")]
    assert beside(LARGE, VDM, DIFFENC)[1] == [
        ["diffenc-published", "published", "Welch t", "-3.13", "2.94", "0.0267", "0.0535"],
        *(
            ["diffenc-published", "measured", name, *(f"{x:.3g}" for x in (less.statistic, less.df, less.pvalue, p))]
            for name, (less, (_, p)) in {"Welch t": welch, "paired t": paired}.items()
        ),
    ]


def test_what_is_not_known_is_not_made_up():
    changes = ("train.steps=40", "train.batch_size=8")
    values, tests, text = beside(COMPARISONS["cifar10-nontrainable"], VDM, DIFFENC, overrides=changes)
    low, high = np.array(stats.ttest_1samp(VDM, 2.783).confidence_interval()) - 2.783
    assert values["vdm-8-published"][1:] == ["2.783*", f"{VDM.mean() - 2.783:.4f}", f"{low:.4f} .. {high:.4f}"]
    assert values["nontrainable-8-published"][1:] == ["–", "–", "–"]
    assert {row[1] for row in tests} == {"measured"}
    assert "These runs differ from that in train.steps=40, train.batch_size=8." in text


def test_one_seed_has_no_interval_and_an_arm_may_be_missing():
    values, tests, text = beside(LARGE, VDM[:1])
    assert values == {"vdm-published": ["2.6430", "2.641", "0.0020", "–"]}
    assert tests == []
    assert "These runs differ" not in text

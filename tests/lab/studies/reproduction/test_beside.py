"""Measured values beside published ones: against scipy and the paper's own test."""

import numpy as np
import pytest
from scipy import stats

from diffenc_jax.core.document import Table, markdown
from diffenc_jax.lab.studies.reproduction.beside import beside_published, section
from diffenc_jax.lab.studies.reproduction.comparisons import COMPARISONS
from diffenc_jax.lab.studies.significance.analysis import analyse
from tests.lab.studies.reproduction.made_up import finished_runs

LARGE = COMPARISONS["cifar10-large"]
VDM, DIFFENC = np.array([2.643, 2.637, 2.645]), np.array([2.612, 2.628, 2.619])


@pytest.fixture(scope="module")
def beside():
    runs = finished_runs({"vdm-published": VDM, "diffenc-published": DIFFENC})
    return beside_published(LARGE, analyse(runs, LARGE.reference, 0.01), LARGE.overrides)


def test_the_difference_to_a_published_mean_has_welchs_interval(beside):
    got = beside["arms"]["diffenc-published"]
    assert got["measured"] == pytest.approx(DIFFENC.mean())
    assert got["difference"] == pytest.approx(DIFFENC.mean() - 2.620)
    published = 2.620 + 0.006 * np.sqrt(3) * np.arange(-1, 2)
    expected = stats.ttest_ind(DIFFENC, published, equal_var=False).confidence_interval()
    assert got["interval"] == pytest.approx(tuple(expected))


def test_the_difference_between_arms_is_paired_in_ours_and_not_in_theirs(beside):
    got = beside["differences"]["diffenc-published"]
    assert got["published"] == pytest.approx(-0.021)
    ours = (DIFFENC - VDM).std(ddof=1) / np.sqrt(3)
    errors = np.array([ours, 0.006, 0.003])
    df = (errors**2).sum() ** 2 / (errors**4 / 2).sum()
    low, high = stats.t(df, (DIFFENC - VDM).mean() + 0.021, np.sqrt((errors**2).sum())).interval(0.95)
    assert got["interval"] == pytest.approx((low, high))


def test_the_papers_test_stands_beside_ours(beside):
    theirs, welch, paired = beside["tests"]["diffenc-published"]
    assert (theirs["values"], theirs["test"]) == ("published", "Welch t")
    assert theirs["statistic"] == pytest.approx(-3.13, abs=0.005)
    assert theirs["p_one_sided_less"] == pytest.approx(0.0267, abs=0.0001)
    assert theirs["p_two_sided"] == pytest.approx(0.0535, abs=0.0001)
    expected = stats.ttest_ind(DIFFENC, VDM, equal_var=False, alternative="less").pvalue
    assert welch["p_one_sided_less"] == pytest.approx(expected)
    assert paired["p_two_sided"] == pytest.approx(stats.ttest_rel(DIFFENC, VDM).pvalue)


def test_what_is_not_known_is_not_made_up():
    small = COMPARISONS["cifar10-nontrainable"]
    runs = finished_runs({"vdm-8-published": VDM, "nontrainable-8-published": DIFFENC})
    beside = beside_published(small, analyse(runs, small.reference, 0.01), ("train.steps=40", "train.batch_size=8"))
    known, unknown = beside["arms"]["vdm-8-published"], beside["arms"]["nontrainable-8-published"]
    expected = stats.ttest_1samp(VDM, 2.783).confidence_interval()
    assert known["interval"] == pytest.approx((expected.low - 2.783, expected.high - 2.783))
    assert (unknown["difference"], unknown["interval"]) == (None, None)
    assert {test["values"] for test in beside["tests"]["nontrainable-8-published"]} == {"measured"}
    page = section(beside)
    rows = next(block for block in page.blocks if isinstance(block, Table)).rows
    assert [row[2] for row in rows] == ["2.783*", "–", "–"]
    assert "These runs differ from that in train.steps=40, train.batch_size=8." in markdown(page)


def test_one_seed_has_no_interval_and_an_arm_may_be_missing():
    runs = finished_runs({"vdm-published": VDM[:1]})
    beside = beside_published(LARGE, analyse(runs, LARGE.reference, 0.01), LARGE.overrides)
    assert list(beside["arms"]) == ["vdm-published"]
    assert beside["arms"]["vdm-published"]["difference"] == pytest.approx(2.643 - 2.641)
    assert beside["arms"]["vdm-published"]["interval"] is None
    assert (beside["differences"], beside["changes"]) == ({}, [])
    assert "These runs differ" not in markdown(section(beside))

"""The numbers of an analysis against ones by hand, from made-up runs."""

import numpy as np
import pytest
import scipy.stats

from diffenc_jax.lab.studies.significance.analysis import analyse
from tests.lab.studies.significance import made_up

ARMS, SEEDS = ("vdm", "diffenc", "nontrainable"), range(5)


def analysed(**seeds):
    """The analysis of the seeds of each arm against vdm."""
    bits = {(arm, seed): made_up.values(arm, seed) for arm, of_arm in seeds.items() for seed in of_arm}
    return analyse(made_up.finished(bits), "vdm", 0.01)


@pytest.fixture(scope="module")
def analysis():
    return analysed(**dict.fromkeys(ARMS, SEEDS))


def means(arm, seeds=SEEDS):
    return np.array([made_up.values(arm, seed).mean() for seed in seeds])


def comparison(analysis, arm):
    return next(c for c in analysis.comparisons if c.arm == arm)


def test_values_and_differences_over_the_seeds(analysis):
    arm, values = analysis.arms["diffenc"], means("diffenc")
    assert arm.bpd == pytest.approx(dict(zip(SEEDS, values, strict=True)))
    error = values.std(ddof=1) / np.sqrt(5)
    assert (arm.n, arm.mean, arm.standard_error) == (5, pytest.approx(values.mean()), pytest.approx(error))
    assert arm.interval == pytest.approx((values.mean() - 2.776445 * error, values.mean() + 2.776445 * error))
    differences, found = values - means("vdm"), comparison(analysis, "diffenc")
    assert list(found.difference.values()) == pytest.approx(differences)
    assert (found.mean, found.standard_error) == pytest.approx((differences.mean(), differences.std(ddof=1) / 5**0.5))
    assert comparison(analysis, "nontrainable").changes == {"model.encoder.kind": "nontrainable"}
    assert found.changes["model.encoder.layers"] == 2


def test_each_test_is_named_as_what_it_is(analysis):
    a, b = means("nontrainable"), means("vdm")
    tests = comparison(analysis, "nontrainable").tests
    assert list(tests) == ["paired t", "exact sign-flip permutation", "Welch t"]
    for name, expected in {
        "paired t": scipy.stats.ttest_rel(a, b),
        "Welch t": scipy.stats.ttest_ind(a, b, equal_var=False),
    }.items():
        assert tests[name].statistic == pytest.approx(expected.statistic)
        assert tests[name].p_two_sided == pytest.approx(expected.pvalue)
        assert tests[name].p_one_sided_greater == pytest.approx(expected.pvalue / 2)
    assert tests["exact sign-flip permutation"].p_two_sided == pytest.approx(2 / 32)


def test_p_values_are_corrected_over_the_comparisons(analysis):
    tests = sorted((c.tests["paired t"] for c in analysis.comparisons), key=lambda test: test.p_two_sided)
    corrected = [2 * tests[0].p_two_sided, max(tests[1].p_two_sided, 2 * tests[0].p_two_sided)]
    assert [test.holm_p_two_sided for test in tests] == pytest.approx(corrected)


def test_noise_is_told_from_seeds(analysis):
    """Noise of 0.05 over 40 images and 4 passes; it adds to what seeds do."""
    noise = 0.05 / np.sqrt(40 * 4)
    for subject, expected in ((analysis.arms["vdm"], noise), (comparison(analysis, "diffenc"), noise * np.sqrt(2))):
        parts = subject.between_seeds
        assert parts.between == pytest.approx(subject.sd)
        assert parts.between**2 == pytest.approx(parts.noise**2 + parts.seeds**2)
        assert parts.noise == pytest.approx(expected, rel=0.2)


def test_pairing_shows_smaller_differences(analysis):
    """What a seed does to all arms, 0.02, is four times what it does to one."""
    power = comparison(analysis, "diffenc").power
    assert power["paired"].detectable_difference < power["welch"].detectable_difference / 2
    assert power["paired"].seeds_needed < power["welch"].seeds_needed


def test_seeds_that_one_arm_lacks_are_left_out_of_pairs_alone():
    analysis = analysed(vdm=range(5), diffenc=(1, 2, 4))
    assert analysis.common_seeds == [1, 2, 4]
    assert list(analysis.arms["vdm"].bpd) == [0, 1, 2, 3, 4]
    assert analysis.arms["vdm"].mean == pytest.approx(means("vdm", (1, 2, 4)).mean())
    (found,) = analysis.comparisons
    expected = scipy.stats.ttest_rel(means("diffenc", (1, 2, 4)), means("vdm", (1, 2, 4)))
    assert (found.paired_seeds, found.tests["paired t"].p_two_sided) == ([1, 2, 4], pytest.approx(expected.pvalue))
    unpaired = scipy.stats.ttest_ind(means("diffenc", (1, 2, 4)), means("vdm"), equal_var=False)
    assert found.tests["Welch t"].p_two_sided == pytest.approx(unpaired.pvalue)


def test_arms_without_a_common_seed_are_tested_unpaired_alone():
    analysis = analysed(vdm=(0, 1), diffenc=(2, 3))
    assert [(arm.n, arm.mean) for arm in analysis.arms.values()] == [(0, None)] * 2
    (found,) = analysis.comparisons
    expected = scipy.stats.ttest_ind(means("diffenc", (2, 3)), means("vdm", (0, 1)), equal_var=False)
    assert {name: test.p_two_sided for name, test in found.tests.items()} == {"Welch t": pytest.approx(expected.pvalue)}
    assert found.mean is None


def test_one_seed_is_not_tested():
    analysis = analysed(vdm=(3,), diffenc=(3,))
    assert analysis.arms["vdm"].interval is None
    assert (analysis.comparisons[0].tests, analysis.comparisons[0].power) == ({}, {})

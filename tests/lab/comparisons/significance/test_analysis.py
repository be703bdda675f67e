"""The numbers of an analysis against ones by hand, from made-up runs, and the curves of training."""

import numpy as np
import pytest
import scipy.stats

from diffenc_jax.lab.comparisons.significance.analysis import Fall, analyse, fall_of, learning_curves
from diffenc_jax.lab.comparisons.significance.figure import draw_analysis, draw_curves, learning_panels
from diffenc_jax.lab.stats.hypotheses import PAIRED_T, SIGN_FLIP, WELCH_T
from diffenc_jax.lab.stats.power import detectable_difference, seeds_needed
from tests.lab.comparisons.significance import made_up

ARMS, SEEDS = ("vdm", "diffenc", "nontrainable"), range(5)


@pytest.fixture(scope="module")
def analysis():
    return made_up.analysed(**dict.fromkeys(ARMS, SEEDS))


def means(arm, seeds=SEEDS):
    return np.array([made_up.values(arm, seed).mean() for seed in seeds])


def test_values_and_differences_over_the_seeds(analysis):
    arm, values, (found, other) = analysis.arms["diffenc"], means("diffenc"), analysis.comparisons
    assert arm.bpd == pytest.approx(dict(zip(SEEDS, values, strict=True)))
    error = values.std(ddof=1) / np.sqrt(5)
    assert (arm.n, arm.mean, arm.standard_error) == (5, pytest.approx(values.mean()), pytest.approx(error))
    assert arm.interval == pytest.approx((values.mean() - 2.776445 * error, values.mean() + 2.776445 * error))
    differences = values - means("vdm")
    assert list(found.difference.values()) == pytest.approx(differences)
    assert (found.mean, found.sd) == pytest.approx((differences.mean(), differences.std(ddof=1)))
    assert found.detectable_difference == pytest.approx(detectable_difference(found.sd, 5))
    assert found.seeds_needed == seeds_needed(0.01, found.sd)
    assert other.changes == {"model.encoder.kind": "nontrainable"}


def test_tests_are_named_and_corrected_over_the_comparisons(analysis):
    for comparison in analysis.comparisons:
        a, b, own = means(comparison.arm), means("vdm"), comparison.tests
        assert own[PAIRED_T].p_two_sided == pytest.approx(scipy.stats.ttest_rel(a, b).pvalue)
        assert own[WELCH_T].p_two_sided == pytest.approx(scipy.stats.ttest_ind(a, b, equal_var=False).pvalue)
        assert own[SIGN_FLIP].p_two_sided == pytest.approx(2 / 32)
    small, large = sorted((c.tests[PAIRED_T].p_two_sided, c.corrected[PAIRED_T]) for c in analysis.comparisons)
    assert (small[1], large[1]) == pytest.approx((2 * small[0], max(large[0], 2 * small[0])))


def test_seeds_that_one_arm_lacks_are_left_out_of_pairs():
    analysis = made_up.analysed(vdm=range(5), diffenc=(1, 2, 4))
    assert analysis.common_seeds == [1, 2, 4]
    assert list(analysis.arms["vdm"].bpd) == [0, 1, 2, 3, 4]
    assert analysis.arms["vdm"].mean == pytest.approx(means("vdm", (1, 2, 4)).mean())
    (found,) = analysis.comparisons
    expected = scipy.stats.ttest_rel(means("diffenc", (1, 2, 4)), means("vdm", (1, 2, 4)))
    assert (list(found.difference), found.tests[PAIRED_T].p_two_sided) == ([1, 2, 4], pytest.approx(expected.pvalue))
    unpaired = scipy.stats.ttest_ind(means("diffenc", (1, 2, 4)), means("vdm"), equal_var=False)
    assert found.tests[WELCH_T].p_two_sided == pytest.approx(unpaired.pvalue)


def test_what_few_seeds_do_not_determine_is_none():
    apart, one = made_up.analysed(vdm=(0, 1), diffenc=(2, 3)), made_up.analysed(vdm=(3,), diffenc=(3,))
    assert [(arm.n, arm.mean) for arm in apart.arms.values()] == [(0, None)] * 2
    assert (list(apart.comparisons[0].tests), apart.comparisons[0].mean) == ([WELCH_T], None)
    assert (one.arms["vdm"].interval, one.comparisons[0].tests, one.comparisons[0].seeds_needed) == (None, {}, None)


def test_curves_have_the_steps_that_all_seeds_have():
    whole = [{"step": 10, "bpd": 4.0}, {"step": 20, "bpd": 3.0}, {"step": 15, "test_total": 2.0}]
    curves = learning_curves({"vdm": [whole, [{"step": 20, "bpd": 6.0}, {"step": 15, "test_total": 3.0}]]}, "test")
    assert curves["vdm"] == {"training": [(20, [3.0, 6.0])], "evaluation": [(15, [2.0, 3.0])]}


def test_the_fall_is_that_since_the_last_evaluation_in_three_quarters():
    evaluations = [(500, [2.5, 2.7]), (1000, [2.0, 2.2]), (1500, [1.9, 2.0])]
    assert fall_of(evaluations) == Fall(pytest.approx(0.15), 1000)
    assert fall_of(evaluations[-1:]) is fall_of([]) is None


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("is_real", [False, True])
def test_bands_end_at_zero_unless_the_data_are_real_numbers(is_real):
    """Bits/dim of images cannot be negative; the interval of three seeds extends below zero."""
    points = [(step, [0.01, 0.02, 0.9]) for step in (10, 20)]
    kinds = dict.fromkeys(("training", "evaluation"), points)
    figure = draw_curves({"vdm": kinds}, learning_panels("test"), is_real=is_real)
    lows = [path.vertices[:, 1].min() for axes in figure.axes for band in axes.collections for path in band.get_paths()]
    expected = np.mean(points[0][1]) - 4.302653 * np.std(points[0][1], ddof=1) / np.sqrt(3)
    assert expected < 0
    assert lows == pytest.approx([expected if is_real else 0.0] * 2)
    analysis = analyse(made_up.finished(made_up.per_seed(vdm=points[0][1])), "vdm", 0.01)
    low, _ = draw_analysis(analysis, "digits", is_real).axes[0].get_xlim()
    assert (low < expected) if is_real else (low == 0)

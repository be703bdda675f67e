"""The numbers of an analysis against ones by hand, from made-up runs."""

import numpy as np
import pytest
import scipy.stats

from diffenc_jax.lab.studies.significance.analysis import analyse
from diffenc_jax.lab.studies.significance.finished import find_runs
from tests.lab.studies.significance import made_up

ARMS, SEEDS = ("vdm", "diffenc", "nontrainable"), range(5)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    root = made_up.write_all(tmp_path_factory.mktemp("root"), ARMS, SEEDS)
    return analyse(find_runs(root, None)[0], "vdm", 0.01)


def means(arm, seeds=SEEDS):
    return np.array([made_up.values(arm, seed).mean() for seed in seeds])


def comparison(analysis, arm):
    return next(c for c in analysis["comparisons"] if c["arm"] == arm)


def test_an_arm_over_its_seeds(analysis):
    arm, values = analysis["arms"]["diffenc"], means("diffenc")
    assert arm["bpd"] == pytest.approx({str(seed): value for seed, value in zip(SEEDS, values, strict=True)})
    error = values.std(ddof=1) / np.sqrt(5)
    assert (arm["n"], arm["mean"], arm["standard_error"]) == (5, pytest.approx(values.mean()), pytest.approx(error))
    assert arm["interval"] == pytest.approx((values.mean() - 2.776445 * error, values.mean() + 2.776445 * error))


def test_differences_are_paired_by_seed(analysis):
    differences = means("diffenc") - means("vdm")
    found = comparison(analysis, "diffenc")
    assert list(found["difference"].values()) == pytest.approx(differences)
    assert found["mean"] == pytest.approx(differences.mean())
    assert found["standard_error"] == pytest.approx(differences.std(ddof=1) / np.sqrt(5))


def test_each_test_is_named_as_what_it_is(analysis):
    a, b = means("nontrainable"), means("vdm")
    tests = comparison(analysis, "nontrainable")["tests"]
    assert list(tests) == ["paired t", "exact sign-flip permutation", "Welch t"]
    for name, expected in {
        "paired t": scipy.stats.ttest_rel(a, b),
        "Welch t": scipy.stats.ttest_ind(a, b, equal_var=False),
    }.items():
        assert tests[name]["statistic"] == pytest.approx(expected.statistic)
        assert tests[name]["p_two_sided"] == pytest.approx(expected.pvalue)
        assert tests[name]["p_one_sided_greater"] == pytest.approx(expected.pvalue / 2)
    assert tests["exact sign-flip permutation"]["p_two_sided"] == pytest.approx(2 / 32)


def test_p_values_are_corrected_over_the_comparisons(analysis):
    plain = {c["arm"]: c["tests"]["paired t"]["p_two_sided"] for c in analysis["comparisons"]}
    first, second = sorted(plain, key=plain.get)
    corrected = {c["arm"]: c["tests"]["paired t"]["holm_p_two_sided"] for c in analysis["comparisons"]}
    assert corrected[first] == pytest.approx(2 * plain[first])
    assert corrected[second] == pytest.approx(max(plain[second], corrected[first]))


def test_noise_is_told_from_seeds(analysis):
    """Noise of 0.05 over 40 images and 4 passes; it adds to what seeds do."""
    for subject in (analysis["arms"]["vdm"], comparison(analysis, "diffenc")):
        parts = subject["between_seeds"]
        assert parts["between"] == pytest.approx(subject["sd"])
        assert parts["between"] ** 2 == pytest.approx(parts["noise"] ** 2 + parts["seeds"] ** 2)
    noise = 0.05 / np.sqrt(40 * 4)
    assert analysis["arms"]["vdm"]["between_seeds"]["noise"] == pytest.approx(noise, rel=0.2)
    assert comparison(analysis, "diffenc")["between_seeds"]["noise"] == pytest.approx(noise * np.sqrt(2), rel=0.2)


def test_pairing_shows_smaller_differences(analysis):
    """What a seed does to all arms, 0.02, is four times what it does to one."""
    power = comparison(analysis, "diffenc")["power"]
    assert power["paired"]["detectable_difference"] < power["welch"]["detectable_difference"] / 2
    assert power["paired"]["seeds_needed"] < power["welch"]["seeds_needed"]


def test_what_an_arm_has_otherwise(analysis):
    assert comparison(analysis, "nontrainable")["changes"] == {"model.encoder.kind": "nontrainable"}
    changes = comparison(analysis, "diffenc")["changes"]
    assert (changes["model.encoder.kind"], changes["model.encoder.layers"]) == ("trainable", 2)


def test_seeds_that_one_arm_lacks_are_left_out_of_pairs_alone(tmp_path):
    made_up.write_all(tmp_path, ("vdm",), range(5))
    made_up.write_all(tmp_path, ("diffenc",), (1, 2, 4))
    analysis = analyse(find_runs(tmp_path, None)[0], "vdm", 0.01)
    assert analysis["common_seeds"] == [1, 2, 4]
    assert list(analysis["arms"]["vdm"]["bpd"]) == ["0", "1", "2", "3", "4"]
    assert analysis["arms"]["vdm"]["mean"] == pytest.approx(means("vdm", (1, 2, 4)).mean())
    (found,) = analysis["comparisons"]
    assert found["paired_seeds"] == [1, 2, 4]
    expected = scipy.stats.ttest_rel(means("diffenc", (1, 2, 4)), means("vdm", (1, 2, 4)))
    assert found["tests"]["paired t"]["p_two_sided"] == pytest.approx(expected.pvalue)
    unpaired = scipy.stats.ttest_ind(means("diffenc", (1, 2, 4)), means("vdm"), equal_var=False)
    assert found["tests"]["Welch t"]["p_two_sided"] == pytest.approx(unpaired.pvalue)


def test_arms_without_a_common_seed_are_tested_unpaired_alone(tmp_path):
    made_up.write_all(tmp_path, ("vdm",), (0, 1))
    made_up.write_all(tmp_path, ("diffenc",), (2, 3))
    analysis = analyse(find_runs(tmp_path, None)[0], "vdm", 0.01)
    assert [(arm["n"], arm["mean"]) for arm in analysis["arms"].values()] == [(0, None)] * 2
    (found,) = analysis["comparisons"]
    expected = scipy.stats.ttest_ind(means("diffenc", (2, 3)), means("vdm", (0, 1)), equal_var=False)
    assert list(found["tests"]) == ["Welch t"]
    assert found["tests"]["Welch t"]["p_two_sided"] == pytest.approx(expected.pvalue)
    assert "mean" not in found


def test_one_seed_is_not_tested(tmp_path):
    made_up.write_all(tmp_path, ("vdm", "diffenc"), (3,))
    found = analyse(find_runs(tmp_path, None)[0], "vdm", 0.01)
    assert found["arms"]["vdm"]["interval"] is None
    assert found["comparisons"][0]["tests"] == {}
    assert found["comparisons"][0]["power"] == {}

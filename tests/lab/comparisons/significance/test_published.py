"""The published comparisons: their arms, and measured values beside the published ones."""

import numpy as np
import pytest
from scipy import stats

from diffenc_jax.config import load_config
from diffenc_jax.core.document import Table, markdown
from diffenc_jax.lab.comparisons.significance.analysis import analyse
from diffenc_jax.lab.comparisons.significance.published import COMPARISONS, beside_published
from tests.lab.comparisons.significance import made_up

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

"""The table of the published comparisons: its arms, lengths and costs are those of the configurations."""

import pytest

from diffenc_jax.config import load_config
from diffenc_jax.core.document import Table, markdown
from diffenc_jax.data.dataset import image_shape
from diffenc_jax.lab.studies.reproduction.comparisons import COMPARISONS
from diffenc_jax.lab.studies.reproduction.table import hours_by_chips, listing
from diffenc_jax.model import ImageSpec
from diffenc_jax.train.flops import count

ARMS = [(name, arm) for name, comparison in COMPARISONS.items() for arm in comparison.arms]


@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_arms_are_those_of_the_configuration(name, arm):
    comparison = COMPARISONS[name]
    config = load_config(f"{comparison.config}:{arm}", comparison.overrides)
    assert config.train.steps == comparison.steps
    assert config.train.ends_every == 1
    assert set(comparison.flops_per_step) == set(comparison.arms)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_flops_are_those_that_are_counted(name, arm):
    config = load_config(f"{COMPARISONS[name].config}:{arm}")
    counted = count(config, ImageSpec(image_shape(config.data), config.data.pixel_levels)).flops_per_step
    assert COMPARISONS[name].flops_per_step[arm] == pytest.approx(counted, rel=1e-3)


def test_costs_by_hand():
    """(5.79 + 7.033) TFLOP x 2 M steps x 5 seeds = 1.2823e20 FLOP; 4 chips x 0.4 x 197e12 FLOP/s = 3.152e14 FLOP/s."""
    small = COMPARISONS["cifar10-small"]
    assert small.flops == pytest.approx(1.2823e20)
    assert hours_by_chips(small) == pytest.approx([113.006, 28.2516, 7.0629], rel=1e-4)


def test_the_listing_has_every_comparison_and_says_what_is_not_known():
    page = listing(COMPARISONS)
    figures, costs = [block for block in page.blocks if isinstance(block, Table)]
    assert ["cifar10-large", "diffenc-published", 3, "8,000,000", "2.620 ± 0.006"] in [
        [*row[:-1], str(row[-1])] for row in figures.rows
    ]
    assert ["cifar10-small", "1.3e+20", "113", "28", "7"] in costs.rows
    assert {row[0] for row in costs.rows} == set(COMPARISONS)
    assert "not known" in markdown(page)

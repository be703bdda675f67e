"""The table of the published comparisons: its arms, lengths and costs are those of the configurations."""

import pytest

from diffenc_jax.config import load_config
from diffenc_jax.core.document import Table, markdown
from diffenc_jax.data.dataset import image_shape
from diffenc_jax.lab.studies.reproduction.comparisons import COMPARISONS, listing
from diffenc_jax.model import ImageSpec
from diffenc_jax.train.flops import count

ARMS = [(name, arm) for name, comparison in COMPARISONS.items() for arm in comparison.arms]


@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_arms_are_those_of_the_configuration(name, arm):
    config = load_config(f"{COMPARISONS[name].config}:{arm}", COMPARISONS[name].overrides)
    assert (config.train.steps, config.train.ends_every) == (COMPARISONS[name].steps, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_flops_are_those_that_are_counted(name, arm):
    config = load_config(f"{COMPARISONS[name].config}:{arm}")
    counted = count(config, ImageSpec(image_shape(config.data), config.data.pixel_levels)).flops_per_step
    assert COMPARISONS[name].arms[arm].flops_per_step == pytest.approx(counted, rel=1e-3)


def test_the_listing_has_every_comparison_and_says_what_is_not_known():
    """(5.79 + 7.033) TFLOP x 2 M steps x 5 seeds = 1.3e20 FLOP; at 4 chips x 0.4 x 197e12 FLOP/s, 113 hours."""
    figures, costs = [block for block in listing().blocks if isinstance(block, Table)]
    assert ["cifar10-large", "diffenc-published", 3, "8,000,000", "2.620 ± 0.006"] in [
        [*row[:-1], str(row[-1])] for row in figures.rows
    ]
    assert ["cifar10-small", "1.3e+20", "113", "28", "7"] in costs.rows
    assert {row[0] for row in costs.rows} == set(COMPARISONS)
    assert "not known" in markdown(listing())

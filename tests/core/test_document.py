"""Columns of tables that hold numbers."""

import pytest

from diffenc_jax.core.document import Table, numeric_columns

COLUMNS = [
    (["1.8912 ± 0.0031 ± –", "", "1.2 .. 1.3", "3e-05", "-inf", "nan"], True),
    (["64 or 32", "8,000,000", 17, "1.9 (0.25)", "100.0 %", "0.5 (p 0.3)", "0.987 (z -1.2)"], True),
    ([], True),
    (["1.9", "vdm"], False),
    (["1500-depth250"], False),
]


@pytest.mark.parametrize(("cells", "numeric"), COLUMNS)
def test_columns_of_numbers(cells, numeric):
    assert numeric_columns(Table(["name", "value"], [["1", cell] for cell in cells])) == [False, numeric]

"""Figures that are drawn fast."""

import pytest

from diffenc_jax.lab.figures import style


@pytest.fixture(scope="module")
def sketched():
    """Figures have few pixels and no layout, for tests of what stands beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 30)
        patch.setattr(style, "STYLE", [style.STYLE, {"figure.constrained_layout.use": False}])
        yield

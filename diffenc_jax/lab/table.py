"""The parts of the lab by kind and short name; see `core/parts.py`."""

from diffenc_jax.core.parts import Entry

PARTS: dict[str, dict[str, Entry]] = {
    "estimator": {"code_length": Entry("diffenc_jax.lab.coding.code_length:CodeLength")},
}

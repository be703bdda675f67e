"""Kernels that are divided over devices by image, on eight fake ones."""

from tests.processes import python

SHARDED = """
import jax
import numpy as np
from diffenc_jax.nets.kernels import attention
from diffenc_jax.nets.kernels.by_image import by_image
from tests.nets.kernels.attention_formula import kernel_of, random

attention._kernel = kernel_of

def values(query, key, value, out_bar):
    out, transpose = jax.vjp(attention.on_gpu, query, key, value)
    many = by_image(lambda *arrays: [sum(arrays)], *[query] * 12)
    return out, *transpose(out_bar), *many

arrays = random((8, 6, 4))
expected = jax.jit(values)(*arrays)
mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
axes = [("data", "fsdp")], [None, None, "fsdp"]
rows, columns = (jax.sharding.NamedSharding(mesh, jax.P(*each)) for each in axes)
for wanted, sharding in ((None, rows), (columns, columns)):
    results = jax.jit(values, out_shardings=wanted)(*jax.device_put(arrays, rows))
    for got, whole in zip(results, expected, strict=True):
        assert got.sharding.is_equivalent_to(sharding, 3), got.sharding
        np.testing.assert_allclose(got, whole, rtol=1e-5, atol=1e-6)
"""


def test_kernels_keep_batches_sharded():
    """Also where the results are wanted otherwise, and for functions of many arrays."""
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    python("-c", SHARDED, XLA_FLAGS=flags)

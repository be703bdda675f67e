"""Flags of XLA for tests, to be set before JAX is imported."""

from importlib.metadata import version

from packaging.version import Version

# Compilation, not arithmetic, is what the tests' time goes into. Until jaxlib 0.11.0 there is no optimization, and the
# emitters of fusions that go through MLIR, which take half of it, are off. Later versions have no others; without
# optimization their code rounds differently by the size of the batch, to 2e-4 of a value (2e-7 with level 1).
if Version(version("jaxlib")) < Version("0.11.1"):
    QUICKLY_COMPILED = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
else:
    QUICKLY_COMPILED = "--xla_backend_optimization_level=1"

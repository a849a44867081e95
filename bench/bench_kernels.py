"""pytest bench: each kernel of bench/kernels.py, by pytest-benchmark. tests/ validate them."""

import pytest

from bench.kernels import KERNELS


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_kernel(benchmark, kernel, dtype):
    benchmark(kernel.make(dtype))
    if benchmark.stats:  # none with --benchmark-disable
        figures = kernel.figures(dtype, benchmark.stats["median"])
        rounded = {k: round(v, 1) for k, v in figures.items() if k.startswith(("g", "p", "o"))}
        benchmark.extra_info.update(rounded)

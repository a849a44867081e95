"""pytest bench: each kernel alone, and one epoch against the oracle in turns."""

import numpy as np
import pytest

from bench import epoch
from bench.conftest import RATIOS
from fastbp import engine, kernels

SHAPES = [(10, 784, 30), (128, 1024, 1024)]
DTYPES = ["float64", "float32"]


def randoms(dtype, *shapes):
    rng = np.random.default_rng(0)
    return [rng.random(shape).astype(dtype) for shape in shapes]


def note_flops(benchmark, flops):
    """Record GFLOP/s beside the times."""
    if benchmark.stats:  # none with --benchmark-disable
        benchmark.extra_info["gflops"] = round(flops / benchmark.stats["median"] / 1e9, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n_in", "n_out"), SHAPES)
class TestLayerKernels:
    def test_forward_layer(self, benchmark, m, n_in, n_out, dtype):
        args = randoms(dtype, (m, n_out), (m, n_in), (n_out, n_in), n_out)
        benchmark(kernels.forward_layer, *args)
        np.testing.assert_allclose(
            args[0][0, 0], 1 / (1 + np.exp(-(args[1][0] @ args[2][0] + args[3][0]))), rtol=1e-4
        )
        note_flops(benchmark, 2 * m * n_in * n_out)

    def test_backward_layer(self, benchmark, m, n_in, n_out, dtype):
        args = randoms(dtype, (m, n_in), (m, n_out), (n_out, n_in), (m, n_in))
        benchmark(kernels.backward_layer, *args)
        note_flops(benchmark, 2 * m * n_in * n_out)

    def test_update_layer(self, benchmark, m, n_in, n_out, dtype):
        args = randoms(dtype, (n_out, n_in), n_out, (m, n_out), (m, n_in))
        benchmark(kernels.update_layer, *args, np.dtype(dtype).type(1e-6), 0, n_out)
        note_flops(benchmark, 2 * m * n_in * n_out)

    def test_gradient_layer(self, benchmark, m, n_in, n_out, dtype):
        args = randoms(dtype, (n_out, n_in), n_out, (m, n_out), (m, n_in))
        benchmark(kernels.gradient_layer, *args)
        note_flops(benchmark, 2 * m * n_in * n_out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_rows(benchmark, dtype):
    A, b = randoms(dtype, (100, 1000), 1000)
    benchmark(kernels.sigmoid_rows, A, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_output_delta(benchmark, dtype):
    Delta, A, Y = randoms(dtype, (1000, 10), (1000, 10), (1000, 10))
    benchmark(kernels.output_delta, Delta, A, Y, np.arange(1000))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", ["uint8", "float32", "float64"])
def test_gather(benchmark, stored, dtype):
    (X,), A = randoms(stored, (10_000, 784)), np.empty((1000, 784), dtype)
    order = np.random.default_rng(0).permutation(10_000)[:1000]
    benchmark(kernels.gather, A, *engine._pixels(X), order)


@pytest.fixture(scope="module")
def listed():
    """Images as sparse as digits, their lists in both dtypes, and a mini-batch."""
    rng = np.random.default_rng(0)
    X = (rng.random((10_000, 784)) * (rng.random((10_000, 784)) < 0.19)).astype(np.float32)
    lists = {dtype: engine._listed(X, np.dtype(dtype)) for dtype in DTYPES}
    return X, lists, rng.permutation(10_000)[:100]


@pytest.mark.parametrize("dtype", DTYPES)
class TestListedKernels:
    def test_list_pixels(self, benchmark, listed, dtype):
        benchmark(engine._listed, listed[0], np.dtype(dtype))

    def test_listed_forward(self, benchmark, listed, dtype):
        pad, panels = randoms(dtype, 100 * kernels.PANEL, 784 * kernels.PANEL)
        args = *listed[1][dtype], listed[2], 100, 784, 0, 0, 100
        benchmark(kernels.listed_forward, pad, panels, *args)
        note_flops(benchmark, 2 * 100 * 784 * kernels.PANEL)  # as many as a dense layer has

    def test_listed_update(self, benchmark, listed, dtype):
        pad, panels = randoms(dtype, 100 * kernels.PANEL, 784 * kernels.PANEL)
        args = *listed[1][dtype], listed[2], 100, 784, 0
        benchmark(kernels.listed_update, panels, 1e-9 * pad, *args)
        note_flops(benchmark, 2 * 100 * 784 * kernels.PANEL)


def test_shuffle(benchmark):
    benchmark(engine.shuffle, np.arange(50_000))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_evaluate(benchmark, threads, dtype):
    plan = engine.plan_of((784, 100, 10))
    params, X = randoms(dtype, plan.n_params, (10_000, 784))
    benchmark(engine.feedforward, params, plan, X, threads)
    note_flops(benchmark, plan.forward_flops * 10_000)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_gradient(benchmark, threads, dtype):
    plan = engine.plan_of((784, 100, 10))
    params, X, Y = randoms(dtype, plan.n_params, (1000, 784), (1000, 10))
    benchmark(engine.gradient, params, plan, X, Y, threads)
    note_flops(benchmark, plan.flops * 1000)


@pytest.fixture(scope="module")
def contest():
    *sets, _ = epoch.data()
    contest = epoch.Contest([784, 30, 10], 10, sets)
    contest.warm_up()
    return contest


@pytest.mark.parametrize("dtype", DTYPES)
def test_epoch_against_the_oracle(benchmark, contest, dtype):
    """The oracle takes its turn before each of fastbp's."""
    benchmark.pedantic(contest.epoch, (dtype,), setup=contest.oracle_epoch, rounds=5)
    line = (
        f"[784, 30, 10], mini-batch 10, {dtype}, one thread: {contest.ratio(dtype):.1f}x "
        f"({contest.median('oracle'):.3f} s against {contest.median(dtype):.3f} s)"
    )
    benchmark.extra_info["ratio"] = contest.ratio(dtype)
    RATIOS.append(line)

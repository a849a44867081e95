"""pytest bench: each kernel alone, and one epoch against the oracle in turns."""

import statistics

import numpy as np
import pytest

from bench import kernel_list, peaks, work
from bench.conftest import RATIOS
from bench.peers import BookOracle, Fastbp
from fastbp.data import parameters
from fastbp.training import engine

DTYPES = ["float64", "float32"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", kernel_list.KERNELS, ids=lambda kernel: kernel.name)
def test_kernel(benchmark, kernel, dtype):
    benchmark(kernel.make(dtype))
    if benchmark.stats:  # none with --benchmark-disable
        figures = kernel_list.figures(kernel, dtype, benchmark.stats["median"])
        rounded = {k: round(v, 1) for k, v in figures.items() if k.startswith(("g", "p", "o"))}
        benchmark.extra_info.update(rounded)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_timed_is_right(dtype):
    """A kernel that is timed must also be right; the rest of this is the business of tests/."""
    plan = engine.plan_of((784, 30))
    params, X = kernel_list.randoms(dtype, plan.n_params, (10, 784))
    ((w, b),) = parameters.layer_views(params, plan)
    wanted = 1 / (1 + np.exp(-(X @ w.T + b)))
    np.testing.assert_allclose(engine.feedforward(params, plan, X), wanted, rtol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_evaluate(benchmark, threads, dtype):
    plan = engine.plan_of((784, 100, 10))
    params, X = kernel_list.randoms(dtype, plan.n_params, (10_000, 784))
    benchmark(engine.feedforward, params, plan, X, threads)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_gradient(benchmark, threads, dtype):
    plan = engine.plan_of((784, 100, 10))
    params, X, Y = kernel_list.randoms(dtype, plan.n_params, (1000, 784), (1000, 10))
    benchmark(engine.gradient, params, plan, X, Y, threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    training, *_ = work.data()
    work.write_data(folder, *training)
    return str(folder)


@pytest.mark.parametrize("dtype", DTYPES)
def test_epoch_against_the_oracle(benchmark, folder, dtype):
    """The oracle takes its turn before each of fastbp's."""
    piece = work.Work((784, 30, 10), 10, 3.0, dtype, folder)
    ours, oracle = Fastbp(piece, 1), BookOracle(piece, 1)
    orders = piece.orders(len(ours.X), ours.epochs)
    ours.train(orders[:1])  # compiles
    seconds = []

    def oracle_epoch():
        oracle.reset()
        seconds.append(peaks.timed(oracle.train, orders[:1]))
        ours.reset()

    benchmark.pedantic(ours.train, (orders,), setup=oracle_epoch, rounds=3)
    if benchmark.stats:
        mine = benchmark.stats["median"] / ours.epochs
        theirs = statistics.median(seconds)
        benchmark.extra_info["ratio"] = theirs / mine
        RATIOS.append(
            f"[784, 30, 10], mini-batch 10, {dtype}, one thread: {theirs / mine:.1f}x "
            f"({theirs:.3f} s against {mine:.3f} s)"
        )

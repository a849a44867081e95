"""The kernels on one thread: a table and a roofline. `pytest bench` measures the same list.

make(dtype) returns a call without arguments; flops and items say what one call does at least, each
array counted once; blas is the shape (m, k, n) of the matrix product that it amounts to.
"""

import dataclasses
import functools
import unittest.mock
from collections.abc import Callable

import numpy as np
from numba import njit

from bench import peaks, pictures, tables, timing
from fastbp.data import parameters
from fastbp.kernels import jit, passes, updates
from fastbp.kernels.layout import places_of
from fastbp.training.compute import engine, threads
from fastbp.training.compute.plans import plan_of
from fastbp.training.compute.samples import Samples

TITLE = "Kernels, one thread, and passes over many samples"
SHAPES = [(10, 784, 30), (10, 784, 100), (128, 1024, 1024)]
DENSITY = 0.19  # of the pixels of MNIST are not zero
N_IMAGES, SPARSE_M, SPARSE_OUT = 10_000, 100, 32
HEADER = "kernel", "dtype", "microseconds", "GFLOP/s", "% of peak", "% of OpenBLAS"


@dataclasses.dataclass(frozen=True)
class Kernel:
    name: str
    make: Callable
    flops: float = 0  # 0: it moves data only
    items: float = 0  # numbers read and written, by kernels of the roofline
    blas: tuple | None = None
    threads: int = 1

    def figures(self, dtype, seconds):
        """Return seconds, and where it computes GFLOP/s, percent of peak and of OpenBLAS."""
        figures = dict(name=self.name, dtype=dtype, seconds=seconds)
        if self.flops:
            gflops = figures["gflops"] = self.flops / seconds / 1e9
            figures["percent_of_peak"] = 100 * gflops / peaks.fma_peak(dtype, self.threads)
            if self.items:
                figures["flops_per_byte"] = self.flops / self.items / np.dtype(dtype).itemsize
            if self.blas:
                blas = figures["openblas_gflops"] = peaks.blas_gflops(dtype, *self.blas)
                figures["percent_of_openblas"] = 100 * gflops / blas
        return figures


def randoms(dtype, *shapes):
    rng = np.random.default_rng(0)
    return [rng.random(shape).astype(dtype) for shape in shapes]


def images(stored="float32"):
    """Return images as sparse as digits are."""
    rng = np.random.default_rng(0)
    X = rng.random((N_IMAGES, 784)) * (rng.random((N_IMAGES, 784)) < DENSITY)
    return (X * 255 if stored == "uint8" else X).astype(stored)


# ------------------------------------------------ one layer of one mini-batch, on one thread

ZERO, ONE = np.intp(0), np.intp(1)


def read(net, l):
    passes.read_input(places_of(net), None, ZERO, ZERO, ONE)


def forward(net, l):
    passes.forward(places_of(net), None, ZERO, l, ZERO, ONE)


def backward(net, l):
    passes.backward(places_of(net), None, ZERO, l, -1e-9, ZERO, ONE)


def update(net, l):
    updates.update(places_of(net), None, ZERO, l, 1e-9, ZERO, ONE)


@functools.cache
def compiled(function):
    return njit(**jit.OPTIONS, _nrt=False)(function)


class Network:
    """A network with its arrays in memory as the engine has them, to call single kernels on.

    X: the samples; sparse: leave out their zeros.
    """

    def __init__(self, sizes, m, dtype, X, sparse=False):
        dtype, plan = np.dtype(dtype), plan_of(tuple(sizes))
        layout = plan.layout(dtype, m)
        (params,) = randoms(dtype, plan.n_params)
        weights = layout.pack(parameters.layer_views(1e-3 * params, plan))
        samples = Samples(X, np.zeros((len(X), sizes[-1]), dtype))
        self.order = order = np.random.default_rng(0).permutation(len(X))
        factor = samples.range_factor(dtype)
        self.net = layout.net(weights, weights, samples.stored, order[:m], sparse, factor)
        self.net.work[:] = 1e-3

    def call(self, function, l=0):
        """Return a call of a kernel for one mini-batch, or for the one that it is given."""
        function = compiled(function)

        def run(order=None):
            net = self.net
            if order is not None:
                net = net._replace(order=order, n_samples=len(order))
            function(net, l)

        return run


def _make(sizes, m, function, l=0, stored="float32", sparse=False):
    def make(dtype):
        net = Network(sizes, m, dtype, images(stored), sparse)
        net.call(read)()
        return net.call(function, l)

    return make


def _dense_kernels():
    for m, n_in, n_out in SHAPES:
        shape, sizes = f"{m} x {n_in} x {n_out}", (784, n_in, n_out)
        flops, weights, rows = 2 * m * n_in * n_out, n_in * n_out + n_out, m * (n_in + n_out)
        for name, function, l, items, blas in (
            ("forward", forward, 2, weights + rows, (m, n_in, n_out)),
            ("backward", backward, 1, weights + rows, (m, n_out, n_in)),
            ("update", update, 2, 2 * weights + rows, (n_out, m, n_in)),
        ):
            yield Kernel(f"{name} {shape}", _make(sizes, m, function, l), flops, items, blas)


def _sparse_kernels():
    sizes, m, weights = (784, SPARSE_OUT), SPARSE_M, 784 * SPARSE_OUT
    flops = 2 * DENSITY * m * weights
    items = weights + m * (SPARSE_OUT + 1.5 * DENSITY * 784)
    for name, function, more in (("forward", forward, 0), ("update", update, weights)):
        make = _make(sizes, m, function, 1, sparse=True)
        shape = f"{m} x 784 x {SPARSE_OUT}"
        yield Kernel(f"{name}_sparse {shape}", make, flops, items + more)
    for name, sparse in (("read_rows", False), ("list_nonzero", True)):
        for stored in ("uint8", "float32"):
            make = _make(sizes, m, read, stored=stored, sparse=sparse)
            yield Kernel(f"{name} {stored}", make)


def _whole_passes():
    plan, shape = plan_of((784, 100, 10)), "784 x 100 x 10"

    def make(dtype, m, gradient, n_threads):
        params, X, Y = randoms(dtype, plan.n_params, (m, 784), (m, 10))
        call = functools.partial(engine.feedforward, params, plan, X, n_threads)
        if gradient:
            call = functools.partial(engine.gradient, params, plan, X, Y, n_threads)
        if n_threads > 1:
            with unittest.mock.patch.object(threads, "mode", "always"):
                call()  # waits until the parallel driver is compiled
        return call

    for n_threads in (1, 2):
        for name, m, flops in (
            ("feedforward", 10_000, plan.forward_flops), ("gradient", 1_000, plan.flops),
        ):  # fmt: skip
            call = functools.partial(make, m=m, gradient=name == "gradient", n_threads=n_threads)
            name = f"{name} {m:,} x {shape}, {n_threads} thread(s)"
            yield Kernel(name, call, flops * m, threads=n_threads)


def _make_shuffle(dtype):
    return functools.partial(engine.shuffle, np.arange(50_000))


KERNELS = [
    *_dense_kernels(), *_sparse_kernels(), *_whole_passes(),
    Kernel("shuffle 50,000", _make_shuffle),
]  # fmt: skip


def measure(settings):
    """Return the table; draw the roofline."""
    budget = 0.01 if settings.quick else 0.15
    figures = [
        kernel.figures(dtype, timing.seconds_per_call(kernel.make(dtype), budget))
        for dtype in ("float32", "float64")
        for kernel in KERNELS
    ]
    fma = {dtype: peaks.fma_peak(dtype) for dtype in ("float32", "float64")}
    bandwidths = {
        "memory": peaks.bandwidth(peaks.IN_MEMORY),
        "second-level cache": peaks.bandwidth(peaks.IN_CACHE),
    }
    pictures.roofline(figures, fma, bandwidths, settings.results / "roofline.png")
    columns = "gflops", "percent_of_peak", "percent_of_openblas"
    rows = [
        (
            k["name"], k["dtype"], f"{k['seconds'] * 1e6:,.1f}",
            *(f"{k[column]:.0f}" if column in k else "-" for column in columns),
        )
        for k in figures
    ]  # fmt: skip
    limits = [f"{dtype}: {value:.0f} GFLOP/s" for dtype, value in fma.items()]
    limits += [f"{name}: {value:.0f} GB/s" for name, value in bandwidths.items()]
    table = tables.table(HEADER, rows)
    return (
        f"FMAs in registers, copies: {', '.join(limits)}.\n\n{table}\n![roofline](roofline.png)\n"
    )

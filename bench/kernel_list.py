"""The kernels that are measured: one list for the roofline and for `pytest bench`.

make(dtype) returns a call without arguments; flops and bytes say what one call does at least,
each array counted once; blas is the shape (m, k, n) of the matrix product that it amounts to.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from numba import njit

from fastbp.data import parameters
from fastbp.kernels import jit, passes, updates
from fastbp.kernels.layout import places_of
from fastbp.training import engine

SHAPES = [(10, 784, 30), (10, 784, 100), (128, 1024, 1024)]
IMAGES, LIT = 10_000, 0.19  # of a digit's pixels, so many are not zero
NEURONS = 32
ROWS = 100  # samples in the calls of the sparse kernels


@dataclasses.dataclass(frozen=True)
class Kernel:
    name: str
    make: Callable
    flops: float = 0  # 0: it moves data only
    items: float = 0  # numbers read and written
    blas: tuple | None = None

    def bytes(self, dtype):
        return self.items * np.dtype(dtype).itemsize


def randoms(dtype, *shapes):
    rng = np.random.default_rng(0)
    return [rng.random(shape).astype(dtype) for shape in shapes]


def images(stored="float32"):
    """Return images as sparse as digits are."""
    rng = np.random.default_rng(0)
    X = rng.random((IMAGES, 784)) * (rng.random((IMAGES, 784)) < LIT)
    return (X * 255 if stored == "uint8" else X).astype(stored)


# What is timed, for one layer of one mini-batch, on one thread.


def read(net, l):
    passes.read_input(places_of(net), None, np.intp(0), np.intp(0), np.intp(1))


def forward(net, l):
    passes.forward(places_of(net), None, np.intp(0), l, np.intp(0), np.intp(1))


def backward(net, l):
    passes.backward(places_of(net), None, np.intp(0), l, -1e-9, np.intp(0), np.intp(1))


def update(net, l):
    updates.update(places_of(net), None, np.intp(0), l, 1e-9, np.intp(0), np.intp(1))


@functools.cache
def compiled(function):
    return njit(**jit.OPTIONS, _nrt=False)(function)


class Network:
    """A net, its arrays in memory as the engine has them, of which single passes are called.

    X: the samples, dense ones if not given; sparse: leave out their zeros.
    """

    def __init__(self, sizes, m, dtype, X=None, sparse=False):
        self.m, dtype = m, np.dtype(dtype)
        plan = engine.plan_of(tuple(sizes))
        layout = plan.layout(dtype, m)
        (params,) = randoms(dtype, plan.n_params)
        weights = layout.pack(parameters.layer_views(1e-3 * params, plan))
        X = np.ones((m, sizes[0]), np.float32) if X is None else X
        samples = engine.Samples(X, np.zeros((len(X), sizes[-1]), dtype))
        self.order = np.random.default_rng(0).permutation(len(X))
        limit, order = samples.range_check(dtype), self.order[:m]
        self.net = layout.net(weights, weights, samples.stored, order, sparse, limit)
        self.net.work[:] = 1e-3

    def call(self, function, l=0):
        """Return a call of one pass, for one mini-batch or the one that it is given."""
        function = compiled(function)

        def run(order=None):
            net = self.net
            if order is not None:
                net = net._replace(order=order, n_samples=len(order))
            function(net, l)

        return run


def make(sizes, m, function, l=0, stored="float32", **how):
    def make(dtype):
        net = Network(sizes, m, dtype, images(stored), **how)
        net.call(read)()  # lists are not made in the time of who needs them
        return net.call(function, l)

    return make


def make_shuffle(dtype):
    order = np.arange(50_000)
    return lambda: engine.shuffle(order)


def _dense():
    for m, n_in, n_out in SHAPES:
        label = f"{m} x {n_in} x {n_out}"
        work, weights = 2 * m * n_in * n_out, n_in * n_out + n_out
        rows, sizes = m * (n_in + n_out), (784, n_in, n_out)
        yield Kernel(
            f"forward {label}", make(sizes, m, forward, 2), work, weights + rows, (m, n_in, n_out)
        )
        yield Kernel(
            f"backward {label}", make(sizes, m, backward, 1), work, weights + rows, (m, n_out, n_in)
        )
        yield Kernel(
            f"update {label}", make(sizes, m, update, 2), work, 2 * weights + rows, (n_out, m, n_in)
        )


_SPARSE_FLOPS = 2 * LIT * ROWS * 784 * NEURONS
_SPARSE_ITEMS = 784 * NEURONS + ROWS * (NEURONS + 1.5 * LIT * 784)
_WEIGHTS = 784 * NEURONS
_NET = 784, NEURONS

KERNELS = [
    *_dense(),
    Kernel(
        "forward_sparse", make(_NET, ROWS, forward, 1, sparse=True), _SPARSE_FLOPS, _SPARSE_ITEMS
    ),
    Kernel(
        "update_sparse",
        make(_NET, ROWS, update, 1, sparse=True),
        _SPARSE_FLOPS,
        _SPARSE_ITEMS + _WEIGHTS,
    ),
    *(
        Kernel(f"{name} {stored}", make(_NET, ROWS, read, stored=stored, sparse=sparse))
        for name, sparse in (("read_rows", False), ("list_nonzero", True))
        for stored in ("uint8", "float32")
    ),
    Kernel("shuffle", make_shuffle),
]


def measured(kernel, dtype):
    """Return the figures of one kernel on one thread."""
    from bench import peaks

    return figures(kernel, dtype, peaks.seconds_per_call(kernel.make(dtype)))


def figures(kernel, dtype, seconds):
    """Return seconds, and where it computes GFLOP/s, percent of peak and of OpenBLAS."""
    from bench import peaks

    result = {"name": kernel.name, "dtype": dtype, "seconds": seconds}
    if kernel.flops:
        gflops = kernel.flops / seconds / 1e9
        result["gflops"] = gflops
        result["flops_per_byte"] = kernel.flops / kernel.bytes(dtype)
        result["percent_of_peak"] = 100 * gflops / cached_peak(dtype)
        if kernel.blas and (blas := peaks.blas_gflops(dtype, *kernel.blas)):
            result["openblas_gflops"] = blas
            result["percent_of_openblas"] = 100 * gflops / blas
    return result


def cached_peak(dtype, _peaks={}):  # noqa: B006  (one measurement per run)
    from bench import peaks

    if dtype not in _peaks:
        _peaks[dtype] = peaks.fma_peak(dtype)
    return _peaks[dtype]

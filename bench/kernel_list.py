"""The kernels that are measured: one list for the roofline and for `pytest bench`.

make(dtype) returns a call without arguments; flops and bytes say what one call does at least,
each array counted once; blas is the shape (m, k, n) of the matrix product that it amounts to.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from numba import njit

from fastbp import engine, kernels, vectors

SHAPES = [(10, 784, 30), (10, 784, 100), (128, 1024, 1024)]
IMAGES, LIT = 10_000, 0.19  # of a digit's pixels, so many are not zero
NEURONS = 32
ROWS = 100  # samples in the calls of the listed kernels


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


def calling(function, *shapes, after=()):
    """Return make: function on random arrays of these shapes, then the arguments `after`."""

    def make(dtype):
        arguments = *randoms(dtype, *shapes), *(a(dtype) if callable(a) else a for a in after)
        return lambda: function(*arguments)

    return make


def small_rate(dtype):
    return np.dtype(dtype).type(1e-9)


def images(stored="float32"):
    """Return images as sparse as digits are."""
    rng = np.random.default_rng(0)
    return (rng.random((IMAGES, 784)) * (rng.random((IMAGES, 784)) < LIT)).astype(stored)


def make_gather(stored):
    def make(dtype):
        A, order = np.empty((1000, 784), dtype), np.random.default_rng(0).permutation(IMAGES)[:1000]
        pixels = engine._pixels(images(stored))
        return lambda: kernels.gather(A, *pixels, order)

    return make


# What is inner to the panel form has no entry from Python: these wrappers are one.


@njit(nogil=True)
def _forward(tiles, work, panels, layout, m, n):
    vectors.forward_panels(tiles, work, panels, layout, m, 1, 0, n, 0, m)


@njit(nogil=True)
def _backward(tiles, work, scratch, panels, layout, m, rate, n):
    vectors.backward_panels(tiles, work, scratch, panels, layout, m, 1, rate, 0, n, 0, m)


@njit(nogil=True)
def _update(tiles, work, panels, layout, m, n):
    vectors.update_panels(tiles, work, panels, layout, m, m, 1, 0, n, 0, layout[0, 0] + 1)


@njit(nogil=True)
def _activate(tiles, work, layout, m, n):
    vectors.activate(tiles, work, layout, m, 1, 0, n, 0, m)


@njit(nogil=True)
def _list(tiles, masks, columns, counts, values, pixels, kind, batch, layout):
    vectors.list_panels(
        tiles, masks, columns, counts, values, pixels, kind, batch, layout, 0, batch.size
    )


@njit(nogil=True)
def _listed_forward(
    tiles, work, panels, columns, counts, values, pixels, n_bytes, batch, layout, m, n
):
    vectors.forward_listed(
        tiles, work, panels, columns, counts, values, pixels, n_bytes, batch, layout, m,
        batch.size, 0, n, 0, batch.size,
    )  # fmt: skip


@njit(nogil=True)
def _listed_update(tiles, work, panels, columns, counts, values, batch, layout, m, n):
    vectors.update_listed(
        tiles, work, panels, columns, counts, values, layout, m, batch.size, 0, n
    )


@njit(nogil=True)
def _gather(tiles, work, pixels, kind, batch, layout, m):
    vectors.gather_panels(tiles, work, pixels, kind, batch, layout, m, 0, m)


class Panels:
    """The arrays of a net in the panel form, in memory as the engine has them."""

    def __init__(self, sizes, m, dtype):
        self.m, dtype = m, np.dtype(dtype)
        plan = engine.plan_of(tuple(sizes))
        layout = plan.layout(dtype)
        self.layout = layout.table
        self.tiles = vectors.tiles_for(dtype)
        self.lists = layout.lists(m, dtype)
        (params,) = randoms(dtype, plan.n_params)
        self.panels = layout.to_panels(1e-3 * params, plan)
        self.work = engine._zeros(m * layout.units, dtype)
        self.work[:] = 1e-3
        self.scratch = engine._zeros(layout.scratch, dtype)
        self.n = -(-sizes[1] // vectors.LANES)

    def forward(self):
        _forward(self.tiles, self.work, self.panels, self.layout, self.m, self.n)

    def backward(self):
        rate, at = self.work.dtype.type(1e-9), (self.work, self.scratch, self.panels)
        _backward(self.tiles, *at, self.layout, self.m, rate, self.n)

    def update(self):
        _update(self.tiles, self.work, self.panels, self.layout, self.m, self.n)

    def activate(self):
        _activate(self.tiles, self.work, self.layout, self.m, self.n)

    def list(self, X, batch):
        _list(self.tiles, *self.lists, *engine._pixels(X), batch, self.layout)

    def forward_listed(self, X, batch):
        pixels, at = engine._pixels(X)[0], (self.layout, self.m, self.n)
        lists, n_bytes = self.lists[1:], X[0].nbytes
        _listed_forward(self.tiles, self.work, self.panels, *lists, pixels, n_bytes, batch, *at)

    def update_listed(self, X, batch):
        at = batch, self.layout, self.m, self.n
        _listed_update(self.tiles, self.work, self.panels, *self.lists[1:], *at)

    def gather(self, X, order):
        _gather(self.tiles, self.work, *engine._pixels(X), order, self.layout, self.m)


def make_panels(sizes, m, name):
    return lambda dtype: getattr(Panels(sizes, m, dtype), name)


def make_listed(name):
    def make(dtype):
        net, X = Panels((784, NEURONS), ROWS, dtype), images()
        batch = np.random.default_rng(0).permutation(IMAGES)[:ROWS]
        net.list(X, batch)
        return lambda: getattr(net, name)(X, batch)

    return make


def make_gather_panels(stored):
    def make(dtype):
        net, X = Panels((784, 10), 1000, dtype), images(stored)
        order = np.random.default_rng(0).permutation(IMAGES)[:1000]
        return lambda: net.gather(X, order)

    return make


def make_shuffle(dtype):
    order = np.arange(50_000)
    return lambda: engine.shuffle(order)


def _layers():
    for m, n_in, n_out in SHAPES:
        label = f"{m} x {n_in} x {n_out}"
        work, weights = 2 * m * n_in * n_out, n_in * n_out + n_out
        shapes = (m, n_out), (m, n_in), (n_out, n_in), n_out
        yield Kernel(
            f"forward_layer {label}",
            calling(kernels.forward_layer, *shapes),
            work,
            weights + m * (n_in + n_out),
            (m, n_in, n_out),
        )
        yield Kernel(
            f"backward_layer {label}",
            calling(kernels.backward_layer, (m, n_in), (m, n_out), (n_out, n_in), (m, n_in)),
            work,
            weights + m * (2 * n_in + n_out),
            (m, n_out, n_in),
        )
        outer = (n_out, n_in), n_out, (m, n_out), (m, n_in)
        yield Kernel(
            f"update_layer {label}",
            calling(kernels.update_layer, *outer, after=(small_rate, 0, n_out)),
            work,
            2 * weights + m * (n_in + n_out),
            (n_out, m, n_in),
        )
        yield Kernel(
            f"gradient_layer {label}",
            calling(kernels.gradient_layer, *outer),
            work,
            2 * weights + m * (n_in + n_out),
            (n_out, m, n_in),
        )


def _panels():
    for m, n_in, n_out in SHAPES:
        label = f"{m} x {n_in} x {n_out}"
        work, weights = 2 * m * n_in * n_out, n_in * n_out + n_out
        rows = m * (n_in + n_out)
        forward = make_panels((n_in, n_out), m, "forward")
        backward = make_panels((1, n_in, n_out), m, "backward")
        update = make_panels((n_in, n_out), m, "update")
        yield Kernel(f"forward_panels {label}", forward, work, weights + rows, (m, n_in, n_out))
        yield Kernel(f"backward_panels {label}", backward, work, weights + rows, (m, n_out, n_in))
        yield Kernel(f"update_panels {label}", update, work, 2 * weights + rows, (n_out, m, n_in))


_LISTED_FLOPS = 2 * LIT * ROWS * 784 * NEURONS
_LISTED_ITEMS = 784 * NEURONS + ROWS * (NEURONS + 1.5 * LIT * 784)
_WEIGHTS = 784 * NEURONS

KERNELS = [
    *_panels(),
    *_layers(),
    Kernel("forward_listed", make_listed("forward_listed"), _LISTED_FLOPS, _LISTED_ITEMS),
    Kernel("update_listed", make_listed("update_listed"), _LISTED_FLOPS, _LISTED_ITEMS + _WEIGHTS),
    Kernel("activate 100 x 1000", make_panels((1, 1000), 100, "activate"), items=2e5),
    Kernel("sigmoid_rows", calling(kernels.sigmoid_rows, (100, 1000), 1000), items=2e5),
    Kernel(
        "output_delta",
        calling(kernels.output_delta, *[(1000, 10)] * 3, after=(lambda _: np.arange(1000),)),
        4 * 10_000,
        30_000,
    ),
    *(Kernel(f"gather {stored}", make_gather(stored)) for stored in ("uint8", "float32")),
    *(Kernel(f"gather_panels {s}", make_gather_panels(s)) for s in ("uint8", "float32")),
    Kernel("list_panels", make_listed("list")),
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

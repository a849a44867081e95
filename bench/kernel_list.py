"""The kernels that are measured: one list for the roofline and for `pytest bench`.

make(dtype) returns a call without arguments; flops and bytes say what one call does at least,
each array counted once; blas is the shape (m, k, n) of the matrix product that it amounts to.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from fastbp import engine, kernels, programs, vectors

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


def all_of(dtype):
    return np.arange(1000)


def one(dtype):
    return np.dtype(dtype).type(1)


def images(stored="float32"):
    """Return images as sparse as digits are."""
    rng = np.random.default_rng(0)
    X = rng.random((IMAGES, 784)) * (rng.random((IMAGES, 784)) < LIT)
    return (X * 255 if stored == "uint8" else X).astype(stored)


def make_gather(stored):
    def make(dtype):
        A, order = np.empty((1000, 784), dtype), np.random.default_rng(0).permutation(IMAGES)[:1000]
        pixels = engine._pixels(images(stored))
        return lambda: kernels.gather(A, *pixels, order)

    return make


class Panels:
    """A net in the panel form, its arrays in memory as the engine has them, step by step.

    X: the samples, images as sparse as digits are if not given; listed: leave out their zeros.
    """

    def __init__(self, sizes, m, dtype, X=None, listed=False):
        self.m, dtype = m, np.dtype(dtype)
        plan = engine.plan_of(tuple(sizes))
        layout = plan.layout(dtype)
        (params,) = randoms(dtype, plan.n_params)
        panels = layout.to_panels(1e-3 * params, plan)
        X = np.ones((m, sizes[0]), np.float32) if X is None else X
        data = *engine._pixels(X), listed, np.zeros((len(X), sizes[-1]), dtype)
        self.programs = programs.Programs(plan, panels, data, m, eta=1e-9)
        self.programs.work[:] = 1e-3
        self.order = np.random.default_rng(0).permutation(len(X))

    def call(self, name, *arguments):
        """Return a call of the steps of one phase, for one mini-batch or as many as it is given."""
        steps = getattr(self.programs, name)(*arguments, self.m, 0)
        table, now = programs.as_table(steps), np.zeros(vectors.NOW, np.int64)
        tiles = vectors.tiles_for(self.programs.dtype, table)
        team = np.zeros(vectors.TEAM, np.int64)

        def run(order=self.order[: self.m]):
            vectors.run_program(team, 0, 1, tiles, table, table, now, order, self.m)

        return run


def make_panels(sizes, m, name, *arguments, stored="float32", **form):
    def make(dtype):
        net = Panels(sizes, m, dtype, images(stored), **form)
        net.call("read")()  # lists are not made in the time of who needs them
        return net.call(name, *arguments)

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
            calling(kernels.forward_layer, *shapes, after=(kernels.SIGMOID,)),
            work,
            weights + m * (n_in + n_out),
            (m, n_in, n_out),
        )
        yield Kernel(
            f"backward_layer {label}",
            calling(
                kernels.backward_layer,
                (m, n_in),
                (m, n_out),
                (n_out, n_in),
                (m, n_in),
                after=(kernels.SIGMOID, one),
            ),
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
        forward = make_panels((784, n_in, n_out), m, "forward", 2)
        backward = make_panels((784, n_in, n_out), m, "backward", 1)
        update = make_panels((784, n_in, n_out), m, "update", 2)
        yield Kernel(f"forward_panels {label}", forward, work, weights + rows, (m, n_in, n_out))
        yield Kernel(f"backward_panels {label}", backward, work, weights + rows, (m, n_out, n_in))
        yield Kernel(f"update_panels {label}", update, work, 2 * weights + rows, (n_out, m, n_in))


_LISTED_FLOPS = 2 * LIT * ROWS * 784 * NEURONS
_LISTED_ITEMS = 784 * NEURONS + ROWS * (NEURONS + 1.5 * LIT * 784)
_WEIGHTS = 784 * NEURONS
_NET = 784, NEURONS


def _listed(name, l):
    return make_panels(_NET, ROWS, name, l, listed=True)


KERNELS = [
    *_panels(),
    *_layers(),
    Kernel("forward_listed", _listed("forward", 1), _LISTED_FLOPS, _LISTED_ITEMS),
    Kernel("update_listed", _listed("update", 1), _LISTED_FLOPS, _LISTED_ITEMS + _WEIGHTS),
    Kernel("activate 100 x 1000", make_panels((784, 1000), 100, "activate", 1), items=2e5),
    Kernel("sigmoid_rows", calling(kernels.sigmoid_rows, (100, 1000), 1000), items=2e5),
    Kernel(
        "output_delta",
        calling(kernels.output_delta, *[(1000, 10)] * 3, after=(all_of, kernels.SIGMOID)),
        4 * 10_000,
        30_000,
    ),
    *(Kernel(f"gather {stored}", make_gather(stored)) for stored in ("uint8", "float32")),
    *(
        Kernel(f"{name} {stored}", make_panels(_NET, ROWS, "read", stored=stored, listed=listed))
        for name, listed in (("gather_panels", False), ("list_pixels", True))
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

"""Two layers against what the machine can do at most, in turns with it, on one thread.

The first layer, 784 x 800 on the images themselves, against multiply-adds in registers; a dense
layer, 1024 x 1024, against OpenBLAS.
"""

import functools
import math
import statistics

import numpy as np
from threadpoolctl import threadpool_limits

from bench import kernels, peaks, tables, timing
from bench.workload import Workload

TITLE = "Two layers against what the machine can do, one thread"
FIRST, DENSE = (784, 800), (1024, 1024)
DTYPE = "float32"
HEADER = "work", "dtype", "GFLOP/s", "against", "GFLOP/s", "ratio"


def measure(settings):
    """Return the table."""
    X, _ = Workload(FIRST, 1, 0.0, DTYPE, settings.folder).data()
    rounds = 1 if settings.quick else 5
    first = _first_layer(X, rounds)
    with threadpool_limits(1):
        dense = _dense_layer(10 * rounds)
    return tables.table(HEADER, [first, dense])


def _first_layer(X, rounds):
    """Forward and update of an epoch, lists of nonzero pixels included; dense-equivalent."""
    m, n = 100, len(X) // 100 * 100
    net = kernels.Network(FIRST, m, DTYPE, X, sparse=True)
    steps = net.call(kernels.read), net.call(kernels.forward, 1), net.call(kernels.update, 1)

    def epoch():
        for first in range(0, n, m):
            for step in steps:
                step(net.order[first : first + m])

    epoch()
    calls = {
        "fastbp": lambda: 4 * n * math.prod(FIRST) / timing.seconds_of(epoch) / 1e9,
        "multiply-adds": functools.partial(peaks.measure_fma_peak, DTYPE, 1, 3),
    }
    return _row("first layer 784 x 800, forward + update", timing.interleaved(calls, rounds))


def _dense_layer(rounds):
    """Forward, Delta and update of a mini-batch, against three products by OpenBLAS."""
    m, (n_in, n_out) = 128, DENSE
    net = kernels.Network((784, n_in, n_out), m, DTYPE, np.ones((m, 784), np.float32))
    steps = [(kernels.forward, 2), (kernels.backward, 1), (kernels.update, 2)]
    steps = [net.call(*step) for step in steps]
    A, Delta, w = kernels.randoms(DTYPE, (m, n_in), (m, n_out), (n_out, n_in))
    products = [
        functools.partial(np.dot, a, b, out=np.empty((len(a), b.shape[1]), DTYPE))
        for a, b in ((A, w.T), (Delta, w), (Delta.T, A))
    ]

    def gflops(calls):
        seconds = timing.seconds_per_call(lambda: [call() for call in calls], 0.02)
        return 6 * m * n_in * n_out / seconds / 1e9

    calls = {"fastbp": lambda: gflops(steps), "OpenBLAS": lambda: gflops(products)}
    return _row("dense layer 1024 x 1024 x 128: three products", timing.interleaved(calls, rounds))


def _row(name, measured):
    (_, ours), (limit, theirs) = measured.items()
    gflops = [f"{statistics.median(values):.0f}" for values in (ours, theirs)]
    ratio = tables.quartiles(timing.paired_ratio(ours, theirs), 2)
    return name, DTYPE, gflops[0], limit, gflops[1], ratio

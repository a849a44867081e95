"""Two layers against what the machine can do at most, in turns with it.

The first layer, 784 x 800 on the images themselves, against multiply-adds in registers; a dense
layer, 1024 x 1024, against OpenBLAS. One thread.
"""

import statistics

import numpy as np

from bench import kernel_list, peaks

FIRST, DENSE = (784, 800), (1024, 1024)
DTYPE = "float32"


def first_layer(X, rounds):
    """Return the dense-equivalent GFLOP/s of forward and update, listing included, and the peak.

    Zeros are skipped, but counted: the flops are those of the product over all pixels.
    """
    m, n = 100, len(X) // 100 * 100
    net = kernel_list.Network(FIRST, m, DTYPE, X, sparse=True)
    steps = (
        net.call(kernel_list.read),
        net.call(kernel_list.forward, 1),
        net.call(kernel_list.update, 1),
    )

    def epoch():
        for first in range(0, n, m):
            for step in steps:
                step(net.order[first : first + m])

    epoch()
    calls = {
        "fastbp": lambda: 4 * n * FIRST[0] * FIRST[1] / peaks.timed(epoch) / 1e9,
        "multiply-adds": lambda: peaks.fma_peak(DTYPE, repetitions=3),
    }
    return _figures("first layer 784 x 800, forward + update", peaks.in_turns(calls, rounds))


def dense_layer(rounds):
    """Return the GFLOP/s of forward, delta and update, and those of three products by OpenBLAS."""
    m, (n_in, n_out) = 128, DENSE
    net = kernel_list.Network((784, n_in, n_out), m, DTYPE)
    steps = (
        net.call(kernel_list.forward, 2),
        net.call(kernel_list.backward, 1),
        net.call(kernel_list.update, 2),
    )
    A, D, w = kernel_list.randoms(DTYPE, (m, n_in), (m, n_out), (n_out, n_in))
    out = [np.empty(shape, DTYPE) for shape in ((m, n_out), (m, n_in), (n_out, n_in))]

    def tiles():
        for step in steps:
            step()

    def products():
        np.dot(A, w.T, out=out[0])
        np.dot(D, w, out=out[1])
        np.dot(D.T, A, out=out[2])

    def gflops(call):
        return 6 * m * n_in * n_out / peaks.seconds_per_call(call, 0.02) / 1e9

    calls = {"fastbp": lambda: gflops(tiles), "OpenBLAS": lambda: gflops(products)}
    limited = peaks.one_blas_thread()
    if limited is None:
        return None
    with limited:
        measured = peaks.in_turns(calls, 10 * rounds)
    return _figures("dense layer 1024 x 1024 x 128: three products", measured)


def _figures(name, measured):
    (_, ours), (limit, theirs) = measured.items()
    one, other = statistics.median(ours), statistics.median(theirs)
    return {
        "name": name,
        "dtype": DTYPE,
        "gflops": one,
        "limit": limit,
        "limit_gflops": other,
        "ratio": one / other,
        "all": [ours, theirs],
    }


def measured(X, rounds):
    """Return both, the second if OpenBLAS can be held to one thread."""
    return [layer for layer in (first_layer(X, rounds), dense_layer(rounds)) if layer]

"""Inverted dropout, whose masks are a function of key, layer, sample and neuron alone.

So nothing of a mask is kept: the backward pass computes the same one again.
"""

import numpy as np
from numba import types

from fastbp.kernels.jit import kernel, routine
from fastbp.kernels.layout import matrix_type, row

LOW = 0xFFFFFFFF
GOLDEN = 0x9E3779B9


@kernel
def lowbias32(x):
    """Return 32 bits, each of which depends on all of x's last 32 (C. Wellons, 2018)."""
    low = np.uint64(LOW)
    x = x & low
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(0x7FEB352D)) & low
    x = ((x ^ (x >> np.uint64(15))) * np.uint64(0x846CA68B)) & low
    return x ^ (x >> np.uint64(16))


@kernel
def sample_bits(key, l, sample):
    """Return 32 bits for a layer of a sample."""
    return lowbias32(lowbias32(np.uint64(key) ^ np.uint64(l)) ^ np.uint64(sample))


@kernel
def is_dropped(bits, j, limit):
    """Tell whether neuron j is left out. limit: the share of those that are, times 2**32."""
    return lowbias32(bits + np.uint64(j) * np.uint64(GOLDEN)) < np.uint64(limit)


@kernel
def limit_of(rate):
    """Return the share of neurons that are left out, times 2**32, as an integer."""
    return np.int64(min(rate * 4294967296.0, 4294967295.0))


@routine(lambda dtype: (matrix_type(dtype), types.CPointer(types.int64), *(types.intp,) * 5, dtype))
def drop_rows(A, batch, first, n, l, key, limit, factor):
    """Multiply A by factor, or by 0 for the neurons that are left out: NaN stays NaN.

    A (m, n): activations or Deltas of layer l, from neuron `first` on; batch (m,): the samples.
    """
    for i in range(A.rows):
        a, bits = row(A, i), sample_bits(key, l, batch[i])
        for j in range(n):
            a[j] *= (0 * factor) if is_dropped(bits, first + j, limit) else factor


@routine(
    lambda dtype: (
        types.CPointer(dtype), types.CPointer(types.int32), types.intp,
        types.CPointer(types.int64), *(types.intp,) * 3, dtype,
    )
)  # fmt: skip
def drop_values(values, columns, count, batch, rows, key, limit, factor):
    """drop_rows of the input layer, for the listed pixels of a group: values (count, rows)."""
    for i in range(rows):
        bits = sample_bits(key, 0, batch[i])
        for t in range(count):
            values[t * rows + i] *= (0 * factor) if is_dropped(bits, columns[t], limit) else factor

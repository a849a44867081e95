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
def low32(x):
    """Return the last 32 bits of x. Numbers of 32 bits are hashed eight at a time, of 64 one."""
    return np.uint32(np.uint64(x) & np.uint64(LOW))


@kernel
def lowbias32(x):
    """Return 32 bits, each of which depends on all 32 of x (C. Wellons, 2018)."""
    x = low32(np.uint64(low32(x ^ (x >> np.uint32(16)))) * np.uint64(0x7FEB352D))
    x = low32(np.uint64(low32(x ^ (x >> np.uint32(15)))) * np.uint64(0x846CA68B))
    return low32(x ^ (x >> np.uint32(16)))


@kernel
def sample_bits(key, l, sample):
    """Return 32 bits for a layer of a sample."""
    return lowbias32(lowbias32(low32(key) ^ low32(l)) ^ low32(sample))


@kernel
def is_dropped(bits, j, limit):
    """Tell whether neuron j is left out. limit: the share of those that are, times 2**32."""
    return lowbias32(low32(np.uint64(bits) + np.uint64(j) * np.uint64(GOLDEN))) < low32(limit)


@kernel
def drop_threshold(rate):
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

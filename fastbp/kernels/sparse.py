"""The first layer, and how pixels are read: all of them, or those that are not zero.

Of MNIST's pixels four fifths are zero. Groups of up to MR samples share a list of the pixels that
are not zero in at least one of them, and the sums of the first layer run over this list. Zeros add
nothing, so the bits are those of the dense layer, but for inputs that lag: see lagging.py.
"""

from collections import namedtuple

import numpy as np
from numba import types

from fastbp.kernels.jit import kernel, routine
from fastbp.kernels.layers import by_shape
from fastbp.kernels.layout import (
    CSR,
    FLOAT32,
    FLOAT64,
    KC,
    UNROLL,
    matrix_type,
    pixels_type,
    row,
)  # fmt: skip
from fastbp.kernels.simd import (
    MR,
    add_lanes,
    add_outer,
    add_sum,
    as_float32,
    as_float64,
    at,
    count_bits,
    fma,
    lanes,
    load,
    load_tile,
    nonzero_bits,
    prefetch,
    store_set_bits,
    store_tile,
    zero_tile,
)  # fmt: skip

I = types.intp
COLUMNS, BATCH = types.CPointer(types.int32), types.CPointer(types.int64)

# The pixels of up to three samples of the next mini-batch, as places of bytes; step: how many bytes
# of each are prefetched at a time.
NextPixels = namedtuple("NextPixels", "a b c step")

# ------------------------------------------------ reading


@kernel
def nonzero_of(x, batch, rows, k, n):
    """Return nonzero_pixels for up to MR rows of n pixels at x."""
    a, b, c = at(x, batch[0] * n), at(x, batch[rows // 2] * n), at(x, batch[rows - 1] * n)
    if n >= 64:  # the last 64 pixels overlap with those of the mask before
        first = min(k, n - 64)
        mask = nonzero_bits(at(a, first), at(b, first), at(c, first))
        return mask if k == first else (mask >> (k - first)) & ((1 << (n - k)) - 1)
    mask = np.int64(0)
    for i in range(n):
        mask |= ((a[i] != 0) | (b[i] != 0) | (c[i] != 0)) << i
    return mask


@kernel
def nonzero_pixels(X, batch, rows, k):
    """Return a mask of the pixels k, k + 1, ... that are not zero in at least one sample.

    It is of 64 pixels, or of the rest. rows: MR samples at most.
    """
    if X.kind == FLOAT64:
        return nonzero_of(as_float64(X.bytes, 0), batch, rows, k, X.n)
    if X.kind == FLOAT32:
        return nonzero_of(as_float32(X.bytes, 0), batch, rows, k, X.n)
    return nonzero_of(X.bytes, batch, rows, k, X.n)


@kernel
def list_mask(columns, count, mask, k, n):
    """Write the columns of the pixels from k on that a mask holds; return the count of all."""
    for first in range(k, min(k + 64, n), UNROLL):
        store_set_bits(columns, count, mask, first)
        count += count_bits(mask & 255)
        mask >>= 8
    return count


@kernel
def end_list(columns, starts, count, n):
    """Write the constant input of the biases behind `count` columns, and where the list ends."""
    if n % KC == 0:
        starts[n // KC] = count
    columns[count] = n
    starts[n // KC + 1] = count + 1


@kernel
def list_csr(columns, starts, X, batch, rows):
    """list_nonzero for up to MR samples that are stored as compressed sparse rows."""
    i, j, n = batch[rows // 2], batch[rows - 1], X.n
    a, b, c = X.indptr[batch[0]], X.indptr[i], X.indptr[j]
    a1, b1, c1 = X.indptr[batch[0] + 1], X.indptr[i + 1], X.indptr[j + 1]
    count, block = 0, 0
    starts[0] = 0
    while a < a1 or b < b1 or c < c1:
        k = min(
            X.indices[a] if a < a1 else n,
            X.indices[b] if b < b1 else n,
            X.indices[c] if c < c1 else n,
        )
        while block < k // KC:
            block += 1
            starts[block] = count
        columns[count] = k
        count += 1
        a += 1 if a < a1 and X.indices[a] == k else 0
        b += 1 if b < b1 and X.indices[b] == k else 0
        c += 1 if c < c1 and X.indices[c] == k else 0
    for later in range(block + 1, n // KC + 1):
        starts[later] = count
    end_list(columns, starts, count, n)


@kernel
def csr_values(values, columns, count, x, X, batch, rows):
    """listed_values for samples that are stored as compressed sparse rows; x: their numbers."""
    for i in range(rows):
        p, end = X.indptr[batch[i]], X.indptr[batch[i] + 1]
        for t in range(count):
            is_stored = p < end and X.indices[p] == columns[t]
            values[t * rows + i] = x[p] * X.scale if is_stored else 0 * X.scale
            p += 1 if is_stored else 0


@kernel
def list_nonzero(columns, starts, X, batch, rows):
    """Write the columns of the pixels that are not zero in at least one of `rows` samples, and n.

    The last, n, is the constant input of the biases. Up to UNROLL more are written behind it.
    starts[b]: where the columns of block b of KC inputs begin in the list. columns (n + 1 +
    UNROLL,); starts (n // KC + 2,). rows: MR samples at most.
    """
    if X.kind == CSR:
        list_csr(columns, starts, X, batch, rows)
        return
    count = 0
    for k in range(0, X.n, 64):
        if k % KC == 0:
            starts[k // KC] = count
        count = list_mask(columns, count, nonzero_pixels(X, batch, rows, k), k, X.n)
    end_list(columns, starts, count, X.n)


@kernel
def list_nonzero_of_many(columns, starts, X, batch, rows):
    """list_nonzero for any number of samples, but not of compressed sparse rows."""
    count = 0
    for k in range(0, X.n, 64):
        if k % KC == 0:
            starts[k // KC] = count
        mask = np.int64(0)
        for i in range(0, rows, MR):
            mask |= nonzero_pixels(X, at(batch, i), min(MR, rows - i), k)
        count = list_mask(columns, count, mask, k, X.n)
    end_list(columns, starts, count, X.n)


@kernel
def listed_values(values, columns, count, x, n, batch, rows, scale):
    """read_values for rows of n pixels at x, but for the last column."""
    for i in range(rows):
        a = at(x, batch[i] * n)
        for t in range(count):
            values[t * rows + i] = a[columns[t]] * scale


@kernel
def read_values(values, columns, count, X, batch, rows):
    """Write the pixels of a list of `count` columns, the last of them the constant input 1.

    values (count, rows). Returns 1 if all are in range, else 0: see all_in_range.
    """
    last, n, scale = count - 1, X.n, X.scale
    if X.kind == CSR:
        csr_values(values, columns, last, as_float64(X.bytes, 0), X, batch, rows)
    elif X.kind == FLOAT64:
        listed_values(values, columns, last, as_float64(X.bytes, 0), n, batch, rows, scale)
    elif X.kind == FLOAT32:
        listed_values(values, columns, last, as_float32(X.bytes, 0), n, batch, rows, scale)
    else:
        listed_values(values, columns, last, X.bytes, n, batch, rows, scale)
    for i in range(rows):
        values[last * rows + i] = 1
    return 1 if X.range_factor == 0 or all_in_range(values, count * rows, X.range_factor) else 0


@kernel
def row_values(a, x, n, scale):
    """a[k] = the pixel k of a sample, and the constant input of the biases."""
    for k in range(n):
        a[k] = x[k] * scale
    a[n] = 1


@routine(lambda dtype: (matrix_type(dtype), pixels_type(dtype), BATCH), I)
def read_rows(A, X, batch):
    """Write all pixels of the samples, and the constant input 1. A (m, n + 1); batch (m,).

    Returns 1 if all are in range, else 0: see all_in_range.
    """
    in_range = 1
    for i in range(A.rows):
        a, x = row(A, i), batch[i] * X.n
        if X.kind == FLOAT64:
            row_values(a, as_float64(X.bytes, x * 8), X.n, X.scale)
        elif X.kind == FLOAT32:
            row_values(a, as_float32(X.bytes, x * 4), X.n, X.scale)
        else:
            row_values(a, at(X.bytes, x), X.n, X.scale)
        if X.range_factor != 0 and not all_in_range(a, X.n, X.range_factor):
            in_range = 0
    return in_range


@kernel
def all_in_range(a, n, factor):
    """Tell whether the n numbers x at a place are finite, and x * factor is, too.

    x * factor * 0 is 0 for those, and NaN for the others. factor: the largest number of the type,
    divided by the largest input that is in range.
    """
    v = lanes(a)
    rest = a[0] * factor * 0
    if n >= v:
        total = load(a, n - v) * factor * 0.0  # the last vector overlaps with the one before it
        for k in range(0, n - v, v):
            total = fma(load(a, k) * factor, 0.0, total)
        rest += add_lanes(total)
    else:
        for k in range(n):
            rest += a[k] * factor * 0
    return rest == 0


# ------------------------------------------------ the layer


@kernel
def next_pixels_of(X, batch, rows, count):
    """Return the NextPixels of a group of samples: their rows of pixels, in `count` steps."""
    if X.kind == CSR:  # they lie anywhere
        return NextPixels(X.bytes, X.bytes, X.bytes, np.intp(0))
    row_bytes = X.n * (8 if X.kind == FLOAT64 else 4 if X.kind == FLOAT32 else 1)
    a, b, c = batch[0], batch[rows // 2], batch[rows - 1]
    a, b, c = at(X.bytes, a * row_bytes), at(X.bytes, b * row_bytes), at(X.bytes, c * row_bytes)
    return NextPixels(a, b, c, row_bytes // count + 1)


@by_shape
def sparse_tile(rows, half):
    @kernel
    def tile(Z, values, columns, count, W, next_pixels):
        """Z[i, :] = sum over k of values[k, i] * W[k, :], for the pixels k that are listed."""
        sums, one = zero_tile(rows, half, Z.place), np.intp(1)
        for t in range(count):
            prefetch(next_pixels.a, t * next_pixels.step)
            if rows > 1:
                prefetch(next_pixels.b, t * next_pixels.step)
            if rows > 2:
                prefetch(next_pixels.c, t * next_pixels.step)
            w = at(W, columns[t] * lanes(W))
            sums = add_outer(sums, at(values, t * rows), one, w)
        store_tile(Z.place, Z.stride, sums)

    return tile


@kernel
def sparse_multiply(Z, values, columns, count, W, half, next_pixels):
    """Write A @ W into Z, for the listed pixels of a group. Z (rows, lanes); W (n_in + 1, lanes).

    values (count, rows); columns (count,).
    """
    sparse_tile(Z.rows, half, Z, values, columns, count, W, next_pixels)


@by_shape
def sparse_step(rows, half):
    @kernel
    def step(W, values, columns, first, last, S):
        """W[k, :] += sum over i of values[k, i] * S[i, :], for the pixels k that are listed."""
        deltas, one = load_tile(rows, half, S.place, S.stride), np.intp(1)
        for t in range(first, last):
            add_sum(at(W, columns[t] * lanes(W)), at(values, t * rows), one, deltas)

    return step


@kernel
def sparse_add(W, values, columns, first, last, S, half):
    """Add A.T @ S to W, for the pixels of a group that stand in columns[first:last].

    W (n_in + 1, lanes); values (count, rows); S (rows, lanes), factor * Delta.
    """
    sparse_step(S.rows, half, W, values, columns, first, last, S)

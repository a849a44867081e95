"""The four equations, on matrices whose weights are packed (see layout.py).

Forward pass, backward pass and update are one sum of outer products, `multiply`, on tiles of MR
rows and a vector of columns, whose sums stay in registers.
"""

import numpy as np
from numba import types

from fastbp.kernels.activations import LINEAR, slope_of
from fastbp.kernels.jit import kernel, routine, typed
from fastbp.kernels.layout import KC, Strided, block, matrix_type, panel, row
from fastbp.kernels.simd import (
    add_outer,
    at,
    lanes,
    load,
    load_tile,
    store,
    store_tile,
    transpose,
    zero_tile,
)  # fmt: skip

# ------------------------------------------------ the tile


def by_shape(tile_of):
    """Return a kernel (rows, half, ...) that calls the tile of that shape."""
    whole_1, whole_2, whole_3 = (tile_of(rows, False) for rows in (1, 2, 3))
    half_1, half_2, half_3 = (tile_of(rows, True) for rows in (1, 2, 3))

    @kernel
    def tile(rows, half, *arguments):
        if rows == 3:
            half_3(*arguments) if half else whole_3(*arguments)
        elif rows == 2:
            half_2(*arguments) if half else whole_2(*arguments)
        else:
            half_1(*arguments) if half else whole_1(*arguments)

    return tile


@by_shape
def tile(rows, half):
    @kernel
    def tile(C, A, B, terms, adding):
        """C[r, :] = sum over t of A[r, t] * B[t, :], added to C or not."""
        sums = zero_tile(rows, half, C.place)
        if adding:
            sums = load_tile(rows, half, C.place, C.stride)
        for t in range(terms):
            numbers, b = at(A.place, t * A.column), at(B, t * lanes(B))
            sums = add_outer(sums, numbers, A.row, b)
        store_tile(C.place, C.stride, sums)

    return tile


def _multiply_arguments(dtype):
    strided = typed(Strided, types.CPointer(dtype), types.intp, types.intp)
    return matrix_type(dtype), strided, types.CPointer(dtype), *(types.intp,) * 3


@routine(_multiply_arguments)
def multiply(C, A, B, terms, half, adding):
    """Write A @ B into C, or add it. C (rows, lanes); A (rows, terms); B (terms, lanes).

    half: only the first half of a vector is needed. The terms are taken KC at a time: so many
    rows of B stay in the first-level cache while all rows of A go past them.
    """
    for t in range(0, terms, KC):
        depth, r, b = min(KC, terms - t), 0, at(B, t * lanes(B))
        while r < C.rows:  # tiles of 3 rows; of 2 where 4 or 2 rows are left
            left = C.rows - r
            size = 3 if left == 3 or left > 4 else min(left, 2)
            a = Strided(at(A.place, r * A.row + t * A.column), A.row, A.column)
            tile(size, half, block(C, r, size, 0), a, b, depth, adding)
            r += size
        adding = 1


@kernel
def is_half(W, n, p):
    """Tell whether the neurons that are left from panel p on fill half a vector at most."""
    v = lanes(W.place)
    return 1 if n - p * v <= v // 2 else 0


# ------------------------------------------------ the equations


@kernel
def forward_layer(Z, A, W, n_in, n_out):
    """z = w a + b: write A @ W.T + b into Z.

    Z (m, n_out); A (m, n_in + 1), the last column 1; W packed (panels, n_in + 1, lanes).
    """
    v, one = lanes(W.place), np.intp(1)
    a = Strided(A.place, A.stride, one)
    for p in range(W.rows):
        z = block(Z, 0, Z.rows, p * v)
        multiply(z, a, row(W, p), n_in + 1, is_half(W, n_out, p), 0)


@kernel
def set_bias_inputs(A, n):
    """Write the constant input of the next layer's biases: A[:, n] = 1. A (m, n + 1)."""
    for i in range(A.rows):
        a = row(A, i)
        a[n] = 1


@kernel
def clear_padding(Delta, n):
    """Write 0 behind the n neurons of each row, up to whole vectors: their weights stay 0."""
    v = lanes(Delta.place)
    for i in range(Delta.rows):
        delta = row(Delta, i)
        for j in range(n, (n + v - 1) // v * v):
            delta[j] = 0


@kernel
def output_delta(Delta, A, Y, batch, n):
    """BP1 but for the slope: write A - Y[batch] into Delta, and 0 into its padding.

    Delta, A (m, n); Y a place of rows of n; batch (m,).
    """
    for i in range(A.rows):
        delta, a, y = row(Delta, i), row(A, i), at(Y, batch[i] * n)
        for j in range(n):
            delta[j] = a[j] - y[j]
    clear_padding(Delta, n)


@kernel
def backward_layer(Delta, Delta_out, T, n, n_out):
    """BP2 but for the slope: write Delta_out @ w into Delta.

    Delta (m, n); Delta_out (m, n_out); T: w of the layer above transposed, packed (vectors of n,
    n_out, lanes).
    """
    v, one = lanes(T.place), np.intp(1)
    d = Strided(Delta_out.place, Delta_out.stride, one)
    for p in range(T.rows):
        multiply(block(Delta, 0, Delta.rows, p * v), d, row(T, p), n_out, is_half(T, n, p), 0)
    clear_padding(Delta, n)  # T holds biases in its column n


@kernel
def multiply_slope_of(Delta, A, S, n, factor, keep, slope):
    """multiply_slope for one of the slopes."""
    v = lanes(A.place)
    for i in range(A.rows):
        delta, a = row(Delta, i), row(A, i)
        for j in range(0, n, v):
            d = load(delta, j)
            if slope != LINEAR:
                d = d * slope_of(load(a, j) * keep, slope)
                store(delta, j, d)
            store(S.place, j // v * S.stride + i * v, d * factor)


def _multiply_slope_arguments(dtype):
    M = matrix_type(dtype)
    return M, M, M, types.intp, dtype, dtype, types.intp


@routine(_multiply_slope_arguments)
def multiply_slope(Delta, A, S, n, factor, keep, slope):
    """Delta *= f'(z), and S = factor * Delta, where the update reads it.

    Delta, A (m, n); S packed (panels, m, lanes). keep: what A must be multiplied by to be f(z):
    dropout has divided it by that.
    """
    multiply_slope_of(Delta, A, S, n, factor, keep, slope)


@kernel
def update_layer(W, A, S, n_out, k0, rows, m):
    """BP3 + BP4 with the step: W[j, k] += sum over i of S[i, j] * A[i, k], for `rows` inputs k.

    S = factor * Delta, with factor -eta/m. The gradient is never stored: one pass over W instead
    of three. The input of the biases is 1. W packed (panels, n_in + 1, lanes); A (m, n_in + 1); S
    packed (panels, m, lanes).
    """
    one = np.intp(1)
    a = Strided(at(A.place, k0), one, A.stride)
    for p in range(W.rows):
        w = block(panel(W, p), k0, rows, 0)
        multiply(w, a, row(S, p), m, is_half(W, n_out, p), 1)


@routine(lambda dtype: (matrix_type(dtype), matrix_type(dtype), *(types.intp,) * 3))
def transpose_weights(T, W, n_out, k0, rows):
    """T[j, k] = W[k, j] for `rows` inputs from k0 on, a vector of them at most.

    W packed (panels, n_in + 1, lanes); T (n_out, lanes), of these inputs.
    """
    v = lanes(W.place)
    n = v // 4  # in a register
    for p in range(W.rows):
        t, w = block(T, p * v, v, 0), block(panel(W, p), k0, v, 0)
        for j in range(0, min(v, n_out - p * v), n):
            for k in range(0, rows, n):
                transpose(at(t.place, j * v + k), at(w.place, k * v + j))

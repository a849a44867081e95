"""The engine room: every compiled loop, and nothing else.

Laws: this file imports nothing of fastbp but what keeps its code. Nothing here prints, opens a
file, raises, allocates or keeps a hidden random state. All kernels live in this one file because
Numba's cache watches the file that defines a function, not the files of the functions that it
calls.

Legend
    plan        (L+1, 7) int64, a row per layer, the input layer first: the number of neurons; where
                its w and b begin in `params`; where its A and Delta begin in a workspace of one
                sample (in a workspace of m samples: m times that); the code of its activation, and
                of the slope by which BP1 or BP2 multiplies: f' of the activation, or 1 where the
                cost cancels it
    drops, key  dropout: for each layer the share of its neurons that are left out, and a number
                that says which
    params      the network in one flat vector: w1 b1 w2 b2 ..., each w (n_out, n_in) row-major
    work        one flat workspace: the activations of all layers, then their Deltas
    A, Delta    one row per sample; A (m, n), Delta (m, n)
    pixels, kind, order
                the data set as raw bytes, the type that these bytes have (PIXEL_KINDS), and the
                row numbers in the order of this epoch: mini-batches are slices of `order`
    i j k l     sample, output neuron, input neuron, layer

Storeys: helpers (sigmoid, tiles), layer kernels named after the book's four equations, drivers.
A serial driver and its `_parallel` twin call the same layer kernels on the same tiles, so their
results are equal to the bit for any number of threads.
"""

import numpy as np
from numba import config, get_num_threads, njit, prange, set_num_threads, types  # noqa: F401
from numba.extending import intrinsic, overload
from numba.np.arrayobj import make_array, populate_array

from fastbp.code_cache import keep, uncached  # noqa: F401

# Sums may be reordered (that is what lets a dot product use vector registers), but NaN and
# infinity keep their meaning: never fastmath=True.
FAST = {"reassoc", "nsz", "contract", "arcp"}
# The range reduction of exp relies on the order of its operations: reassoc would fold the two
# parts of ln 2 into one and cost a hundred ulp.
EXACT = {"nsz", "contract"}

# A register tile of 5 samples x 3 neurons: 15 sums keep two FMA pipes of latency 4 busy, and the
# book's mini-batch of 10 is two tiles with nothing left over.
SAMPLE_TILE = 5  # chunks of samples are multiples of it
ROW_TILE = 3
SIZE, W_AT, B_AT, A_AT, D_AT, ACTIVATION, SLOPE = range(7)  # columns of the plan
QUADRATIC, CROSS_ENTROPY, LOG_LIKELIHOOD = range(3)  # costs
SIGMOID, TANH, RELU, LINEAR, SOFTMAX = range(5)  # activations f; but the last, slopes f', too
ROW_CHUNK = 4 * ROW_TILE  # rows of w that one task of the parallel update owns

PIXEL_KINDS = (np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.uint8))


def kernel(fastmath=FAST, parallel=False, inner=False):
    """Return the decorator that compiles a kernel: the one place where jit options stand."""

    def decorate(function):
        options = dict(
            fastmath=fastmath,
            parallel=parallel,
            error_model="numpy",  # the default model's branch on x/0 stops vectorisation
            nogil=True,
            # Views of arrays need not be counted where nothing is allocated: less to compile. The
            # bodies of parallel regions belong to Numba, which counts.
            _nrt=parallel,
            no_cfunc_wrapper=True,
            no_cpython_wrapper=inner,  # only ever called by other kernels: less to compile
        )
        compiled = njit(**options)(function)
        # An inner one is compiled into the kernels that call it, and kept with them.
        return compiled if inner else keep(compiled, function)

    return decorate


# ------------------------------------------------ helpers: sigmoid


def _sigmoid_float64(z):
    # exp(-z) = 2^n exp(r): n by the magic-number rounding, whose low bits are n itself (AVX2 has
    # no vector conversion from double to integer), r by two-part ln 2, exp(r) by its Taylor
    # series, of which the first term left out is below 2^-57.
    x = -z
    x = 709.0 if x > 709.0 else x
    x = -709.0 if x < -709.0 else x
    t = x * 1.4426950408889634 + 6755399441055744.0
    n = t - 6755399441055744.0
    r = x - n * 0.693147180369123816490
    r = r - n * 1.90821492927058770002e-10
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    bits = (np.float64(t).view(np.int64) << 52) + np.float64(p).view(np.int64)
    s = 1.0 / (1.0 + np.int64(bits).view(np.float64))
    return s if z > -709.0 or z != z else 0.0


def _sigmoid_float32(z):
    f = np.float32  # every constant is wrapped: one bare 1.0 turns the whole line to float64
    x = -z
    x = f(87.0) if x > f(87.0) else x
    x = f(-87.0) if x < f(-87.0) else x
    t = x * f(1.4426950408889634) + f(12582912.0)
    n = t - f(12582912.0)
    r = x - n * f(0.693359375)
    r = r + n * f(2.12194440e-4)
    p = f(1.0 / 5040.0)
    p = p * r + f(1.0 / 720.0)
    p = p * r + f(1.0 / 120.0)
    p = p * r + f(1.0 / 24.0)
    p = p * r + f(1.0 / 6.0)
    p = p * r + f(0.5)
    p = p * r + f(1.0)
    p = p * r + f(1.0)
    scale = np.int32(np.float32(t).view(np.int32) << np.int32(23))
    bits = np.int32(scale + np.float32(p).view(np.int32))
    s = f(1.0) / (f(1.0) + np.int32(bits).view(np.float32))
    return s if z > f(-87.0) or z != z else f(0.0)


def sigmoid(z):
    """Return 1/(1+exp(-z)) of a float64 or float32 scalar: within 4 ulp, 0 or 1 in the limit."""
    return _sigmoid_float32(z) if isinstance(z, np.float32) else _sigmoid_float64(np.float64(z))


@overload(sigmoid, jit_options=dict(fastmath=EXACT, error_model="numpy", _nrt=False))
def _compiled_sigmoid(z):  # pragma: no cover  (runs in the compiler only)
    return _sigmoid_float32 if str(z) == "float32" else _sigmoid_float64


@kernel(EXACT)
def activate_rows(A, b, activation):
    """Turn weighted inputs into activations in place: A becomes f(A + b). A (m, n); b (n,)."""
    zero, one, two = A.dtype.type(0), A.dtype.type(1), A.dtype.type(2)
    if activation == SIGMOID:
        sigmoid_rows(A, b)
    elif activation == TANH:
        for i in range(A.shape[0]):
            for j in range(A.shape[1]):
                A[i, j] = two * sigmoid(two * (A[i, j] + b[j])) - one
    elif activation == RELU:
        for i in range(A.shape[0]):
            for j in range(A.shape[1]):
                z = A[i, j] + b[j]
                A[i, j] = zero if z < zero else z  # NaN stays NaN
    else:
        for i in range(A.shape[0]):
            for j in range(A.shape[1]):
                A[i, j] += b[j]
        if activation == SOFTMAX:
            softmax_rows(A)


@kernel(EXACT)
def softmax_rows(A):
    """Turn each row into exp(A) / sum of exp(A), in place, less its largest number first."""
    for i in range(A.shape[0]):
        a = A[i]
        largest, total = a[0], A.dtype.type(0)
        for j in range(1, a.size):
            largest = a[j] if a[j] > largest or a[j] != a[j] else largest
        for j in range(a.size):
            a[j] = np.exp(a[j] - largest)
            total += a[j]
        for j in range(a.size):
            a[j] /= total


# Exact: it is compiled into several others, and how they reorder it must not depend on which.
@kernel(EXACT)
def multiply_slope(Delta, A, slope, keep):
    """Multiply by f'(z), which follows from a = f(z): Delta *= f'. Delta, A (m, n).

    keep: the share of neurons that dropout leaves in; it has divided their A by that.
    """
    zero, one = A.dtype.type(0), A.dtype.type(1)
    if slope == SIGMOID:
        for i in range(A.shape[0]):
            for j in range(A.shape[1]):
                a = keep * A[i, j]
                Delta[i, j] *= a * (one - a)
    elif slope == TANH:
        for i in range(A.shape[0]):
            for j in range(A.shape[1]):
                a = keep * A[i, j]
                Delta[i, j] *= (one - a) * (one + a)
    elif slope == RELU:
        for i in range(A.shape[0]):
            for j in range(A.shape[1]):
                Delta[i, j] *= one if A[i, j] > zero else zero


@kernel()
def drop_rows(A, order, l, drop, key):
    """Inverted dropout: leave out a share of layer l's neurons, divide the others by the rest.

    A (m, n), activations or Deltas; order (m,): which samples these are. The choice depends on
    key, layer, sample and neuron alone: it is the same in the forward and the backward pass.
    """
    keep = np.float64(1) / (np.float64(1) - drop)
    limit = np.uint64(min(drop * 4294967296.0, 4294967295.0))
    for i in range(A.shape[0]):
        row = dropout_row(key, l, order[i])
        for j in range(A.shape[1]):
            dropped = dropout_bits(row, j) < limit
            A[i, j] *= A.dtype.type(0) if dropped else A.dtype.type(keep)


@kernel(inner=True)
def dropout_row(key, l, sample):
    """Return 32 bits for a layer of a sample."""
    return mixed(mixed(np.uint64(key) ^ np.uint64(l)) ^ np.uint64(sample))


@kernel(inner=True)
def dropout_bits(row, j):
    """Return 32 bits for a neuron j of such a row."""
    return mixed(row + np.uint64(j) * np.uint64(0x9E3779B9))


@kernel(inner=True)
def mixed(x):
    """Return 32 bits, each of which depends on all of x's last 32 (C. Wellons, 2018: lowbias32)."""
    low = np.uint64(0xFFFFFFFF)
    x = x & low
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(0x7FEB352D)) & low
    x = ((x ^ (x >> np.uint64(15))) * np.uint64(0x846CA68B)) & low
    return x ^ (x >> np.uint64(16))


@kernel(EXACT)
def sigmoid_rows(A, b):
    """Turn weighted inputs into activations in place: A becomes sigmoid(A + b).

    A (m, n); b (n,).
    """
    for i in range(A.shape[0]):
        a = A[i]
        for j in range(a.size):
            a[j] = sigmoid(a[j] + b[j])


@kernel(EXACT)
def sigmoid_columns(Z, b):
    """Turn weighted inputs, one column per sample, into activations: Z becomes sigmoid(Z + b).

    Z (n, m); b (n, 1).
    """
    for j in range(Z.shape[0]):
        z, bias = Z[j], b[j, 0]
        for i in range(z.size):
            z[i] = sigmoid(z[i] + bias)


# ------------------------------------------------ helpers: views of flat memory


def block(flat, start, rows, columns):
    """Return the view (rows, columns) that starts at flat[start]."""
    return flat[start : start + rows * columns].reshape((rows, columns))


@intrinsic
def _compiled_block(typing, flat, start, rows, columns):  # pragma: no cover
    # What block says, without reshape's checks: those took a third of all compile time.
    view_type = types.Array(flat.dtype, 2, "C", readonly=not flat.mutable)

    def build(context, builder, signature, arguments):
        array, start, rows, columns = arguments
        source = make_array(flat)(context, builder, array)
        view = make_array(view_type)(context, builder)
        item = context.get_constant(types.intp, flat.dtype.bitwidth // 8)
        populate_array(
            view,
            data=builder.gep(source.data, [start]),
            shape=[rows, columns],
            strides=[builder.mul(columns, item), item],
            itemsize=item,
            meminfo=None,  # borrowed: `flat` outlives every kernel
        )
        return view._getvalue()

    return view_type(flat, types.intp, types.intp, types.intp), build


if not config.DISABLE_JIT:  # pragma: no cover
    block = _compiled_block


@kernel()
def gather(A, pixels, kind, order):
    """Copy the samples `order` of the data set into A, converted to A's type; bytes become v/256.

    A (m, n); pixels: bytes of the rows, n values each; kind: index into PIXEL_KINDS; order (m,).
    """
    m, n = A.shape
    scale = A.dtype.type(1 / 256)
    if kind == 0:
        stored64 = pixels.view(np.float64)
        for i in range(m):
            row64 = stored64[order[i] * n : (order[i] + 1) * n]
            for k in range(n):
                A[i, k] = row64[k]
    elif kind == 1:
        stored32 = pixels.view(np.float32)
        for i in range(m):
            row32 = stored32[order[i] * n : (order[i] + 1) * n]
            for k in range(n):
                A[i, k] = row32[k]
    else:
        for i in range(m):
            row8 = pixels[order[i] * n : (order[i] + 1) * n]
            for k in range(n):
                A[i, k] = scale * A.dtype.type(row8[k])


# ------------------------------------------------ helpers: tiles


@kernel()
def dot_tile(Z, A, w, i, j):
    """Write the 5 x 3 tile Z[i:i+5, j:j+3] of A @ w.T."""
    a0, a1, a2, a3, a4 = A[i], A[i + 1], A[i + 2], A[i + 3], A[i + 4]
    w0, w1, w2 = w[j], w[j + 1], w[j + 2]
    # Fifteen named sums: an array of them would live in memory, not in registers.
    s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = Z.dtype.type(0)
    s30 = s31 = s32 = s40 = s41 = s42 = Z.dtype.type(0)
    for k in range(a0.size):
        x0, x1, x2, x3, x4 = a0[k], a1[k], a2[k], a3[k], a4[k]
        y0, y1, y2 = w0[k], w1[k], w2[k]
        s00 += x0 * y0
        s01 += x0 * y1
        s02 += x0 * y2
        s10 += x1 * y0
        s11 += x1 * y1
        s12 += x1 * y2
        s20 += x2 * y0
        s21 += x2 * y1
        s22 += x2 * y2
        s30 += x3 * y0
        s31 += x3 * y1
        s32 += x3 * y2
        s40 += x4 * y0
        s41 += x4 * y1
        s42 += x4 * y2
    Z[i, j], Z[i, j + 1], Z[i, j + 2] = s00, s01, s02
    Z[i + 1, j], Z[i + 1, j + 1], Z[i + 1, j + 2] = s10, s11, s12
    Z[i + 2, j], Z[i + 2, j + 1], Z[i + 2, j + 2] = s20, s21, s22
    Z[i + 3, j], Z[i + 3, j + 1], Z[i + 3, j + 2] = s30, s31, s32
    Z[i + 4, j], Z[i + 4, j + 1], Z[i + 4, j + 2] = s40, s41, s42


@kernel()
def dot_row_tile(Z, A, w, i, j):
    """Write the 1 x 3 tile Z[i, j:j+3] of A @ w.T: for the samples left over."""
    a, w0, w1, w2 = A[i], w[j], w[j + 1], w[j + 2]
    s0 = s1 = s2 = Z.dtype.type(0)
    for k in range(a.size):
        s0 += a[k] * w0[k]
        s1 += a[k] * w1[k]
        s2 += a[k] * w2[k]
    Z[i, j], Z[i, j + 1], Z[i, j + 2] = s0, s1, s2


@kernel()
def dot(a, w):
    """Return the inner product of two vectors of the same length."""
    s = a.dtype.type(0)
    for k in range(a.size):
        s += a[k] * w[k]
    return s


@kernel()
def add_row_tile(w0, w1, w2, Delta, A, rate, j):
    """Subtract rate * Delta.T @ A from the three rows w[j:j+3] = w0, w1, w2, five samples a pass.

    Left-over samples run through the same tile with coefficient zero.
    """
    m = A.shape[0]
    zero = w0.dtype.type(0)
    for i in range(0, m, 5):
        i1, i2, i3, i4 = min(i + 1, m - 1), min(i + 2, m - 1), min(i + 3, m - 1), min(i + 4, m - 1)
        r1 = rate if i + 1 < m else zero
        r2 = rate if i + 2 < m else zero
        r3 = rate if i + 3 < m else zero
        r4 = rate if i + 4 < m else zero
        a0, a1, a2, a3, a4 = A[i], A[i1], A[i2], A[i3], A[i4]
        c00, c01, c02 = rate * Delta[i, j], rate * Delta[i, j + 1], rate * Delta[i, j + 2]
        c10, c11, c12 = r1 * Delta[i1, j], r1 * Delta[i1, j + 1], r1 * Delta[i1, j + 2]
        c20, c21, c22 = r2 * Delta[i2, j], r2 * Delta[i2, j + 1], r2 * Delta[i2, j + 2]
        c30, c31, c32 = r3 * Delta[i3, j], r3 * Delta[i3, j + 1], r3 * Delta[i3, j + 2]
        c40, c41, c42 = r4 * Delta[i4, j], r4 * Delta[i4, j + 1], r4 * Delta[i4, j + 2]
        for k in range(w0.size):
            x0, x1, x2, x3, x4 = a0[k], a1[k], a2[k], a3[k], a4[k]
            w0[k] -= c00 * x0 + c10 * x1 + c20 * x2 + c30 * x3 + c40 * x4
            w1[k] -= c01 * x0 + c11 * x1 + c21 * x2 + c31 * x3 + c41 * x4
            w2[k] -= c02 * x0 + c12 * x1 + c22 * x2 + c32 * x3 + c42 * x4


@kernel()
def add_row(w0, Delta, A, rate, j):
    """Subtract rate * Delta[:, j] @ A from the one row w[j] = w0: for the rows left over."""
    for i in range(A.shape[0]):
        a, c = A[i], rate * Delta[i, j]
        for k in range(w0.size):
            w0[k] -= c * a[k]


# ------------------------------------------------ layer kernels: the four equations


@kernel()
def forward_layer(A_out, A_in, w, b, activation):
    """Write f(A_in @ w.T + b) into A_out.

    A_out (m, n_out); A_in (m, n_in); w (n_out, n_in); b (n_out,).
    """
    m, n_out = A_out.shape
    tiled = m - m % SAMPLE_TILE
    # Neurons outside, samples inside: three rows of w stay in the first-level cache while the
    # activations, the smaller operand, stream past them.
    for tile in range(0, n_out if n_out >= ROW_TILE else 0, ROW_TILE):
        j = min(tile, n_out - ROW_TILE)  # the last tile overlaps: it writes the same values again
        for i in range(0, tiled, SAMPLE_TILE):
            dot_tile(A_out, A_in, w, i, j)
        for i in range(tiled, m):
            dot_row_tile(A_out, A_in, w, i, j)
    if n_out < ROW_TILE:
        for i in range(m):
            for j in range(n_out):
                A_out[i, j] = dot(A_in[i], w[j])
    activate_rows(A_out, b, activation)


@kernel()
def output_delta(Delta, A, Y, order, slope):
    """BP1: write (A - Y[order]) times the slope, f'(z) or 1, into Delta.

    Delta, A (m, n_out); Y (n, n_out); order (m,).
    """
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            Delta[i, j] = A[i, j] - Y[order[i], j]
    multiply_slope(Delta, A, slope, A.dtype.type(1))


@kernel()
def backward_layer(Delta_in, Delta_out, w, A_in, slope, keep):
    """BP2: write (Delta_out @ w) * f'(z) into Delta_in, f' from A_in: see multiply_slope.

    Delta_in, A_in (m, n_in); Delta_out (m, n_out); w (n_out, n_in).
    """
    m, n_out = Delta_out.shape
    zero = w.dtype.type(0)
    for i in range(m):
        d = Delta_in[i]
        for k in range(d.size):
            d[k] = zero
        for j in range(0, n_out, 4):  # four rows of w a pass; beyond the last, coefficient zero
            j1, j2, j3 = min(j + 1, n_out - 1), min(j + 2, n_out - 1), min(j + 3, n_out - 1)
            w0, w1, w2, w3 = w[j], w[j1], w[j2], w[j3]
            c0 = Delta_out[i, j]
            c1 = Delta_out[i, j1] if j + 1 < n_out else zero
            c2 = Delta_out[i, j2] if j + 2 < n_out else zero
            c3 = Delta_out[i, j3] if j + 3 < n_out else zero
            for k in range(d.size):
                d[k] += c0 * w0[k] + c1 * w1[k] + c2 * w2[k] + c3 * w3[k]
    multiply_slope(Delta_in, A_in, slope, keep)


@kernel()
def update_layer(w, b, Delta, A_in, rate, first, last):
    """BP3 + BP4 fused with the step, for the rows first..last of one layer.

    w -= rate * Delta.T @ A_in; b -= rate * sum over samples of Delta. The gradient is never
    stored: one pass over w instead of three. Each row adds up its samples in one fixed order, so
    a row is the same whichever thread owns it. w (n_out, n_in); b (n_out,); Delta (m, n_out);
    A_in (m, n_in); first must be a multiple of ROW_TILE.
    """
    tiled = last - (last - first) % ROW_TILE
    for j in range(first, tiled, ROW_TILE):
        add_row_tile(w[j], w[j + 1], w[j + 2], Delta, A_in, rate, j)
    for j in range(tiled, last):
        add_row(w[j], Delta, A_in, rate, j)
    step_biases(b, Delta, rate, first, last)


@kernel()
def step_biases(b, Delta, rate, first, last):
    """BP3 with the step: b -= rate * sum over samples of Delta, for neurons first..last."""
    for j in range(first, last):
        s = b.dtype.type(0)
        for i in range(Delta.shape[0]):
            s += Delta[i, j]
        b[j] -= rate * s


@kernel()
def gradient_layer(nabla_w, nabla_b, Delta, A_in):
    """BP3 + BP4 alone: add Delta.T @ A_in to nabla_w, the sum over samples of Delta to nabla_b.

    The caller starts from zeros. nabla_w (n_out, n_in); nabla_b (n_out,).
    """
    update_layer(nabla_w, nabla_b, Delta, A_in, nabla_w.dtype.type(-1), 0, nabla_w.shape[0])


# ------------------------------------------------ a chunk of samples, a chunk of rows


@kernel()
def forward_pass(work, pixels, kind, order, params, plan, rows, first, last, drops, key):
    """Gather the samples order[first:last] and carry them to the output layer.

    Writes rows first..last of the activations in a workspace of `rows` samples.
    """
    n_in = plan[0, SIZE]
    m = last - first
    A_in = block(work, first * n_in, m, n_in)
    gather(A_in, pixels, kind, order[first:last])
    if drops[0] > 0:
        drop_rows(A_in, order[first:last], 0, drops[0], key)
    for l in range(1, plan.shape[0]):
        n_in, n_out = plan[l - 1, SIZE], plan[l, SIZE]
        A_out = block(work, rows * plan[l, A_AT] + first * n_out, m, n_out)
        w = block(params, plan[l, W_AT], n_out, n_in)
        b = params[plan[l, B_AT] : plan[l, B_AT] + n_out]
        forward_layer(A_out, A_in, w, b, plan[l, ACTIVATION])
        if drops[l] > 0:
            drop_rows(A_out, order[first:last], l, drops[l], key)
        A_in = A_out


@kernel()
def delta_recursion(work, Y, order, params, plan, rows, first, last, drops, key):
    """Write the Deltas of all layers, output layer first, for rows first..last of the workspace."""
    m = last - first
    l = plan.shape[0] - 1
    n_out = plan[l, SIZE]
    A_out = block(work, rows * plan[l, A_AT] + first * n_out, m, n_out)
    Delta_out = block(work, rows * plan[l, D_AT] + first * n_out, m, n_out)
    output_delta(Delta_out, A_out, Y, order[first:last], plan[l, SLOPE])
    while l > 1:
        n_in, n_out = plan[l - 1, SIZE], plan[l, SIZE]
        A_in = block(work, rows * plan[l - 1, A_AT] + first * n_in, m, n_in)
        Delta_in = block(work, rows * plan[l - 1, D_AT] + first * n_in, m, n_in)
        w, keep = block(params, plan[l, W_AT], n_out, n_in), params.dtype.type(1 - drops[l - 1])
        backward_layer(Delta_in, Delta_out, w, A_in, plan[l - 1, SLOPE], keep)
        if drops[l - 1] > 0:
            drop_rows(Delta_in, order[first:last], l - 1, drops[l - 1], key)
        Delta_out = Delta_in
        l -= 1


@kernel()
def step_layer(params, work, plan, rows, start, m, rate, l, first, last):
    """Take the step for rows first..last of w in layer l, from m samples of the workspace.

    The samples begin at row `start` of the workspace.
    """
    n_in, n_out = plan[l - 1, SIZE], plan[l, SIZE]
    w = block(params, plan[l, W_AT], n_out, n_in)
    b = params[plan[l, B_AT] : plan[l, B_AT] + n_out]
    A_in = block(work, rows * plan[l - 1, A_AT] + start * n_in, m, n_in)
    Delta = block(work, rows * plan[l, D_AT] + start * n_out, m, n_out)
    update_layer(w, b, Delta, A_in, rate, first, last)


@kernel()
def step_task(params, work, plan, m, size, rate, task):
    """Take the step for one chunk of rows, counted over all layers."""
    l = 1
    while task >= (plan[l, SIZE] + ROW_CHUNK - 1) // ROW_CHUNK:
        task -= (plan[l, SIZE] + ROW_CHUNK - 1) // ROW_CHUNK
        l += 1
    first = task * ROW_CHUNK
    last = min(first + ROW_CHUNK, plan[l, SIZE])
    step_layer(params, work, plan, m, 0, size, rate, l, first, last)


@kernel()
def partial_gradient(nabla, work, pixels, kind, Y, order, params, plan, first, last, drops, key):
    """Add the gradient of the samples order[first:last] to the flat vector nabla."""
    rows = order.size
    forward_pass(work, pixels, kind, order, params, plan, rows, first, last, drops, key)
    delta_recursion(work, Y, order, params, plan, rows, first, last, drops, key)
    minus_one = nabla.dtype.type(-1)
    for l in range(1, plan.shape[0]):
        step_layer(nabla, work, plan, rows, first, last - first, minus_one, l, 0, plan[l, SIZE])


@kernel()
def copy(out, start, A):
    """Write A into the rows of out from `start` on. A slice assignment compiles for seconds."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            out[start + i, j] = A[i, j]


# ------------------------------------------------ drivers


@kernel()
def feedforward_batch(out, work, pixels, kind, order, params, plan, rows, chunk, drops):
    """Write the network's output for the samples `order` into out, `rows` of them at a time.

    out (n, n_out); work: activations of `rows` samples; drops: zeros; chunk is for the parallel
    twin.
    """
    top = plan.shape[0] - 1
    for start in range(0, order.size, rows):
        m = min(rows, order.size - start)
        part = order[start : start + m]
        forward_pass(work, pixels, kind, part, params, plan, rows, np.intp(0), m, drops, 0)
        copy(out, start, block(work, rows * plan[top, A_AT], m, plan[top, SIZE]))


@kernel(parallel=True)
def feedforward_batch_parallel(out, work, pixels, kind, order, params, plan, rows, chunk, drops):
    """feedforward_batch, parallel over chunks of the samples in the workspace."""
    top = plan.shape[0] - 1
    for start in range(0, order.size, rows):
        m = min(rows, order.size - start)
        part = order[start : start + m]
        for task in prange((m + chunk - 1) // chunk):
            first = np.intp(task) * chunk  # the index may be unsigned, and mixed types are floats
            last = min(first + chunk, m)
            forward_pass(work, pixels, kind, part, params, plan, rows, first, last, drops, 0)
        copy(out, start, block(work, rows * plan[top, A_AT], m, plan[top, SIZE]))


@kernel()
def backprop_batch(partials, work, pixels, kind, Y, order, params, plan, chunk, drops, key):
    """Write the gradient, summed over the samples `order`, into partials[0].

    partials (ceil(m / chunk), params.size), zero at the start: one partial gradient per chunk of
    samples, then added up in the order of the chunks. work: m samples.
    """
    for task in range(partials.shape[0]):
        first = task * chunk
        last = min(first + chunk, order.size)
        partial_gradient(
            partials[task], work, pixels, kind, Y, order, params, plan, first, last, drops, key
        )
    add_up(partials)


@kernel(parallel=True)
def backprop_batch_parallel(
    partials, work, pixels, kind, Y, order, params, plan, chunk, drops, key
):
    """backprop_batch, parallel over the chunks of samples."""
    for task in prange(partials.shape[0]):
        first = np.intp(task) * chunk
        last = min(first + chunk, order.size)
        partial_gradient(
            partials[task], work, pixels, kind, Y, order, params, plan, first, last, drops, key
        )
    add_up(partials)


@kernel()
def add_up(partials):
    """Add the rows of partials to its first row, in order."""
    total = partials[0]
    for task in range(1, partials.shape[0]):
        part = partials[task]
        for p in range(total.size):
            total[p] += part[p]


@kernel()
def sgd_steps(params, work, pixels, kind, Y, order, plan, m, eta, chunk, drops):
    """Take one step of gradient descent for every m samples of `order`, in place.

    The last mini-batch may be ragged; each is divided by its own length. work: m samples; drops:
    zeros; chunk is for the parallel twin.
    """
    for start in range(0, order.size, m):
        size = min(m, order.size - start)
        batch = order[start : start + size]
        forward_pass(work, pixels, kind, batch, params, plan, m, np.intp(0), size, drops, 0)
        delta_recursion(work, Y, batch, params, plan, m, 0, size, drops, 0)
        rate = params.dtype.type(eta / size)
        for l in range(1, plan.shape[0]):
            step_layer(params, work, plan, m, 0, size, rate, l, 0, plan[l, SIZE])


@kernel(parallel=True)
def sgd_steps_parallel(params, work, pixels, kind, Y, order, plan, m, eta, chunk, drops):
    """sgd_steps, parallel over the samples of a mini-batch.

    Forward pass and delta recursion go over fixed chunks of samples, which are independent of
    each other. The step goes over rows of the weights: each row sums its samples in one order,
    so there are no partial gradients to add up and no dependence on the number of threads.
    """
    step_tasks = 0
    for l in range(1, plan.shape[0]):
        step_tasks += (plan[l, SIZE] + ROW_CHUNK - 1) // ROW_CHUNK
    for start in range(0, order.size, m):
        size = min(m, order.size - start)
        batch = order[start : start + size]
        for task in prange((size + chunk - 1) // chunk):
            first = np.intp(task) * chunk
            last = min(first + chunk, size)
            forward_pass(work, pixels, kind, batch, params, plan, m, first, last, drops, 0)
            delta_recursion(work, Y, batch, params, plan, m, first, last, drops, 0)
        rate = params.dtype.type(eta / size)
        for task in prange(step_tasks):
            step_task(params, work, plan, m, size, rate, np.intp(task))


@kernel()
def cost_rows(A, Y, order, cost):
    """Return the cost of the outputs A (m, n_out), summed over the samples; 0 ln 0 counts as 0."""
    zero, one = A.dtype.type(0), A.dtype.type(1)
    total = zero
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            a, y = A[i, j], Y[order[i], j]
            if cost == QUADRATIC:
                total += (a - y) * (a - y) / (one + one)
            else:
                if y != zero:
                    total -= y * np.log(a)
                if cost == CROSS_ENTROPY and y != one:
                    total -= (one - y) * np.log(one - a)
    return total


@kernel()
def difference_quotients(
    quotients, which, params, work, pixels, kind, Y, order, plan, drops, cost, h
):
    """Write (C(p + h) - C(p - h)) / 2h for each parameter p of `which`: two forward passes each.

    quotients, which (count,); work: activations of all samples of `order`; drops: zeros; cost:
    QUADRATIC ... params is left as it was.
    """
    m, top = order.size, plan.shape[0] - 1
    A = block(work, m * plan[top, A_AT], m, plan[top, SIZE])
    for t in range(which.size):
        p, difference = params[which[t]], params.dtype.type(0)
        for side in range(2):
            params[which[t]] = p - h if side else p + h
            forward_pass(work, pixels, kind, order, params, plan, m, np.intp(0), m, drops, 0)
            c = cost_rows(A, Y, order, cost)
            difference += -c if side else c
        params[which[t]] = p
        quotients[t] = difference / (h + h)


# ------------------------------------------------ the book's order of samples


@kernel(inner=True)
def mt_refill(state):
    """Advance the 624 words of a Mersenne Twister, state[:624], by one generation."""
    for i in range(624):
        following = state[i + 1] if i < 623 else state[0]
        y = (state[i] & np.uint32(0x80000000)) | (following & np.uint32(0x7FFFFFFF))
        twisted = np.uint32(0x9908B0DF) if y & np.uint32(1) else np.uint32(0)
        state[i] = state[(i + 397) % 624] ^ (y >> np.uint32(1)) ^ twisted


@kernel()
def shuffle(order, state):
    """Shuffle `order` in place exactly as random.shuffle would, and advance the state likewise.

    order (n,) int64, n < 2**32; state (625,) uint32: random.getstate()[1]. CPython draws an index
    below i + 1 from as many bits as i + 1 has, and draws again while it is too large.
    """
    for i in range(order.size - 1, 0, -1):
        shift = 32
        while shift > 0 and (i + 1) >> (32 - shift) > 0:
            shift -= 1
        j = i + 1
        while j > i:
            if state[624] >= np.uint32(624):  # its position in the generation
                mt_refill(state)
                state[624] = np.uint32(0)
            y = state[state[624]]
            state[624] += np.uint32(1)
            y ^= y >> np.uint32(11)
            y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
            y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
            y ^= y >> np.uint32(18)
            j = np.int64(np.uint32(y)) >> shift
        order[i], order[j] = order[j], order[i]

"""Where everything lies in memory: the one place where offsets are computed.

For the length of a call the weights are packed: the neurons of a layer in panels of `lanes`, and in
a panel one row per input, the last row the biases, whose input is the constant 1.

    weights  W of each layer, packed (panels, n_in + 1, lanes), with rows of padding behind; after
             all W, for the layers above the first, T, the same transposed, (vectors of inputs,
             n_out, lanes), padded, as the backward pass reads it
    work     A, D: activations and Deltas, a row per sample, padded to whole vectors, A with the 1
             behind its neurons; S: factor * Delta, packed (panels, m, lanes), where the factor is
             -eta/m in training; of the input layer the values of the nonzero pixels, a row of up
             to MR samples per pixel
    columns  for each group of up to MR samples: where each block of KC columns begins in the list
             of the pixels that are not zero in at least one of them, and this list
    i j k l  sample, neuron, input, layer

The padding of weights and Deltas is 0 and stays 0. Each number is one sum in one order, whichever
thread computes it: results are the same to the bit for any number of threads.
"""

import math
from collections import namedtuple

import numpy as np
from numba import types

from fastbp.kernels.jit import kernel, typed
from fastbp.kernels.simd import MR, VECTOR, at, lanes, open_span, span

KC = 128  # inputs in a block: so many rows of a panel stay in the first-level cache
UNROLL = 8  # columns that are written to a list at once

# Columns of the table of layers.
N, STRIDE, PANELS, W_AT, T_AT, A_AT, D_AT, S_AT, ACTIVATION, SLOPE, FIELDS = range(11)
# How pixels are stored: all of them, in rows; or, as float64, those that are not zero, in SciPy's
# compressed sparse rows.
FLOAT64, FLOAT32, UINT8, CSR = range(4)
STORED = (np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.uint8))

# Rows of numbers that are `stride` apart: a matrix, a block of one, or a packed one, a panel a row.
Matrix = namedtuple("Matrix", "place rows stride")
# The element (r, t) at place[r * row + t * column]: a matrix, or a transposed one.
Strided = namedtuple("Strided", "place row column")
# The pixels of a data set: bytes of rows of n pixels, of a kind; scale: what multiplies them;
# range_factor: see sparse.all_in_range.
PixelSource = namedtuple("PixelSource", "bytes kind n scale range_factor indices indptr")
# All that a call works on, flat arrays for drivers and places for kernels. target: what an update
# adds to; in_range[0] becomes 0 if an input is not; top: the output layer; n_samples: in the order.
Net = namedtuple(
    "Net",
    "layers weights target work columns pixels Y order in_range kind scale range_factor top m "
    "n_samples sparse indices indptr",
)
Layer = namedtuple("Layer", "n W T target_W target_T A D S activation slope")
# Up to MR samples of a mini-batch, from `first` on, whose nonzero pixels are listed together.
Group = namedtuple("Group", "first rows values columns starts")


def matrix_type(dtype):
    """Return Numba's type of a Matrix."""
    return typed(Matrix, types.CPointer(dtype), types.intp, types.intp)


def pixels_type(dtype):
    """Return Numba's type of PixelSource."""
    I, place = types.intp, types.CPointer
    return typed(
        PixelSource, place(types.uint8), I, I, dtype, dtype, place(types.int32), place(types.int64)
    )


def net_type(dtype):
    """Return Numba's type of a Net of places."""
    place, int64 = types.CPointer(dtype), types.CPointer(types.int64)
    I, int32, uint8 = types.intp, types.CPointer(types.int32), types.CPointer(types.uint8)
    return typed(
        Net, int64, place, place, place, int32, uint8, place, int64, int64, I, dtype, dtype, I, I,
        I, I, int32, int64,
    )  # fmt: skip


# ------------------------------------------------ in kernels


@kernel
def places_of(net):
    """Return the Net with the places of its arrays: cheap to hand on."""
    return Net(
        at(net.layers, 0), at(net.weights, 0), at(net.target, 0), at(net.work, 0),
        at(net.columns, 0), at(net.pixels, 0), at(net.Y, 0), at(net.order, 0), at(net.in_range, 0),
        net.kind, net.scale, net.range_factor, net.top, net.m, net.n_samples, net.sparse,
        at(net.indices, 0), at(net.indptr, 0),
    )  # fmt: skip


@kernel
def field(net, l, column):
    """Return a number of the table of layers."""
    return net.layers[l * FIELDS + column]


@kernel
def size_of(net, l):
    """Return how many neurons layer l has."""
    return net.layers[l * FIELDS + N]


@kernel
def matrix(array, start, rows, stride):
    """Return the Matrix of `rows` rows from array[start] on."""
    return Matrix(span(array, start, rows * stride), rows, stride)


@kernel
def row(A, i):
    """Return the place of row i of a matrix."""
    return open_span(A.place, i * A.stride, A.stride)  # the last may be shorter: see block


@kernel
def block(A, i, rows, j):
    """Return the matrix of the rows i to i + rows, from column j on."""
    # With j > 0 the last row is shorter than the stride.
    return Matrix(open_span(A.place, i * A.stride + j, rows * A.stride - j), rows, A.stride)


@kernel
def panels(W, p0, p1):
    """Return the panels p0 to p1 of a packed matrix."""
    return block(W, p0, p1 - p0, 0)


@kernel
def panel(W, p):
    """Return the matrix (inputs or samples, lanes) of panel p of a packed matrix."""
    v = lanes(W.place)
    return Matrix(row(W, p), W.stride // v, v)


@kernel
def layer_of(net, l):
    """Return the Layer l > 0."""
    v, stride, n_panels = lanes(net.work), field(net, l, STRIDE), field(net, l, PANELS)
    n_inputs, below = field(net, l - 1, PANELS) if l > 1 else 0, field(net, l - 1, STRIDE)
    return Layer(
        field(net, l, N),
        matrix(net.weights, field(net, l, W_AT), n_panels, below * v),
        matrix(net.weights, field(net, l, T_AT), n_inputs, n_panels * v * v),
        matrix(net.target, field(net, l, W_AT), n_panels, below * v),
        matrix(net.target, field(net, l, T_AT), n_inputs, n_panels * v * v),
        matrix(net.work, field(net, l, A_AT), net.m, stride),
        matrix(net.work, field(net, l, D_AT), net.m, stride),
        matrix(net.work, field(net, l, S_AT), n_panels, net.m * v),
        field(net, l, ACTIVATION),
        field(net, l, SLOPE),
    )


@kernel
def inputs_of(net, l):
    """Return the activations of the layer below layer l."""
    return matrix(net.work, field(net, l - 1, A_AT), net.m, field(net, l - 1, STRIDE))


@kernel
def packed_as_weights(net, array, l):
    """Return the part of an array, packed as weights are, that belongs to layer l's weights."""
    n_panels, stride = field(net, l, PANELS), field(net, l - 1, STRIDE) * lanes(net.work)
    return matrix(array, field(net, l, W_AT), n_panels, stride)


@kernel
def groups_of(size):
    """Return how many groups `size` samples are."""
    return (size + MR - 1) // MR


@kernel
def group_start(g, size):
    """Return the first sample of group g: groups of 3, and in the end up to two of 2."""
    threes = size - 2 * groups_of(size)
    return max(0, MR * g - max(0, g - threes))


@kernel
def group_of(net, g, size):
    """Return group g of a mini-batch of `size` samples, with a sparse first layer."""
    n = size_of(net, 0)
    first = group_start(g, size)
    rows, blocks = group_start(g + 1, size) - first, n // KC + 1
    start = g * (blocks + n + 2 + UNROLL)
    return Group(
        first,
        rows,
        span(net.work, field(net, 0, S_AT) + first * (n + 1), rows * (n + 1)),
        span(net.columns, start + blocks + 1, n + 1 + UNROLL),
        span(net.columns, start, blocks + 1),
    )


@kernel
def batch_size(net, start):
    """Return how many samples the mini-batch has that begins at order[start]."""
    return min(net.m, net.n_samples - start)


@kernel
def pixel_source(net):
    """Return the PixelSource of a call."""
    return PixelSource(
        net.pixels, net.kind, size_of(net, 0), net.scale, net.range_factor, net.indices, net.indptr
    )


# ------------------------------------------------ in Python


class Layout:
    """The table of layers, for a network of these sizes and mini-batches of up to m samples.

    A row per layer, the input layer first: neurons; how far apart two rows of activations are;
    panels; where W and T begin in `weights`, and A, D and S in `work`; the codes of the activation
    and of the slope (activations.py).
    """

    def __init__(self, sizes, dtype, m, codes=None):
        self.sizes, self.dtype, self.m = sizes, np.dtype(dtype), m
        self.lanes = v = VECTOR // self.dtype.itemsize
        self.table = t = np.zeros((len(sizes), FIELDS), np.int64)
        t[:, N] = sizes
        t[:, STRIDE] = v * (t[:, N] // v + 1)
        t[:, STRIDE] += v * (t[:, STRIDE] % 512 == 0)  # rows 2 KB apart share lines of the cache
        t[:, PANELS] = -(-t[:, N] // v)
        if codes is not None:
            t[1:, [ACTIVATION, SLOPE]] = codes
        ends = self._place(W_AT, [0, *(t[1:, PANELS] * t[:-1, STRIDE] * v)], 0)
        self.n_packed = ends  # without T
        self.part_size = int(t[0, STRIDE]) * v  # of a panel of the first layer
        transposed = [0, 0, *(t[1:-1, PANELS] * t[2:, PANELS] * v * v)]
        self.n_weights = self._place(T_AT, transposed, ends)
        ends = self._place(A_AT, m * t[:, STRIDE], 0)
        ends = self._place(D_AT, [0, *(m * t[1:, STRIDE])], ends)
        self.n_work = self._place(S_AT, [m * (sizes[0] + 1), *(m * t[1:, PANELS] * v)], ends)

    def _place(self, column, counts, start):
        ends = start + np.cumsum(counts)
        self.table[:, column] = ends - counts
        return int(ends[-1])

    def _panels(self, weights, l):
        """Return layer l's W as a view (panels, rows, lanes)."""
        shape = self.table[l, PANELS], self.table[l - 1, STRIDE], self.lanes
        start = self.table[l, W_AT]
        return weights[start : start + math.prod(shape)].reshape(shape)

    def weights_into(self, weights, l):
        """Return layer l's weights, without the biases, as a view (panels, n_in, lanes)."""
        return self._panels(weights, l)[:, : self.sizes[l - 1]]

    def _transposed(self, weights, l):
        """Return layer l's T as a view (vectors of inputs, neurons, lanes)."""
        shape = self.table[l - 1, PANELS], self.table[l, PANELS] * self.lanes, self.lanes
        start = self.table[l, T_AT]
        return weights[start : start + math.prod(shape)].reshape(shape)

    def pack(self, layers):
        """Return the packed weights of [(w (n_out, n_in), b (n_out,)), ...]."""
        weights = zeros(self.n_weights, self.dtype)
        v = self.lanes
        for l, (w, b) in enumerate(layers, 1):
            n_out, n_in = w.shape
            for panel, j in zip(self._panels(weights, l), range(0, n_out, v)):
                panel[:n_in, : n_out - j] = w[j : j + v].T
                panel[n_in, : n_out - j] = b[j : j + v]
            if l > 1:
                for panel, k in zip(self._transposed(weights, l), range(0, n_in, v)):
                    panel[:n_out, : n_in - k] = w[:, k : k + v]
        return weights

    def unpack(self, weights, layers):
        """Write packed weights into [(w, b), ...]."""
        v = self.lanes
        for l, (w, b) in enumerate(layers, 1):
            n_out, n_in = w.shape
            for panel, j in zip(self._panels(weights, l), range(0, n_out, v)):
                w[j : j + v] = panel[:n_in, : n_out - j].T
                b[j : j + v] = panel[n_in, : n_out - j]

    def write_transposed(self, weights):
        """Write T of all layers of packed weights whose W alone have changed."""
        v = self.lanes
        for l in range(2, len(self.sizes)):
            n_in, T = self.sizes[l - 1], self._transposed(weights, l)
            W = self._panels(weights, l)[:, : len(T) * v]
            blocks = W.reshape(len(W), len(T), v, v).transpose(1, 0, 3, 2)
            T.reshape(len(T), len(W), v, v)[:] = blocks
            T[-1, :, n_in - (len(T) - 1) * v :] = 0  # the biases stand behind the last input

    def places(self, numbers):
        """Return where each parameter stands in packed weights. numbers: 1, 2 ... of layers."""
        packed = self.pack(numbers)[: self.n_packed].astype(np.int64)
        places = np.zeros(packed.max(), np.int64)
        places[packed[packed > 0] - 1] = np.flatnonzero(packed)
        return places

    def net(self, weights, target, stored, order, sparse, range_factor):
        """Return the Net of a call. stored: see samples.Stored; the others: see Net."""
        n, kinds = self.sizes[0], np.int32
        columns = -(-self.m // MR) * (n // KC + 1 + n + 2 + UNROLL) if sparse else 0
        work, columns = zeros(self.n_work, self.dtype), zeros(columns, kinds)
        return Net(
            self.table.reshape(-1), weights, target, work, columns, stored.numbers, stored.Y, order,
            np.ones(1, np.int64), stored.kind, self.dtype.type(stored.scale), range_factor,
            len(self.sizes) - 1, self.m, len(order), int(sparse), stored.indices, stored.indptr,
        )  # fmt: skip


def chunk_bounds(m, chunks):
    """Return where the chunks of a mini-batch begin: (groups, samples), each (chunks + 1,).

    They consist of whole groups of samples, since the kernels go through these.
    """
    groups = -(-m // MR)
    first = np.arange(chunks + 1) * groups // chunks
    threes = m - 2 * groups  # so many groups are of 3, the last ones of 2: see group_start
    return first, np.clip(MR * first - np.maximum(0, first - threes), 0, m)


def zeros(count, dtype):
    """Return zeros that begin on a line of the cache: a vector across two costs twice."""
    dtype, line = np.dtype(dtype), 64
    memory = np.zeros(count * dtype.itemsize + line, np.uint8)
    skip = -memory.ctypes.data % line
    return memory[skip : skip + memory.size - line].view(dtype)

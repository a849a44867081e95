"""A mini-batch as a program: which steps of vectors.py run on what, for each thread of a team.

Law: nothing is computed here. Programs hold addresses in the arrays of one call, which they keep.

For the length of a call the weights stand in panels of 16 or 32 neurons, one input a row:

    panels      the network in one flat vector: a layer is (panels, n_in + 1, width), the last row
                of a panel the biases, whose input is the constant 1
    work        activations A and Deltas, one row per sample, padded to whole vectors (Deltas with
                zeros), A with the constant 1 behind its neurons; and scaled Deltas, rate * Delta,
                in panels (panels, m, width), as the update reads them
    lists       what of a mini-batch is not zero (of MNIST's pixels, a fifth): a bit per pixel and
                sample; for each group of samples the columns of the pixels that are not zero in
                all of them, how many these are, and their values, sample by sample
    v           a vector of LANES neurons; a panel is `strip` of them, which makes its width
"""

import math
from types import SimpleNamespace

import numpy as np

from fastbp import vectors
from fastbp.kernels import LINEAR, SOFTMAX
from fastbp.vectors import LANES

SHARED_BY_NEURONS = 4  # vectors per thread from which on a layer is shared out by neurons


def zeros(shape, dtype):
    """Return zeros that begin on a line of the cache: a vector across two costs twice."""
    dtype, line = np.dtype(dtype), 64
    memory = np.zeros(math.prod(np.atleast_1d(shape)) * dtype.itemsize + line, np.uint8)
    skip = -memory.ctypes.data % line
    return memory[skip : skip + memory.size - line].view(dtype).reshape(shape)


class Layout:
    """Where everything lies in the panel form, in numbers of one dtype from the array's start.

    layers: of each, input layer first, n neurons; stride, how far apart two rows of activations
    are; vectors, how many hold its neurons; shape, (panels, n_in + 1, width); where its panels
    begin; where its A, its Deltas and its scaled Deltas begin in a workspace of one sample (in a
    workspace of m samples: m times that).
    """

    def __init__(self, sizes, width):
        self.sizes, self.width, self.strip = sizes, width, width // LANES
        self.layers = []
        self.n_panels = self.units = 0
        for l, n in enumerate(sizes):
            stride = LANES * (n // LANES + 1)
            # Rows that are a multiple of 2 KB apart would compete for the same lines of the cache.
            stride += LANES * (stride % 512 == 0)
            shape = -(-n // width), sizes[l - 1] + 1 if l else 0, width
            A, D, S = self.units, self.units + stride, self.units + 2 * stride
            own = dict(n=n, stride=stride, shape=shape, vectors=-(-n // LANES))
            self.layers.append(SimpleNamespace(**own, panels=self.n_panels, A=A, D=D, S=S))
            self.n_panels += math.prod(shape)
            self.units = S + shape[0] * width if l else D
        self.scratch = width * (max(sizes[1:]) + LANES)
        self.slack = LANES * width  # a block that is turned over may read beyond the end

    def to_panels(self, params, plan):
        """Return the weights and biases of the flat params in panels."""
        panels = zeros(self.n_panels + self.slack, params.dtype)
        for panel, w, b in self._panels(panels, params, plan):
            panel[:-1, : len(b)], panel[-1, : len(b)] = w.T, b
        return panels

    def from_panels(self, panels, params, plan):
        """Write the weights and biases in panels into the flat params."""
        for panel, w, b in self._panels(panels, params, plan):
            w[...], b[...] = panel[:-1, : len(b)].T, panel[-1, : len(b)]

    def _panels(self, panels, params, plan):
        """Yield each panel (n_in + 1, width), with the rows of w and b that it holds."""
        for layer, (n, w_at, b_at) in zip(self.layers[1:], plan.table[1:, :3].tolist()):
            w, b = params[w_at:b_at].reshape(n, -1), params[b_at : b_at + n]
            whole = panels[layer.panels : layer.panels + math.prod(layer.shape)]
            for p, panel in enumerate(whole.reshape(layer.shape)):
                part = slice(p * self.width, (p + 1) * self.width)
                yield panel, w[part], b[part]


def part_of(count, share, shares):
    """Return the range (first, last) of `count` things that is number `share` of `shares`."""
    return share * count // shares, (share + 1) * count // shares


class Programs:
    """The arrays of one call, and the programs on them, for mini-batches of up to m samples.

    data: (pixels, kind, listed, Y), see engine.Samples; listed: leave out the pixels that are zero.
    eta: the learning rate, to train; None: write the outputs to `out`, (n, n_out), instead. rules,
    velocity: see engine.Rules; velocity in panels, as the weights are.
    Each row of a result is one sum in one order, whoever computes it, so that no bit depends on
    the number of threads, nor on what is listed.
    """

    def __init__(
        self, plan, panels, data, m, shares=1, eta=None, out=None, rules=None, velocity=None
    ):
        self.layout = layout = plan.layout(panels.dtype)
        self.panels, self.m, self.shares = panels, m, shares
        self.rules, self.velocity = rules, velocity
        self.activations, self.slopes = plan.table[:, -2:].T.tolist()
        self.pixels, self.kind, self.listed, self.Y = data
        self.eta, self.out, self.top = eta, out, len(layout.layers) - 1
        self.drops = rules.dropout if rules and rules.dropout else (0,) * len(layout.layers)
        self.listed = self.listed and not self.drops[0]
        self.dtype, n = panels.dtype, layout.sizes[0]
        self.n_bytes = n * (8, 4, 1)[self.kind]
        self.work = zeros(m * layout.units, self.dtype)
        self.scratch = zeros((shares, layout.scratch), self.dtype)
        m = m if self.listed else 0  # that have lists
        groups, self.mask_row = self._groups(m), (n // 64 + 1) * 4
        self.masks = np.zeros(m * self.mask_row, np.uint16)
        self.columns = np.zeros(groups * (n + 1 + vectors.AT_ONCE), np.int32)
        self.counts = np.zeros(groups, np.int64)
        self.values = zeros(m * (n + 1), self.dtype)

    def table(self, size, share=0):
        """Return the program of one thread, for a mini-batch of `size` samples."""
        steps = self.test if self.eta is None else self.train
        return as_table(steps(size, share))

    def train(self, size, share):
        """Yield the steps of a mini-batch that takes a step of gradient descent."""
        meet = [(vectors.MEET,)] if self.shares > 1 else []
        yield from self.forward_pass(size, share, meet)
        yield from meet
        for l in range(self.top - 1, 0, -1):
            yield from self.backward(l, size, share)
            yield from meet
        for l in range(1, self.top + 1):
            yield from self.update(l, size, share)
        yield from meet
        if self.rules and self.rules.max_norm:
            for l in range(1, self.top + 1):
                yield from self.limit_norms(l, share)
            yield from meet

    def test(self, size, share):
        """Yield the steps of a mini-batch that writes its outputs."""
        meet = [(vectors.MEET,)] if self.shares > 1 else []
        yield from self.forward_pass(size, share, meet)
        yield from meet
        first, last = self._samples(size, share)
        layer = self.layout.layers[-1]
        A = self._work(layer.A)
        yield COPY, address(self.out), A, layer.stride, layer.n, first, last
        yield from meet

    def forward_pass(self, size, share, meet):
        """Yield the steps from the pixels to the output layer, and to its Delta."""
        yield from self.read(size, share)
        for l in range(1, self.top + 1):
            yield from meet
            yield from self.forward(l, size, share)
            yield from self.activate(l, size, share)
            if l == self.top and self.eta is not None:
                yield from self.output_delta(size, share)

    # ------------------------------------------------ the shares of a team

    def _groups(self, count):
        return -(-count // vectors.GROUP)

    def _samples(self, size, share):
        """Return the samples (i0, i1) of one share, in whole groups."""
        groups = self._groups(size)
        return tuple(g * size // groups for g in part_of(groups, share, self.shares))

    def _block(self, l, size, share):
        """Return the block (v0, v1, g0, g1) of layer l's neurons and groups of samples.

        A wide layer is shared out by neurons, so that its weights stay with their core, a narrow
        one by samples.
        """
        n_vectors, groups = self.layout.layers[l].vectors, self._groups(size)
        whole = self.activations[l] == SOFTMAX  # it needs all neurons of a sample
        if n_vectors >= SHARED_BY_NEURONS * self.shares and not whole:
            return *part_of(n_vectors, share, self.shares), 0, groups
        return 0, n_vectors, *part_of(groups, share, self.shares)

    def _strips(self, v0, v1):
        """Yield (v, vectors): the parts of panels that are in v0..v1."""
        v = v0
        while v < v1:
            vectors_ = min(self.layout.strip - v % self.layout.strip, v1 - v)
            yield v, vectors_
            v += vectors_

    # ------------------------------------------------ addresses

    def _work(self, at, offset=0):
        return address(self.work, self.m * at + offset)

    def _vector(self, v, rows):
        """Return where vector v of neurons begins among panels of so many rows."""
        strip = self.layout.strip
        return (v // strip * rows * strip + v % strip) * LANES

    def _panel(self, l, v, row=0, of=None):
        layer = self.layout.layers[l]
        at = layer.panels + self._vector(v, layer.shape[1]) + row * self.layout.width
        return address(self.panels if of is None else of, at)

    def _scaled(self, l, v, i=0):
        return self._work(self.layout.layers[l].S, self._vector(v, self.m) + i * self.layout.width)

    # ------------------------------------------------ layers: the four equations

    def read(self, size, share):
        """The input layer, or the lists of what in it is not zero; asks for the rows of Y."""
        layer, groups, n = self.layout.layers[0], self._groups(size), self.layout.sizes[0]
        i0, i1 = self._samples(size, share)
        if self.listed:
            lists = address(self.columns), address(self.counts), address(self.values)
            masks, pixels = (address(self.masks), self.mask_row), address(self.pixels)
            g0, g1 = part_of(groups, share, self.shares)
            yield LIST, *lists, *masks, pixels, g0, g1, groups, size, n, self.kind
        else:
            A = self._work(layer.A, i0 * layer.stride)
            yield GATHER, A, layer.stride, address(self.pixels), i0, i1 - i0, n, self.kind
            yield from self.drop(0, layer.A, 0, layer.vectors, i0, i1)
        if self.eta is not None:
            yield ASK, address(self.Y), self.Y.strides[0], i0, i1

    def forward(self, l, size, share):
        """z = w a + b, in the place of layer l's activations."""
        below, layer = self.layout.layers[l - 1 : l + 1]
        v0, v1, g0, g1 = self._block(l, size, share)
        groups = self._groups(size)
        i0, i1 = g0 * size // groups, g1 * size // groups
        for v, count in self._strips(v0, v1):
            if self.listed and l == 1:
                lists = address(self.columns), address(self.counts)
                # Samples that come later are asked for once.
                ahead = address(self.pixels), self.n_bytes if v == v0 else 0
                yield (
                    LISTED, self._work(layer.A, v * LANES), layer.stride, address(self.values),
                    self._panel(l, v), *lists, count, g0, g1, groups, size, below.n, *ahead,
                )  # fmt: skip
            else:
                yield (
                    MULTIPLY_ADD, self._work(layer.A, i0 * layer.stride + v * LANES), layer.stride,
                    self._work(below.A, i0 * below.stride), below.stride, 1, self._panel(l, v),
                    below.n + 1, i1 - i0, count, 0,
                )  # fmt: skip

    def activate(self, l, size, share):
        """z becomes sigmoid(z) in layer l, with the constant input of the next biases behind it."""
        layer, (v0, v1, g0, g1) = self.layout.layers[l], self._block(l, size, share)
        groups, stride = self._groups(size), layer.stride
        i0, i1 = g0 * size // groups, g1 * size // groups
        n_vectors, code = layer.vectors, self.activations[l]
        run = v1 - v0, i1 - i0
        if run[0] == n_vectors and code != SOFTMAX:  # then the rows are one run
            run = (i1 - i0) * stride // LANES, 1
        ones = self._work(layer.A, i0 * stride + layer.n), (i1 - i0) * (v1 == n_vectors)
        A = self._work(layer.A, i0 * stride + v0 * LANES)
        yield ACTIVATE, A, stride, *run, *ones, code, layer.n
        yield from self.drop(l, layer.A, v0, v1, i0, i1)

    def drop(self, l, at, v0, v1, i0, i1):
        """Dropout of a block of layer l, of its activations or Deltas; the constant input stays."""
        layer, drop = self.layout.layers[l], self.drops[l]
        if self.eta is None or not drop:
            return
        place = self._work(at, v0 * LANES), layer.stride, v0 * LANES, v1 - v0, i0, i1
        limit = min(int(drop * 2**32), 2**32 - 1)
        yield DROP, *place, l, self.rules.key, limit, bits(1 / (1 - drop))
        if at == layer.A and v1 == layer.vectors:
            ones = self._work(layer.A, i0 * layer.stride + layer.n), i1 - i0
            yield ACTIVATE, place[0], layer.stride, 0, 0, *ones, LINEAR, layer.n

    def output_delta(self, size, share):
        """BP1: (A - Y) times the slope in the output layer, and rate times that."""
        layer, (v0, v1, g0, g1) = self.layout.layers[-1], self._block(self.top, size, share)
        i0, i1 = (g * size // self._groups(size) for g in (g0, g1))
        D, A, Y = self._work(layer.D), self._work(layer.A), address(self.Y)
        j0, j1 = v0 * LANES, min(v1 * LANES, layer.n)
        yield DIFFERENCE, D, A, Y, layer.stride, j0, j1, layer.n, i0, i1
        yield from self.scale(self.top, size, v0, v1, i0, i1)

    def scale(self, l, size, v0, v1, i0, i1):
        """Layer l's Deltas times sigmoid'(z); and rate times that, where the update reads it."""
        layer, drop = self.layout.layers[l], self.drops[l]
        rate, keep = bits(-self.eta / size), bits(1 - drop)

        def steps(slope):
            for v in range(v0, v1):
                at = i0 * layer.stride + v * LANES
                D, A, S = self._work(layer.D, at), self._work(layer.A, at), self._scaled(l, v, i0)
                yield SCALE, D, A, S, layer.stride, i1 - i0, rate, slope, keep

        yield from steps(self.slopes[l])
        if drop:
            yield from self.drop(l, layer.D, v0, v1, i0, i1)
            yield from steps(LINEAR)

    def backward(self, l, size, share):
        """BP2: (Delta @ w) A (1 - A) of layer l, and rate times that.

        w is turned over, a strip of its inputs at a time, so that the sum runs over rows again.
        """
        layer, above = self.layout.layers[l : l + 2]
        v0, v1, g0, g1 = self._block(l, size, share)
        i0, i1 = (g * size // self._groups(size) for g in (g0, g1))
        scratch, width = address(self.scratch[share]), self.layout.width
        blocks, panel = above.vectors, above.shape[1] * width
        for v, count in self._strips(v0, v1):
            yield TRANSPOSE, scratch, self._panel(l + 1, 0, v * LANES), blocks, panel, count
            yield (
                MULTIPLY_ADD, self._work(layer.D, i0 * layer.stride + v * LANES), layer.stride,
                self._work(above.D, i0 * above.stride), above.stride, 1, scratch, above.n,
                i1 - i0, count, 0,
            )  # fmt: skip
            yield from self.scale(l, size, v, v + count, i0, i1)

    def update(self, l, size, share):
        """BP3 + BP4 with the step: add the scaled Deltas times the inputs to w and b of layer l."""
        below, layer = self.layout.layers[l - 1 : l + 1]
        n_vectors, width = layer.vectors, self.layout.width
        listed = self.listed and l == 1
        v0, v1, k0, k1 = 0, n_vectors, *part_of(below.n + 1, share, self.shares)
        if listed or n_vectors >= SHARED_BY_NEURONS * self.shares:
            v0, v1, k0, k1 = *part_of(n_vectors, share, self.shares), 0, below.n + 1
        for v, count in self._strips(v0, v1):
            target = self._panel(l, v, k0, self.velocity)
            yield from self.shrink(l, v, count, k0, k1)
            if listed:
                lists, groups = (address(self.columns), address(self.counts)), self._groups(size)
                at = target, address(self.values), self._scaled(l, v)
                yield LISTED_ADD, *at, *lists, count, groups, size, below.n
            else:
                yield (
                    MULTIPLY_ADD, target, width, self._work(below.A, k0), 1, below.stride,
                    self._scaled(l, v), size, k1 - k0, count, 1,
                )  # fmt: skip
            if self.velocity is not None:
                factor = 1 + self.rules.momentum * self.rules.nesterov
                yield ADVANCE, self._panel(l, v, k0), target, k1 - k0, count, bits(factor)

    def shrink(self, l, v, count, k0, k1):
        """Regularisation of rows k0..k1 of a strip, the last of all biases; see engine.Rules."""
        rules, n = self.rules, self.layout.layers[l - 1].n
        if not rules:
            return
        regular = bits(1 - self.eta * rules.l2), bits(self.eta * rules.l1)
        momentum = bits(rules.momentum), int(rules.nesterov)
        moves = self.velocity is not None
        for first, last, how in (
            (k0, min(k1, n), regular if moves or rules.l2 or rules.l1 else None),
            (max(k0, n), k1, (bits(1), bits(0)) if moves else None),
        ):
            if how and first < last:
                V = self._panel(l, v, first, self.velocity) if moves else 0
                yield SHRINK, self._panel(l, v, first), V, last - first, count, *how, *momentum

    def limit_norms(self, l, share):
        """The weights into each neuron of layer l, shortened to the length max_norm."""
        n_vectors = self.layout.layers[l].vectors
        for v, count in self._strips(*part_of(n_vectors, share, self.shares)):
            limit = bits(self.rules.max_norm)
            yield MAX_NORM, self._panel(l, v), self.layout.layers[l - 1].n, count, limit


(
    MULTIPLY_ADD, TRANSPOSE, LISTED, LISTED_ADD, ACTIVATE, DIFFERENCE, SCALE, GATHER, LIST, ASK,
    COPY, DROP, SHRINK, ADVANCE, MAX_NORM,
) = range(vectors.MEET)  # fmt: skip


def address(array, index=0):
    """Return the address of a flat array's element."""
    return array.ctypes.data + int(index) * array.itemsize


def bits(number):
    """Return the bits of a float64 as an integer: how a program holds it."""
    return int(np.float64(number).view(np.int64))


def as_table(steps):
    """Return steps, tuples of numbers, as the rows of a program."""
    steps = list(steps)
    table = np.zeros((len(steps), vectors.WIDTH), np.int64)
    for row, step in zip(table, steps):
        row[: len(step)] = step
    return table

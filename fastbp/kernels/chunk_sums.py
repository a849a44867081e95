"""The gradient of a mini-batch, summed over its chunks in the order of a binary tree.

The sums of chunks stand on a stack: that of the next chunk is put on it, then some times the upper
two are added. This is done for one part of the weights after the other, so that the stack stays in
the second-level cache, and a gradient goes through memory once, however many chunks there are.
"""

from collections import namedtuple

import numpy as np
from numba import types

from fastbp.kernels.jit import kernel, routine, typed
from fastbp.kernels.layers import is_half, multiply
from fastbp.kernels.layout import (
    KC,
    Matrix,
    Strided,
    batch_size,
    block,
    group_start,
    inputs_of,
    layer_of,
    net_type,
    panel,
    row,
    size_of,
)  # fmt: skip
from fastbp.kernels.ranges import thread_range, updates_by_neurons
from fastbp.kernels.simd import at, lanes, load, store
from fastbp.kernels.updates import add_group

I = types.intp

# chunks: for each of `count` chunks its first group, the one after its last, and how many times the
# upper two sums are added then; spare: places for all sums of the stack but the lowest, which
# stands in the target, each of `size` numbers.
ChunkTree = namedtuple("ChunkTree", "chunks count spare size")


@kernel
def tree_of(net, chunks, spare, thread_id, n_threads):
    """Return the ChunkTree of one thread. chunks (count, 3) and spare: flat arrays."""
    own, first = spare.size // n_threads, layer_of(net, 1)
    return ChunkTree(at(chunks, 0), chunks.size // 3, at(spare, own * thread_id), first.W.stride)


@kernel
def stacked(target, tree, height):
    """Return the matrix of the sum at a height of the stack; target: that of the lowest."""
    if height == 0:
        return target
    return Matrix(at(tree.spare, (height - 1) * tree.size), target.rows, target.stride)


@kernel
def add_chunk(net, out, l, p, k, g0, g1):
    """Add the gradient of the groups g0 to g1 to `out`, the rows from k on of layer l's panel p."""
    size, layer, v, one = batch_size(net, 0), layer_of(net, l), lanes(out.place), np.intp(1)
    half = is_half(layer.W, layer.n, p)
    if l == 1 and net.sparse:
        S, blocks = panel(layer.S, p), size_of(net, 0) // KC + 1
        for g in range(g0, g1):
            add_group(net, g, size, out.place, S, 0, blocks, half)
        return
    first, last, A = group_start(g0, size), group_start(g1, size), inputs_of(net, l)
    if first < last:
        a = Strided(at(A.place, first * A.stride + k), one, A.stride)
        multiply(out, a, at(row(layer.S, p), first * v), last - first, half, 1)


@kernel
def sum_part(net, tree, l, p, k, rows):
    """Write the gradient of `rows` rows from k on of layer l's panel p into the target."""
    target, height = block(panel(layer_of(net, l).target_W, p), k, rows, 0), 0
    count, v = rows * target.stride, lanes(target.place)
    for c in range(0, 3 * tree.count, 3):
        out = stacked(target, tree, height)
        for i in range(count):
            out.place[i] = 0
        add_chunk(net, out, l, p, k, tree.chunks[c], tree.chunks[c + 1])
        for _ in range(tree.chunks[c + 2]):
            height -= 1
            left, right = stacked(target, tree, height), stacked(target, tree, height + 1)
            for i in range(0, count, v):
                store(left.place, i, load(left.place, i) + load(right.place, i))
        height += 1


def _sum_layer_arguments(dtype):
    place = types.CPointer
    tree = typed(ChunkTree, place(types.int64), I, place(dtype), I)
    return net_type(dtype), tree, I, I, I


@routine(_sum_layer_arguments)
def sum_layer(net, tree, l, thread_id, n_threads):
    """Write one thread's part of the gradient of layer l into the target."""
    v, rows = lanes(net.work), size_of(net, l - 1) + 1
    mine = thread_range(net, 0, l, True, thread_id, n_threads)
    if l == 1 and net.sparse:
        for p in range(mine.p0, mine.p1):
            sum_part(net, tree, l, p, 0, rows)
        return
    p0, p1, first, distance = mine.p0, mine.p1, 0, v
    if not updates_by_neurons(net, l, n_threads):  # by vectors of inputs
        p0, p1, first, distance = 0, layer_of(net, l).W.rows, thread_id * v, n_threads * v
    for k in range(first, rows, distance):
        for p in range(p0, p1):
            sum_part(net, tree, l, p, k, min(v, rows - k))

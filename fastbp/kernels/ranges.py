"""How a layer of a mini-batch is divided among threads.

A wide layer is divided by neurons, so that its weights stay with their core, a narrow one by
samples; the update of a narrow layer by inputs. No two threads write the same number, but for
net.in_range[0], which all may set to 0.
"""

from collections import namedtuple

from fastbp.kernels.activations import SOFTMAX
from fastbp.kernels.jit import kernel
from fastbp.kernels.layout import (
    PANELS,
    batch_size,
    block,
    field,
    group_start,
    groups_of,
    layer_of,
    size_of,
)  # fmt: skip
from fastbp.kernels.simd import lanes

WIDE = 64  # neurons per thread from which on a layer is divided by neurons

# One thread's part of a mini-batch's layer: groups g0 to g1, which are the m samples from `first`
# on, and panels p0 to p1, which are n neurons.
ThreadRange = namedtuple("ThreadRange", "size g0 g1 first m p0 p1 n")


@kernel
def divide(count, thread_id, n_threads):
    """Return the range (first, last) of `count` things that is one thread's."""
    if n_threads == 1:  # divisions take as long as a small layer
        return 0, count
    return thread_id * count // n_threads, (thread_id + 1) * count // n_threads


@kernel
def updates_by_neurons(net, l, n_threads):
    """Tell whether the update of layer l is divided by neurons, else by inputs."""
    return size_of(net, l) >= WIDE * n_threads


@kernel
def passes_by_neurons(net, l, n_threads):
    """Tell whether the passes of layer l are divided by neurons, else by samples.

    Softmax needs all neurons of a sample.
    """
    return (
        l > 0 and updates_by_neurons(net, l, n_threads) and layer_of(net, l).activation != SOFTMAX
    )


@kernel
def stage_by_neurons(net, s, n_threads):
    """Tell whether stage s of a mini-batch (see drivers.run_stage) is divided by neurons."""
    if s == net.top + 1:  # the costs of the output layer are sums over its neurons
        return False
    return passes_by_neurons(net, s if s <= net.top else 2 * net.top + 1 - s, n_threads)


@kernel
def needs_others(net, s, n_threads):
    """Tell whether in stage s a thread reads what others wrote in the one before.

    Not so where both are divided by samples, since these are the same ones in all stages.
    """
    return stage_by_neurons(net, s - 1, n_threads) or stage_by_neurons(net, s, n_threads)


@kernel
def thread_range(net, start, l, by_neurons, thread_id, n_threads):
    """Return one thread's ThreadRange of layer l."""
    size = batch_size(net, start)
    groups, n_panels, v = groups_of(size), field(net, l, PANELS), lanes(net.work)
    g0, g1, p0, p1 = 0, groups, 0, n_panels
    if by_neurons:
        p0, p1 = divide(n_panels, thread_id, n_threads)
    else:
        g0, g1 = divide(groups, thread_id, n_threads)
    first, last = group_start(g0, size), group_start(g1, size)
    n = max(0, min(size_of(net, l), p1 * v) - p0 * v)
    return ThreadRange(size, g0, g1, first, last - first, p0, p1, n)


@kernel
def thread_block(A, mine):
    """Return the samples and neurons that are one thread's, of activations or Deltas A."""
    return block(A, mine.first, mine.m, mine.p0 * lanes(A.place))

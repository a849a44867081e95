"""What Python calls: loops over mini-batches, serial and parallel.

Each region of the parallel drivers is a function of its own with one prange. Numba would fuse two
consecutive prange loops, since it does not see in a named tuple of arrays that the second reads
what the first writes; the numbers would be silently wrong.
"""

import numpy as np
from numba import prange

from fastbp.kernels.chunk_sums import sum_layer, tree_of
from fastbp.kernels.costs import total_cost
from fastbp.kernels.jit import driver, kernel, parallel_driver, parallel_kernel
from fastbp.kernels.lagging import find_lagging
from fastbp.kernels.layout import batch_size, block, layer_of, places_of, row, size_of
from fastbp.kernels.optimizer import factor_of, rule_places_of
from fastbp.kernels.passes import backward, forward, read_input
from fastbp.kernels.ranges import needs_others
from fastbp.kernels.simd import float_mode
from fastbp.kernels.updates import limit_layer, update

# ------------------------------------------------ serial


@kernel
def forward_pass(net, rules, start):
    """Write the activations of all layers for the mini-batch that begins at order[start]."""
    one, zero = np.intp(1), np.intp(0)
    read_input(net, rules, start, zero, one)
    for l in range(1, net.top + 1):
        forward(net, rules, start, l, zero, one)


@kernel
def backward_pass(net, rules, start, factor):
    """Write the Deltas of all layers, and factor times them."""
    one, zero = np.intp(1), np.intp(0)
    for l in range(net.top, 0, -1):
        backward(net, rules, start, l, factor, zero, one)


@kernel
def descend(net, rules, start, eta, factor):
    """Write all Deltas, and take the step: factor * the gradient, and what the rules add."""
    one, zero, top = np.intp(1), np.intp(0), net.top
    backward_pass(net, rules, start, factor)
    if rules is not None:
        find_lagging(net, rules, start)
    for l in range(1, top + 1):
        update(net, rules, start, l, eta, zero, one)
    if rules is not None:
        for l in range(1, top + 1 if rules.max_norm > 0 else 0):
            limit_layer(net, rules, l, zero, one)


@driver
def sgd_steps(net, rules, eta):
    """Take one step of gradient descent for every m samples of the order, in place.

    rules: optimizer.KernelRules, or None. The last mini-batch may be shorter than the others; each
    is divided by its own length.
    """
    net, rules, mode = places_of(net), rule_places_of(rules), float_mode(0)
    for start in range(0, net.n_samples, net.m):
        forward_pass(net, rules, start)
        descend(net, rules, start, eta, factor_of(rules, eta, batch_size(net, start)))
    float_mode(mode)


@driver
def backprop_batch(net, rules):
    """Add the gradient, summed over the samples of the order, to the target, packed as weights are.

    rules: None, or KernelRules with dropout alone.
    """
    net, rules, mode = places_of(net), rule_places_of(rules), float_mode(0)
    for start in range(0, net.n_samples, net.m):
        forward_pass(net, rules, start)
        descend(net, rules, start, 0.0, 1.0)
    float_mode(mode)


@driver
def sum_chunks(net, rules, chunks, spare):
    """Write the gradient, summed over the chunks of the order, into the target, packed likewise.

    The order is one mini-batch; chunks, spare: see chunk_sums.ChunkTree; rules: see backprop_batch.
    """
    net, rules, mode = places_of(net), rule_places_of(rules), float_mode(0)
    one, zero = np.intp(1), np.intp(0)
    forward_pass(net, rules, zero)
    backward_pass(net, rules, zero, 1.0)
    tree = tree_of(net, chunks, spare, zero, one)
    for l in range(1, net.top + 1):
        sum_layer(net, tree, l, zero, one)
    float_mode(mode)


@kernel
def copy_outputs(out, net, start, first, last):
    """Write the outputs of the samples `first` to `last` of a mini-batch into their rows of out."""
    A, n = layer_of(net, net.top).A, out.shape[1]
    for i in range(first, last):
        a = row(A, i)
        for j in range(n):
            out[net.order[start + i], j] = a[j]


@driver
def feedforward_batch(net, rules, out):
    """Write the network's outputs for the samples of the order into out (n, n_out). rules: None."""
    net, rules, mode = places_of(net), rule_places_of(rules), float_mode(0)
    for start in range(0, net.n_samples, net.m):
        forward_pass(net, rules, start)
        copy_outputs(out, places_of(net), start, 0, batch_size(net, start))
    float_mode(mode)


@driver
def difference_quotients(net, rules, out, which, cost, h):
    """Write (C(p + h) - C(p - h)) / 2h for each weight p of `which`: two forward passes each.

    out, which (count,); net: all samples in one mini-batch; cost: a code of costs.py, summed over
    the samples; rules: None. The weights are left as they were.
    """
    net, one, zero, first = places_of(net), np.intp(1), np.intp(0), np.intp(0)
    top, m = net.top, net.n_samples
    read_input(net, rules, first, zero, one)
    for t in range(which.size):
        p, difference = net.weights[which[t]], 0.0
        for side in range(2):
            net.weights[which[t]] = p - h if side else p + h
            for l in range(1, top + 1):
                forward(net, rules, first, l, zero, one)
            A = block(layer_of(net, top).A, 0, m, 0)
            c = total_cost(A, net.Y, net.order, size_of(net, top), cost)
            difference += -c if side else c
        net.weights[which[t]] = p
        out[t] = difference / (h + h)


# ------------------------------------------------ parallel regions


@kernel
def run_stage(net, rules, start, s, factor, thread_id, n_threads):
    """Stage s of a mini-batch: 0 reads the input; forward pass 1 to top; backward pass top to 1."""
    if s == 0:
        read_input(net, rules, start, thread_id, n_threads)
    elif s <= net.top:
        forward(net, rules, start, s, thread_id, n_threads)
    else:
        backward(net, rules, start, 2 * net.top + 1 - s, factor, thread_id, n_threads)


@parallel_kernel
def stages_parallel(net, rules, start, first, last, factor, n_threads):
    """The stages first to last of a mini-batch on n_threads threads, which do not wait between."""
    for t in prange(n_threads):
        mode = float_mode(0)  # each thread has its own
        for s in range(first, last):
            run_stage(
                places_of(net), rule_places_of(rules), start, s, factor, np.intp(t), n_threads
            )
        float_mode(mode)


@parallel_kernel
def update_parallel(net, rules, start, eta, n_threads):
    """update of all layers, which do not depend on each other, on n_threads threads."""
    for t in prange(n_threads):
        mode = float_mode(0)
        for l in range(1, net.top + 1):
            update(places_of(net), rule_places_of(rules), start, l, eta, np.intp(t), n_threads)
        float_mode(mode)


@parallel_kernel
def sums_parallel(net, chunks, spare, n_threads):
    """sum_layer of all layers on n_threads threads."""
    for t in prange(n_threads):
        mode = float_mode(0)
        places = places_of(net)
        tree = tree_of(places, chunks, spare, np.intp(t), n_threads)
        for l in range(1, net.top + 1):
            sum_layer(places, tree, l, np.intp(t), n_threads)
        float_mode(mode)


@parallel_kernel
def limit_parallel(net, rules, n_threads):
    """limit_layer of all layers on n_threads threads."""
    for t in prange(n_threads):
        mode = float_mode(0)
        for l in range(1, net.top + 1):
            limit_layer(places_of(net), rule_places_of(rules), l, np.intp(t), n_threads)
        float_mode(mode)


# ------------------------------------------------ parallel


@kernel
def passes_parallel(net, rules, start, last, factor, n_threads):
    """The stages before `last` of a mini-batch, in as few regions as can be."""
    first = 0
    for s in range(1, last + 1):
        if s == last or needs_others(places_of(net), s, n_threads):
            stages_parallel(net, rules, start, first, s, factor, n_threads)
            first = s


@kernel
def descend_parallel(net, rules, start, eta, factor, n_threads):
    """The passes of a mini-batch, and its step, as descend has it, on n_threads threads."""
    passes_parallel(net, rules, start, 2 * net.top + 1, factor, n_threads)
    if rules is not None:
        mode = float_mode(0)  # as on one thread: numbers that count as zero there are not listed
        find_lagging(places_of(net), rule_places_of(rules), start)
        float_mode(mode)
    update_parallel(net, rules, start, eta, n_threads)
    if rules is not None:  # noqa: SIM102  (Numba leaves this out where rules are None)
        if rules.max_norm > 0:
            limit_parallel(net, rules, n_threads)


@parallel_driver
def sgd_steps_parallel(net, rules, eta, n_threads):
    """sgd_steps on n_threads threads."""
    for start in range(0, net.n_samples, net.m):
        factor = factor_of(rules, eta, batch_size(net, start))
        descend_parallel(net, rules, start, eta, factor, n_threads)


@parallel_driver
def backprop_batch_parallel(net, rules, n_threads):
    """backprop_batch on n_threads threads."""
    for start in range(0, net.n_samples, net.m):
        descend_parallel(net, rules, start, 0.0, 1.0, n_threads)


@parallel_driver
def sum_chunks_parallel(net, rules, chunks, spare, n_threads):
    """sum_chunks on n_threads threads."""
    passes_parallel(net, rules, 0, 2 * net.top + 1, 1.0, n_threads)
    sums_parallel(net, chunks, spare, n_threads)


@parallel_driver
def feedforward_batch_parallel(net, rules, out, n_threads):
    """feedforward_batch on n_threads threads."""
    for start in range(0, net.n_samples, net.m):
        passes_parallel(net, rules, start, net.top + 1, 1.0, n_threads)
        copy_outputs(out, places_of(net), start, 0, batch_size(net, start))

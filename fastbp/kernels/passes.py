"""One thread's part of the forward and the backward pass of a layer of a mini-batch."""

from numba import types

from fastbp.kernels.activations import LINEAR, activate
from fastbp.kernels.costs import sample_cost
from fastbp.kernels.dropout import drop_rows, drop_threshold, drop_values
from fastbp.kernels.jit import kernel, routine
from fastbp.kernels.lagging import is_scaled, steps_of_period, weight_scale
from fastbp.kernels.layers import (
    backward_layer,
    forward_layer,
    is_half,
    multiply_slope,
    output_delta,
    set_bias_inputs,
)  # fmt: skip
from fastbp.kernels.layout import (
    KC,
    block,
    group_of,
    inputs_of,
    layer_of,
    net_type,
    panels,
    pixel_source,
    row,
    size_of,
)  # fmt: skip
from fastbp.kernels.optimizer import rules_kinds
from fastbp.kernels.ranges import stage_by_neurons, thread_block, thread_range
from fastbp.kernels.simd import at, fma, lanes, load, prefetch, store
from fastbp.kernels.sparse import (
    list_nonzero,
    next_pixels_of,
    read_rows,
    read_values,
    sparse_multiply,
)  # fmt: skip

I = types.intp

# ------------------------------------------------ forward


@routine(lambda dtype: (net_type(dtype), rules_kinds(dtype), I, I, I))
def read_input(net, rules, start, thread_id, n_threads):
    """Write the input layer, or the lists of what in it is not zero; prefetch the rows of Y."""
    mine = thread_range(net, start, 0, False, thread_id, n_threads)
    ahead = mine.size if start + 2 * mine.size <= net.n_samples else 0
    for i in range(mine.m):
        y = at(net.Y, net.order[start + ahead + mine.first + i] * size_of(net, net.top))
        prefetch(y, 0)
        prefetch(y, size_of(net, net.top) - 1)
    if net.sparse:
        read_sparse(net, rules, start, mine)
    else:
        read_dense(net, rules, start, mine)


@kernel
def read_sparse(net, rules, start, mine):
    """Write lists and values of one thread's groups."""
    n, X = size_of(net, 0), pixel_source(net)
    for g in range(mine.g0, mine.g1):
        group = group_of(net, g, mine.size)
        batch = at(net.order, start + group.first)
        list_nonzero(group.columns, group.starts, X, batch, group.rows)
        count = group.starts[n // KC + 1]
        if not read_values(group.values, group.columns, count, X, batch, group.rows):
            net.in_range[0] = 0
        if rules is not None:
            rate = rules.dropout[0]
            if rate > 0:
                limit, factor = drop_threshold(rate), 1 / (1 - rate)
                last, rows = count - 1, group.rows
                drop_values(
                    group.values, group.columns, last, batch, rows, rules.key, limit, factor
                )


@kernel
def read_dense(net, rules, start, mine):
    """Write the pixels of one thread's samples into the input layer."""
    n, X = size_of(net, 0), pixel_source(net)
    A, batch = block(inputs_of(net, 1), mine.first, mine.m, 0), at(net.order, start + mine.first)
    if not read_rows(A, X, batch):
        net.in_range[0] = 0
    if rules is not None:
        drop(A, rules, batch, 0, n, 0)


@kernel
def drop(A, rules, batch, first, n, l):
    """Dropout of activations or Deltas A (m, n) of layer l, from neuron `first` on."""
    rate = rules.dropout[l]
    if rate > 0:
        drop_rows(A, batch, first, n, l, rules.key, drop_threshold(rate), 1 / (1 - rate))


@kernel
def scale_and_add(Z, scale, biases):
    """z = scale * z + b, for Z (rows, lanes) and biases (lanes,)."""
    for i in range(Z.rows):
        store(Z.place, i * Z.stride, fma(load(Z.place, i * Z.stride), scale, load(biases, 0)))


@kernel
def forward_first(net, rules, start, layer, mine):
    """z of the first layer on the pixels that are listed.

    Weights that are stored divided by a scale are multiplied by it here. Prefetches the pixels of
    the next mini-batch, a little at each step of a tile: all lines at once are more than the
    processor can wait for.
    """
    n, v, X, ahead = size_of(net, 0), lanes(layer.A.place), pixel_source(net), 0
    scaled, scale = 0, 1.0
    if rules is not None:  # noqa: SIM102  (Numba leaves this out where rules are None)
        if is_scaled(rules):
            scaled, scale = 1, weight_scale(rules, steps_of_period(net, rules, start))
    if start + 2 * mine.size <= net.n_samples:
        ahead = mine.size
    for p in range(mine.p0, mine.p1):  # one panel at a time stays in the second-level cache
        W, half = row(layer.W, p), is_half(layer.W, layer.n, p)
        for g in range(mine.g0, mine.g1):
            group = group_of(net, g, mine.size)
            Z = block(layer.A, group.first, group.rows, p * v)
            count = group.starts[n // KC + 1]
            batch = at(net.order, start + ahead + group.first)
            next_pixels = next_pixels_of(X, batch, group.rows, count)
            listed = count - scaled  # biases, the last input, are not divided by the scale
            sparse_multiply(Z, group.values, group.columns, listed, W, half, next_pixels)
            if scaled:
                scale_and_add(Z, scale, at(W, n * v))


@routine(lambda dtype: (net_type(dtype), rules_kinds(dtype), I, I, I, I))
def forward(net, rules, start, l, thread_id, n_threads):
    """Write one thread's part of the activations of layer l > 0."""
    by_neurons = stage_by_neurons(net, l, n_threads)
    mine, layer = thread_range(net, start, l, by_neurons, thread_id, n_threads), layer_of(net, l)
    Z, first = thread_block(layer.A, mine), mine.p0 * lanes(layer.A.place)
    if l == 1 and net.sparse:
        forward_first(net, rules, start, layer, mine)
    else:
        A = block(inputs_of(net, l), mine.first, mine.m, 0)
        W = panels(layer.W, mine.p0, mine.p1)
        forward_layer(Z, A, W, size_of(net, l - 1), mine.n)
    if layer.activation != LINEAR:
        activate(Z, mine.n, layer.activation)
    if rules is not None:
        drop(Z, rules, at(net.order, start + mine.first), first, mine.n, l)
    if mine.p1 == layer.W.rows:
        set_bias_inputs(Z, mine.n)


# ------------------------------------------------ backward


@kernel
def note_samples(net, rules, Delta, A, start, mine):
    """Multiply the Deltas of the output layer by the samples' weights, and note their costs."""
    if rules.weighted == 0 and rules.cost < 0:
        return
    for i in range(mine.m):
        t = start + mine.first + i
        sample, weight = net.order[t], 1.0
        if rules.weighted:
            weight, delta = rules.sample_weight[sample], row(Delta, i)
            for j in range(mine.n):
                delta[j] *= weight
        if rules.cost >= 0:
            y = at(net.Y, sample * mine.n)
            rules.losses[t] = weight * sample_cost(row(A, i), y, mine.n, rules.cost)


@routine(lambda dtype: (net_type(dtype), rules_kinds(dtype), I, I, types.float64, I, I))
def backward(net, rules, start, l, factor, thread_id, n_threads):
    """Write one thread's part of the Deltas of layer l, and factor times them, for the update."""
    top = net.top
    by_neurons = stage_by_neurons(net, 2 * top + 1 - l, n_threads)
    mine, layer = thread_range(net, start, l, by_neurons, thread_id, n_threads), layer_of(net, l)
    Delta, A = thread_block(layer.D, mine), thread_block(layer.A, mine)
    batch = at(net.order, start + mine.first)
    if l == top:
        output_delta(Delta, A, net.Y, batch, mine.n)
        if rules is not None:
            note_samples(net, rules, Delta, A, start, mine)
    else:
        above = layer_of(net, l + 1)
        Delta_out = block(above.D, mine.first, mine.m, 0)
        backward_layer(Delta, Delta_out, panels(above.T, mine.p0, mine.p1), mine.n, above.n)
    v = lanes(A.place)
    S = block(panels(layer.S, mine.p0, mine.p1), 0, mine.p1 - mine.p0, mine.first * v)
    if rules is not None:
        if l == 1 and net.sparse:
            factor = factor / weight_scale(rules, steps_of_period(net, rules, start) + 1)
        multiply_slope(Delta, A, S, mine.n, factor, 1 - rules.dropout[l], layer.slope)
        if rules.dropout[l] > 0:
            drop(Delta, rules, batch, mine.p0 * v, mine.n, l)
            multiply_slope(Delta, A, S, mine.n, factor, 1, LINEAR)
    else:
        multiply_slope(Delta, A, S, mine.n, factor, 1, layer.slope)

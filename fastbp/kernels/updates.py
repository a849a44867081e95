"""One thread's part of the update of a layer after a mini-batch."""

from numba import types

from fastbp.kernels.jit import kernel, routine
from fastbp.kernels.lagging import (
    ALL,
    LAGGING,
    LAGS,
    catch_up,
    ends_period,
    input_list,
    is_scaled,
    stepping_inputs,
    steps_of_period,
    weight_scale,
)  # fmt: skip
from fastbp.kernels.layers import is_half, transpose_weights, update_layer
from fastbp.kernels.layout import (
    KC,
    block,
    group_of,
    groups_of,
    inputs_of,
    layer_of,
    net_type,
    packed_as_weights,
    panel,
    panels,
    row,
    size_of,
)  # fmt: skip
from fastbp.kernels.optimizer import (
    begin_step,
    decay_rows,
    end_step,
    limit_norms,
    only_gradients,
    rules_kinds,
    rules_type,
    slots_of,
)  # fmt: skip
from fastbp.kernels.ranges import divide, thread_range, updates_by_neurons
from fastbp.kernels.simd import at, fma, full, lanes, load, store
from fastbp.kernels.sparse import sparse_add

I = types.intp


@routine(lambda dtype: (net_type(dtype), rules_kinds(dtype), I, I, types.float64, I, I))
def update(net, rules, start, l, eta, thread_id, n_threads):
    """Take the step of one thread's part of the weights of layer l."""
    layer, mine = layer_of(net, l), thread_range(net, start, l, True, thread_id, n_threads)
    if l == 1 and net.sparse:
        for p in range(mine.p0, mine.p1):
            update_sparse(net, rules, layer, p, start, mine.size, eta)
    elif updates_by_neurons(net, l, n_threads):
        update_dense(net, rules, l, mine, start, eta, (0, 1))
    else:
        everything = thread_range(net, start, l, True, 0, 1)
        update_dense(net, rules, l, everything, start, eta, (thread_id, n_threads))


@kernel
def update_sparse(net, rules, layer, p, start, size, eta):
    """Take the step of panel p of the first layer, on the pixels that are listed."""
    n, W, S = size_of(net, 0), row(layer.target_W, p), panel(layer.S, p)
    half, blocks = is_half(layer.W, layer.n, p), n // KC + 1
    if rules is None or only_gradients(rules):
        add_groups(net, size, W, S, 0, blocks, half)
    elif is_scaled(rules):
        scale = weight_scale(rules, steps_of_period(net, rules, start) + 1)
        biases = at(W, n * lanes(W))  # are not divided by the scale: they do not decay
        b = load(biases, 0)
        store(biases, 0, full(b, 0.0))
        add_groups(net, size, W, S, 0, blocks, half)
        store(biases, 0, fma(load(biases, 0), scale, b))
        if ends_period(net, rules, start):
            decay_rows(block(panel(layer.target_W, p), 0, n, 0), 1 - scale)
    else:
        step_listed(net, rules, p, start, size, eta)


@kernel
def step_listed(net, rules, p, start, size, eta):
    """Take the step of panel p of a sparse first layer on the inputs that do not lag."""
    n, S, slots = size_of(net, 0), panel(layer_of(net, 1).S, p), slots_of(net, rules, 1, p)
    number, half = start // net.m, is_half(layer_of(net, 1).W, size_of(net, 1), p)
    stepping = stepping_inputs(net, rules, number)
    for b in range(n // KC + 1):  # in the first-level cache: decay, all groups, velocity
        first = stepping.starts[b]
        columns, count = at(stepping.columns, first), stepping.starts[b + 1] - first
        begin_step(slots, columns, count, n, rules, eta)
        add_groups(net, size, slots.velocity, S, b, b + 1, half)
        end_step(slots, columns, count, rules, eta, number)
    lagging, lags = input_list(rules, LAGGING, n), input_list(rules, LAGS, n)
    count, momentum = lagging.starts[0], 1 if rules.momentum != 0 else 0
    W, V = slots.weights, slots.velocity
    catch_up(W, V, lagging.columns, lags.columns, count, rules.powers, momentum)


@kernel
def add_groups(net, size, W, S, b0, b1, half):
    """Add all groups' A.T @ S to the weights W of a panel, for the blocks of inputs b0 to b1."""
    for g in range(groups_of(size)):
        add_group(net, g, size, W, S, b0, b1, half)


@kernel
def add_group(net, g, size, W, S, b0, b1, half):
    """Add the A.T @ S of group g, likewise."""
    group = group_of(net, g, size)
    first, last = group.starts[b0], group.starts[b1]
    s = block(S, group.first, group.rows, 0)
    sparse_add(W, group.values, group.columns, first, last, s, half)


@kernel
def update_dense(net, rules, l, mine, start, eta, turn):
    """Take the step of one thread's panels, by vectors of inputs: the first, then every so many.

    turn: (the first vector, the distance to the next).
    """
    first, distance = turn
    layer, A, n_in = layer_of(net, l), inputs_of(net, l), size_of(net, l - 1)
    A, v = block(A, 0, mine.size, 0), lanes(A.place)
    W, S = panels(layer.target_W, mine.p0, mine.p1), panels(layer.S, mine.p0, mine.p1)
    for k in range(first * v, n_in + 1, distance * v):
        rows = min(v, n_in + 1 - k)
        if rules is not None:
            update_with_rules(net, rules, l, mine, start, eta, (k, rows))
        else:
            update_layer(W, A, S, mine.n, k, rows, mine.size)
        if l > 1 and k < n_in:
            T = block(panel(layer.target_T, k // v), mine.p0 * v, W.rows * v, 0)
            transpose_weights(T, W, mine.n, k, min(v, n_in - k))


@kernel
def update_with_rules(net, rules, l, mine, start, eta, inputs):
    """Take the step of one thread's panels. inputs: (the first, how many)."""
    layer, A, n_in = layer_of(net, l), inputs_of(net, l), size_of(net, l - 1)
    A, (k, rows), W = block(A, 0, mine.size, 0), inputs, layer.target_W
    columns = at(input_list(rules, ALL, size_of(net, 0)).columns, k)
    for p in range(mine.p0, mine.p1):
        begin_step(slots_of(net, rules, l, p), columns, rows, n_in, rules, eta)
    if rules.adam != 0 or rules.momentum != 0:
        W = packed_as_weights(net, rules.velocity, l)
    S = panels(layer.S, mine.p0, mine.p1)
    update_layer(panels(W, mine.p0, mine.p1), A, S, mine.n, k, rows, mine.size)
    for p in range(mine.p0, mine.p1):
        end_step(slots_of(net, rules, l, p), columns, rows, rules, eta, start // net.m)


@routine(lambda dtype: (net_type(dtype), rules_type(dtype), I, I, I))
def limit_layer(net, rules, l, thread_id, n_threads):
    """Scale the weights into one thread's neurons of layer l down to the length max_norm."""
    layer, n_in, v = layer_of(net, l), size_of(net, l - 1), lanes(net.work)
    p0, p1 = divide(layer.W.rows, thread_id, n_threads)
    for p in range(p0, p1):
        limit_norms(panel(layer.target_W, p), n_in, rules.max_norm)
    for k in range(0, n_in if l > 1 else 0, v):
        T = block(panel(layer.target_T, k // v), p0 * v, (p1 - p0) * v, 0)
        n_out = min(layer.n, p1 * v) - p0 * v
        transpose_weights(T, panels(layer.target_W, p0, p1), n_out, k, min(v, n_in - k))

"""One thread's part of a layer of a mini-batch: forward, backward, update.

A wide layer is divided among threads by neurons, so that its weights stay with their core, a narrow
one by samples; the update of a narrow layer by inputs. No two threads write the same number, but
for net.usual[0], which all may set to 0.
"""

from collections import namedtuple

from numba import types

from fastbp.kernels.activations import LINEAR, SOFTMAX, activate
from fastbp.kernels.dropout import drop_rows, drop_values, limit_of
from fastbp.kernels.jit import kernel, routine
from fastbp.kernels.layers import (
    backward_layer,
    forward_layer,
    is_narrow,
    multiply_slope,
    output_delta,
    set_bias_inputs,
    transpose_weights,
    update_layer,
)  # fmt: skip
from fastbp.kernels.layout import (
    KC,
    PANELS,
    Pixels,
    block,
    field,
    group_of,
    group_start,
    groups_of,
    inputs_of,
    layer_of,
    net_type,
    panel,
    panels,
    row,
    size_of,
    velocity_of,
)  # fmt: skip
from fastbp.kernels.optimizer import (
    ALL,
    LAGGING,
    LAGS,
    TAKEN,
    begin_step,
    catch_up,
    end_step,
    ends_period,
    input_list,
    is_scaled,
    limit_norms,
    list_lagging,
    only_gradients,
    rules_type,
    scale_rows,
    stepping_inputs,
    weight_scale,
)  # fmt: skip
from fastbp.kernels.simd import at, lanes, prefetch
from fastbp.kernels.sparse import (
    later_of,
    list_nonzero,
    read_rows,
    read_values,
    sparse_add,
    sparse_multiply,
)  # fmt: skip

I = types.intp
WIDE = 64  # neurons per thread from which on a layer is divided by neurons

# What a thread does of a mini-batch's layer: groups g0 to g1, which are the m samples from `first`
# on, and panels p0 to p1, which are n neurons.
Part = namedtuple("Part", "size g0 g1 first m p0 p1 n")


def RULES(dtype):
    """Return the types that rules may have."""
    return {"plain": types.none, "rules": rules_type(dtype)}


@kernel
def share_of(count, thread_id, n_threads):
    """Return the range (first, last) of `count` things that is one thread's."""
    if n_threads == 1:  # divisions take as long as a small layer
        return 0, count
    return thread_id * count // n_threads, (thread_id + 1) * count // n_threads


@kernel
def batch_size(net, start):
    """Return how many samples the mini-batch has that begins at order[start]."""
    return min(net.m, net.n_samples - start)


@kernel
def is_wide(net, l, n_threads):
    """Tell whether layer l is divided by neurons. Softmax needs all neurons of a sample."""
    return l > 0 and size_of(net, l) >= WIDE * n_threads and layer_of(net, l).activation != SOFTMAX


@kernel
def part_of(net, start, l, by_neurons, thread_id, n_threads):
    """Return one thread's Part of layer l."""
    size = batch_size(net, start)
    groups, n_panels, v = groups_of(size), field(net, l, PANELS), lanes(net.work)
    g0, g1, p0, p1 = 0, groups, 0, n_panels
    if by_neurons:
        p0, p1 = share_of(n_panels, thread_id, n_threads)
    else:
        g0, g1 = share_of(groups, thread_id, n_threads)
    first, last = group_start(g0, size), group_start(g1, size)
    n = max(0, min(size_of(net, l), p1 * v) - p0 * v)
    return Part(size, g0, g1, first, last - first, p0, p1, n)


@kernel
def part_block(A, mine):
    """Return the samples and neurons of a Part, of activations or Deltas A."""
    return block(A, mine.first, mine.m, mine.p0 * lanes(A.place))


# ------------------------------------------------ forward


@kernel
def pixels_of(net):
    """Return the Pixels of a call."""
    return Pixels(net.pixels, net.kind, size_of(net, 0), net.scale, net.check)


@routine(lambda dtype: (net_type(dtype), RULES(dtype), I, I, I))
def read_input(net, rules, start, thread_id, n_threads):
    """Write the input layer, or the lists of what in it is not zero; prefetch the rows of Y."""
    mine = part_of(net, start, 0, False, thread_id, n_threads)
    for i in range(mine.m):
        prefetch(at(net.Y, net.order[start + mine.first + i] * size_of(net, net.top)), 0)
    if net.sparse:
        read_sparse(net, rules, start, mine)
    else:
        read_dense(net, rules, start, mine)


@kernel
def read_sparse(net, rules, start, mine):
    """Write lists and values of the groups of a Part."""
    n, X = size_of(net, 0), pixels_of(net)
    for g in range(mine.g0, mine.g1):
        group = group_of(net, g, mine.size)
        batch = at(net.order, start + group.first)
        list_nonzero(group.columns, group.starts, X, batch, group.rows)
        count = group.starts[n // KC + 1]
        if not read_values(group.values, group.columns, count, X, batch, group.rows):
            net.usual[0] = 0
        if rules is not None:
            rate = rules.dropout[0]
            if rate > 0:
                limit, factor = limit_of(rate), 1 / (1 - rate)
                last, rows = count - 1, group.rows
                drop_values(
                    group.values, group.columns, last, batch, rows, rules.key, limit, factor
                )


@kernel
def read_dense(net, rules, start, mine):
    """Write the pixels of the samples of a Part into the input layer."""
    n, X = size_of(net, 0), pixels_of(net)
    A, batch = block(inputs_of(net, 1), mine.first, mine.m, 0), at(net.order, start + mine.first)
    if not read_rows(A, X, batch):
        net.usual[0] = 0
    if rules is not None:
        drop(A, rules, batch, 0, n, 0)


@kernel
def drop(A, rules, batch, first, n, l):
    """Dropout of activations or Deltas A (m, n) of layer l, from neuron `first` on."""
    rate = rules.dropout[l]
    if rate > 0:
        drop_rows(A, batch, first, n, l, rules.key, limit_of(rate), 1 / (1 - rate))


@kernel
def forward_first(net, start, layer, mine):
    """z of the first layer on the pixels that are listed.

    Prefetches the pixels of the next mini-batch, a little at each step of a tile: all lines at once
    are more than the processor can wait for.
    """
    n, v, X, ahead = size_of(net, 0), lanes(layer.A.place), pixels_of(net), 0
    if start + 2 * mine.size <= net.n_samples:
        ahead = mine.size
    for p in range(mine.p0, mine.p1):  # one panel at a time stays in the second-level cache
        W, narrow = row(layer.W, p), is_narrow(layer.W, layer.n, p)
        for g in range(mine.g0, mine.g1):
            group = group_of(net, g, mine.size)
            Z = block(layer.A, group.first, group.rows, p * v)
            count = group.starts[n // KC + 1]
            batch = at(net.order, start + ahead + group.first)
            later = later_of(X, batch, group.rows, count)
            sparse_multiply(Z, group.values, group.columns, count, W, narrow, later)


@routine(lambda dtype: (net_type(dtype), RULES(dtype), I, I, I, I))
def forward(net, rules, start, l, thread_id, n_threads):
    """Write one thread's part of the activations of layer l > 0."""
    by_neurons = is_wide(net, l, n_threads)
    mine, layer = part_of(net, start, l, by_neurons, thread_id, n_threads), layer_of(net, l)
    Z, first = part_block(layer.A, mine), mine.p0 * lanes(layer.A.place)
    if l == 1 and net.sparse:
        forward_first(net, start, layer, mine)
        if rules is not None:  # noqa: SIM102  (Numba leaves this out where rules are None)
            if is_scaled(rules):
                scale = weight_scale(rules, start // net.m % rules.period)
                for p in range(mine.p1 - mine.p0):
                    scale_rows(block(Z, 0, mine.m, p * lanes(Z.place)), scale)
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


@routine(lambda dtype: (net_type(dtype), RULES(dtype), I, I, types.float64, I, I))
def backward(net, rules, start, l, rate, thread_id, n_threads):
    """Write one thread's part of the Deltas of layer l, and rate times them, for the update."""
    top = net.top
    by_neurons = l < top and is_wide(net, l, n_threads)
    mine, layer = part_of(net, start, l, by_neurons, thread_id, n_threads), layer_of(net, l)
    Delta, A = part_block(layer.D, mine), part_block(layer.A, mine)
    batch = at(net.order, start + mine.first)
    if l == top:
        output_delta(Delta, A, net.Y, batch, mine.n)
    else:
        above = layer_of(net, l + 1)
        Delta_out = block(above.D, mine.first, mine.m, 0)
        backward_layer(Delta, Delta_out, panels(above.T, mine.p0, mine.p1), mine.n, above.n)
    v = lanes(A.place)
    S = block(panels(layer.S, mine.p0, mine.p1), 0, mine.p1 - mine.p0, mine.first * v)
    if rules is not None:
        if l == 1 and net.sparse:
            rate = rate / weight_scale(rules, start // net.m % rules.period + 1)
        multiply_slope(Delta, A, S, mine.n, rate, 1 - rules.dropout[l], layer.slope)
        if rules.dropout[l] > 0:
            drop(Delta, rules, batch, mine.p0 * v, mine.n, l)
            multiply_slope(Delta, A, S, mine.n, rate, 1, LINEAR)
    else:
        multiply_slope(Delta, A, S, mine.n, rate, 1, layer.slope)


# ------------------------------------------------ update


@routine(lambda dtype: (net_type(dtype), RULES(dtype), I, I, types.float64, I, I))
def update(net, rules, start, l, eta, thread_id, n_threads):
    """Take the step of one thread's part of the weights of layer l."""
    layer, mine = layer_of(net, l), part_of(net, start, l, True, thread_id, n_threads)
    if l == 1 and net.sparse:
        for p in range(mine.p0, mine.p1):
            update_sparse(net, rules, layer, p, start, mine.size, eta)
    elif layer.n >= WIDE * n_threads:
        update_dense(net, rules, l, mine, eta, 0, 1)
    else:
        everything = part_of(net, start, l, True, 0, 1)
        update_dense(net, rules, l, everything, eta, thread_id, n_threads)


@kernel
def update_sparse(net, rules, layer, p, start, size, eta):
    """Take the step of panel p of the first layer, on the pixels that are listed."""
    n, W, S = size_of(net, 0), row(layer.target_W, p), panel(layer.S, p)
    narrow, blocks = is_narrow(layer.W, layer.n, p), n // KC + 1
    if rules is None or only_gradients(rules):
        add_groups(net, size, W, S, 0, blocks, narrow)
    elif is_scaled(rules):
        steps = start // net.m % rules.period
        before, after = weight_scale(rules, steps), weight_scale(rules, steps + 1)
        scale_rows(block(panel(layer.target_W, p), n, 1, 0), before / after)  # biases do not decay
        add_groups(net, size, W, S, 0, blocks, narrow)
        if ends_period(net, rules, start):
            scale_rows(panel(layer.target_W, p), after)
    else:
        V, stepping = row(velocity_of(net, rules, 1), p), stepping_inputs(rules, start // net.m, n)
        for b in range(blocks):  # in the first-level cache: decay, all groups, velocity
            first = stepping.starts[b]
            columns, count = at(stepping.columns, first), stepping.starts[b + 1] - first
            begin_step(W, V, columns, count, n, rules, eta)
            add_groups(net, size, V, S, b, b + 1, narrow)
            end_step(W, V, columns, count, rules)
        lagging, lags = input_list(rules, LAGGING, n), input_list(rules, LAGS, n)
        count = lagging.starts[0]
        momentum = 1 if rules.momentum != 0 else 0
        catch_up(W, V, lagging.columns, lags.columns, count, rules.powers, momentum)


@routine(lambda dtype: (net_type(dtype), rules_type(dtype), I))
def find_lagging(net, rules, start):
    """List the inputs that must catch up before the mini-batch after that at order[start].

    These are inputs of the next mini-batch, and at the end of a period or of the call all inputs.
    """
    if not net.sparse or rules.l1 != 0 or only_gradients(rules) or is_scaled(rules):  # none lags
        return
    n, number = size_of(net, 0), start // net.m
    steps = number % rules.period
    if number == 0:
        list_batch(net, rules, 0)
    taken, stepping = input_list(rules, TAKEN, n).columns, stepping_inputs(rules, number, n)
    if steps == 0:
        for k in range(n + 1):
            taken[k] = 0
    for t in range(stepping.starts[n // KC + 1]):
        taken[stepping.columns[t]] = steps + 1
    if start + net.m < net.n_samples:
        list_batch(net, rules, number + 1)
    candidates = stepping_inputs(rules, number + 1, n)
    if ends_period(net, rules, start):
        candidates = input_list(rules, ALL, n)
    count = candidates.starts[n // KC + 1]
    lagging = input_list(rules, LAGGING, n)
    lagging.starts[0] = list_lagging(rules, n, steps + 1, candidates.columns, count)


@kernel
def list_batch(net, rules, number):
    """List the inputs that are not zero in all samples of a mini-batch, and the biases."""
    start, stepping = number * net.m, stepping_inputs(rules, number, size_of(net, 0))
    batch, size = at(net.order, start), batch_size(net, start)
    list_nonzero(stepping.columns, stepping.starts, pixels_of(net), batch, size)


@kernel
def add_groups(net, size, W, S, b0, b1, narrow):
    """Add all groups' A.T @ S to the weights W of a panel, for the blocks of inputs b0 to b1."""
    for g in range(groups_of(size)):
        group = group_of(net, g, size)
        first, last = group.starts[b0], group.starts[b1]
        s = block(S, group.first, group.rows, 0)
        sparse_add(W, group.values, group.columns, first, last, s, narrow)


@kernel
def update_dense(net, rules, l, mine, eta, thread_id, n_threads):
    """Take the step of the panels of a Part, a vector of inputs at a time, every n_threads-th."""
    layer, A, n_in = layer_of(net, l), inputs_of(net, l), size_of(net, l - 1)
    A, v = block(A, 0, mine.size, 0), lanes(A.place)
    W, S = panels(layer.target_W, mine.p0, mine.p1), panels(layer.S, mine.p0, mine.p1)
    for k in range(thread_id * v, n_in + 1, n_threads * v):
        rows = min(v, n_in + 1 - k)
        if rules is not None:
            update_with_rules(net, rules, l, mine, eta, k, rows)
        else:
            update_layer(W, A, S, mine.n, k, rows, mine.size)
        if l > 1 and k < n_in:
            T = block(panel(layer.target_T, k // v), mine.p0 * v, W.rows * v, 0)
            transpose_weights(T, W, mine.n, k, min(v, n_in - k))


@kernel
def update_with_rules(net, rules, l, mine, eta, k, rows):
    """Take the step of `rows` inputs from k on, of the panels of a Part."""
    layer, A, n_in = layer_of(net, l), inputs_of(net, l), size_of(net, l - 1)
    A = block(A, 0, mine.size, 0)
    W, V, S = layer.target_W, velocity_of(net, rules, l), panels(layer.S, mine.p0, mine.p1)
    columns = at(input_list(rules, ALL, size_of(net, 0)).columns, k)
    for p in range(mine.p0, mine.p1):
        begin_step(row(W, p), row(V, p), columns, rows, n_in, rules, eta)
    update_layer(panels(V, mine.p0, mine.p1), A, S, mine.n, k, rows, mine.size)
    for p in range(mine.p0, mine.p1):
        end_step(row(W, p), row(V, p), columns, rows, rules)


@routine(lambda dtype: (net_type(dtype), rules_type(dtype), I, I, I))
def limit_layer(net, rules, l, thread_id, n_threads):
    """Scale the weights into one thread's neurons of layer l down to the length max_norm."""
    layer, n_in, v = layer_of(net, l), size_of(net, l - 1), lanes(net.work)
    p0, p1 = share_of(layer.W.rows, thread_id, n_threads)
    for p in range(p0, p1):
        limit_norms(panel(layer.target_W, p), n_in, rules.max_norm)
    for k in range(0, n_in if l > 1 else 0, v):
        T = block(panel(layer.target_T, k // v), p0 * v, (p1 - p0) * v, 0)
        n_out = min(layer.n, p1 * v) - p0 * v
        transpose_weights(T, panels(layer.target_W, p0, p1), n_out, k, min(v, n_in - k))

"""Inputs that lag: weights of a sparse first layer that take several steps at once.

A sparse first layer takes the step of a mini-batch (see optimizer.py) only for the inputs that are
not zero in all of its samples. For the others a step is a linear map of (weight, velocity), the
same in all steps of a call, and several of them are a power of it: `catch_up` takes these at once,
just before the next mini-batch reads the weights, and at the end of a period for all inputs. So a
step costs in proportion to the pixels that are not zero, as it does without rules.

Weight decay alone multiplies all weights of a step by the same number. The layer then stores them
divided by `weight_scale`, and they follow their gradient alone until the end of a period, when they
are multiplied by it. Biases do not decay, and are stored as they are.
"""

from collections import namedtuple

import numpy as np
from numba import types

from fastbp.kernels.jit import kernel, routine
from fastbp.kernels.layout import CSR, KC, UNROLL, batch_size, net_type, pixel_source, size_of
from fastbp.kernels.optimizer import only_gradients, rules_type
from fastbp.kernels.simd import at, fma, lanes, load, span, store
from fastbp.kernels.sparse import list_nonzero_of_many

# columns[starts[b] : starts[b + 1]] are the listed inputs of block b of KC inputs.
InputList = namedtuple("InputList", "columns starts")

# Rows of the table of inputs: lists of all inputs; of those that are not zero in a mini-batch, two
# lists by turns; of those that lag; by how many steps these lag; and, for each input, the number
# of steps that its weights have taken.
ALL, BATCH, LAGGING, LAGS, TAKEN, TABLE_ROWS = 0, 1, 3, 4, 5, 6
MANY = 100  # samples of a mini-batch from which on no input lags
I, COLUMNS = types.intp, types.CPointer(types.int32)

# ------------------------------------------------ in Python


def powers_of(l2, momentum, nesterov, eta, count, dtype):
    """Return what 0 to `count` steps without a gradient do to a weight w and its velocity v.

    Row t, (a, b, c, d): after t steps they are w + a w + b v and c w + d v. (1 + a is not stored:
    what decays in a step is often less than a float32 can take from 1.) Returned flat.
    """
    # v' = momentum v - decay w; w' = w + v', in Nesterov's form w - momentum v + (1 + momentum) v'.
    decay, ahead = eta * l2, 1 + momentum * nesterov
    change = np.array([[-decay * ahead, momentum * (ahead - nesterov)], [-decay, momentum - 1]])
    changes = np.zeros((1, 2, 2))  # of t steps: their power minus 1
    with np.errstate(all="ignore"):  # where training diverges, so does this
        while len(changes) <= count:
            last = changes[-1] + change + changes[-1] @ change
            changes = np.concatenate([changes, changes + last + changes @ last])
        changes[:, 1, 1] += 1
        return changes[: count + 1].astype(dtype).reshape(-1)


def inputs_table(sizes):
    """Return (the table of inputs, flat; the stride of its rows), with the list of all inputs."""
    blocks, most = sizes[0] // KC + 1, max(sizes) + 1
    table = np.zeros((TABLE_ROWS, blocks + 1 + most + UNROLL), np.int32)
    table[ALL, : blocks + 1] = [*range(0, sizes[0] + 1, KC), sizes[0] + 1]
    table[ALL, blocks + 1 :][:most] = np.arange(most)
    return table.reshape(-1), table.shape[1]


# ------------------------------------------------ lists of inputs


@kernel
def input_list(rules, r, n):
    """Return the list in row r of the table of inputs, of a network of n inputs."""
    blocks, start = n // KC + 1, r * rules.stride
    return InputList(
        span(rules.inputs, start + blocks + 1, rules.stride - blocks - 1),
        span(rules.inputs, start, blocks + 1),
    )


@kernel
def is_linear(net, rules):
    """Tell whether a step without a gradient is a linear map of weights and velocities.

    And whether the inputs of a whole mini-batch are to be listed: not those in compressed sparse
    rows, and not of many samples, where few inputs lag.
    """
    return rules.l1 == 0 and rules.adam == 0 and net.kind != CSR and net.m < MANY


@kernel
def is_scaled(rules):
    """Tell whether a sparse first layer stores its weights divided by weight_scale."""
    return rules.period > 1 and rules.momentum == 0


@kernel
def weight_scale(rules, steps):
    """Return what the stored weights are to be multiplied by, after so many steps of a period."""
    return 1 + np.float64(rules.powers[4 * steps]) if is_scaled(rules) else 1.0


@kernel
def steps_of_period(net, rules, start):
    """Return how many steps of the period come before the mini-batch at order[start]."""
    return start // net.m % rules.period


@kernel
def ends_period(net, rules, start):
    """Tell whether no input lags after the mini-batch that begins at order[start]."""
    return start + net.m >= net.n_samples or (start // net.m + 1) % rules.period == 0


@kernel
def stepping_inputs(net, rules, number):
    """Return the list of the inputs that take the step of mini-batch `number` of a call.

    With L1 and Adam, whose steps are not linear, all do.
    """
    return input_list(rules, BATCH + number % 2 if is_linear(net, rules) else ALL, size_of(net, 0))


@kernel
def list_lagging(rules, n, steps, candidates, count):
    """List those of `count` candidates that have taken fewer steps; return how many these are."""
    lagging, lags = input_list(rules, LAGGING, n).columns, input_list(rules, LAGS, n).columns
    taken, found = input_list(rules, TAKEN, n).columns, 0
    for t in range(count):
        k = candidates[t]
        if taken[k] < steps:
            lagging[found], lags[found] = k, steps - taken[k]
            taken[k] = steps
            found += 1
    return found


# ------------------------------------------------ what lags, and how it catches up


@routine(lambda dtype: (net_type(dtype), rules_type(dtype), I))
def find_lagging(net, rules, start):
    """List the inputs that must catch up before the mini-batch after that at order[start].

    These are inputs of the next mini-batch, and at the end of a period or of the call all inputs.
    """
    if not net.sparse or not is_linear(net, rules) or only_gradients(rules) or is_scaled(rules):
        return  # none lags
    n, number = size_of(net, 0), start // net.m
    steps = steps_of_period(net, rules, start)
    if number == 0:
        list_batch(net, rules, 0)
    taken, stepping = input_list(rules, TAKEN, n).columns, stepping_inputs(net, rules, number)
    if steps == 0:
        for k in range(n + 1):
            taken[k] = 0
    for t in range(stepping.starts[n // KC + 1]):
        taken[stepping.columns[t]] = steps + 1
    if start + net.m < net.n_samples:
        list_batch(net, rules, number + 1)
    candidates = stepping_inputs(net, rules, number + 1)
    if ends_period(net, rules, start):
        candidates = input_list(rules, ALL, n)
    count = candidates.starts[n // KC + 1]
    lagging = input_list(rules, LAGGING, n)
    lagging.starts[0] = list_lagging(rules, n, steps + 1, candidates.columns, count)


@kernel
def list_batch(net, rules, number):
    """List the inputs that are not zero in all samples of a mini-batch, and the biases."""
    start, stepping = number * net.m, stepping_inputs(net, rules, number)
    batch, size = at(net.order, start), batch_size(net, start)
    list_nonzero_of_many(stepping.columns, stepping.starts, pixel_source(net), batch, size)


@routine(
    lambda dtype: (*(types.CPointer(dtype),) * 2, COLUMNS, COLUMNS, I, types.CPointer(dtype), I)
)
def catch_up(W, V, columns, lags, count, powers, momentum):
    """Take the steps that the listed inputs of a panel lag behind. W, V (n_in + 1, lanes).

    lags (count,): how many steps; powers: see powers_of; momentum: whether there is any.
    """
    for t in range(count):
        k, p = columns[t] * lanes(W), at(powers, 4 * lags[t])
        w = load(W, k)
        if momentum:
            v = load(V, k)
            store(W, k, fma(w, p[0], fma(v, p[1], w)))
            store(V, k, fma(w, p[2], v * p[3]))
        else:
            store(W, k, fma(w, p[0], w))

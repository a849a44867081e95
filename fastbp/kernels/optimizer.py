"""What a step does beyond following the gradient: weight decay, momentum, max-norm.

A step on the listed inputs of a panel, a block of them at a time, in the first-level cache:

    begin_step   weight decay; the velocity, where there is one, is multiplied by the momentum
    (gradient)   update_layer or sparse_add add -eta/m * gradient to the velocity, or to the weights
    end_step     the weights move by the velocity

Lagging inputs: a sparse first layer takes this step only for the inputs that are not zero in all
samples of the mini-batch. For the others a step is a linear map of (weight, velocity), the same in
all steps of a call, and several of them are a power of it: `catch_up` takes these at once, just
before the next mini-batch reads the weights, and at the end of a period for all inputs. So a step
costs in proportion to the pixels that are not zero, as it does without rules.

Weight decay alone multiplies all weights of a step by the same number. A sparse first layer then
stores them divided by `weight_scale`, and they follow their gradient alone until the end of a
period, when they are multiplied by it.
"""

from collections import namedtuple

import numpy as np
from numba import types

from fastbp.kernels.jit import kernel, routine, typed
from fastbp.kernels.layout import AT_ONCE, KC, matrix_type
from fastbp.kernels.simd import any_true, at, fma, full, lanes, load, part, sqrt, store, where

# l2, l1: lmbda / n each; nesterov: 0 or 1; max_norm: 0 for none; dropout (layers,): the share of
# neurons that are left out; velocity: packed as the weights are, or empty; period: after so many
# mini-batches no input lags; powers: see powers_of; inputs: a table of lists of inputs, whose rows
# are `stride` apart. l2, l1, momentum, max_norm and dropout are float64.
Rules = namedtuple(
    "Rules", "l2 l1 momentum nesterov max_norm dropout key velocity period powers inputs stride"
)
# columns[starts[b] : starts[b + 1]] are the listed inputs of block b of KC inputs.
InputList = namedtuple("InputList", "columns starts")

# Rows of the table of inputs: lists of all inputs; of those that are not zero in a mini-batch, two
# lists by turns; of those that lag; by how many steps these lag; and, for each input, the number
# of steps that its weights have taken.
ALL, BATCH, LAGGING, LAGS, TAKEN, TABLE_ROWS = 0, 1, 3, 4, 5, 6
I, COLUMNS = types.intp, types.CPointer(types.int32)


def rules_type(dtype):
    """Return Numba's type of Rules with places in place of arrays."""
    f, place = types.float64, types.CPointer
    return typed(Rules, f, f, f, I, f, place(f), I, place(dtype), I, place(dtype), COLUMNS, I)


# ------------------------------------------------ in Python


def powers_of(l2, momentum, nesterov, eta, count, dtype):
    """Return what 0 to `count` steps without a gradient do to a weight w and its velocity v.

    Row t, (a, b, c, d): after t steps they are w + a w + b v and c w + d v. (1 + a is not stored:
    what decays in a step is often less than a float32 can take from 1.) Returned flat.
    """
    # v' = momentum v - decay w; w' = w + v', in Nesterov's form w - momentum v + (1 + momentum) v'.
    decay, ahead = eta * l2, 1 + momentum * nesterov
    step = np.array([[1 - decay * ahead, momentum * (ahead - nesterov)], [-decay, momentum]])
    powers = np.eye(2)[None]
    with np.errstate(all="ignore"):  # where training diverges, so does this
        while len(powers) <= count:
            powers = np.concatenate([powers, powers @ (powers[-1] @ step)])
        powers[:, 0, 0] -= 1
        return powers[: count + 1].astype(dtype).reshape(-1)


def inputs_table(sizes):
    """Return (the table of inputs, flat; the stride of its rows), with the list of all inputs."""
    blocks, most = sizes[0] // KC + 1, max(sizes) + 1
    table = np.zeros((TABLE_ROWS, blocks + 1 + most + AT_ONCE), np.int32)
    table[ALL, : blocks + 1] = [*range(0, sizes[0] + 1, KC), sizes[0] + 1]
    table[ALL, blocks + 1 :][:most] = np.arange(most)
    return table.reshape(-1), table.shape[1]


# ------------------------------------------------ lists of inputs


@kernel
def rule_places_of(rules):
    """Return the Rules with the places of their arrays, or None."""
    if rules is None:
        return None
    return Rules(
        rules.l2, rules.l1, rules.momentum, rules.nesterov, rules.max_norm, at(rules.dropout, 0),
        rules.key, at(rules.velocity, 0), rules.period, at(rules.powers, 0), at(rules.inputs, 0),
        rules.stride,
    )  # fmt: skip


@kernel
def input_list(rules, r, n):
    """Return the list in row r of the table of inputs, of a network of n inputs."""
    blocks, start = n // KC + 1, r * rules.stride
    return InputList(
        part(rules.inputs, start + blocks + 1, rules.stride - blocks - 1),
        part(rules.inputs, start, blocks + 1),
    )


@routine(lambda dtype: (matrix_type(dtype), dtype))
def scale_rows(A, factor):
    """Multiply A (rows, lanes), rows of a panel, by a factor."""
    for i in range(0, A.rows * A.stride, A.stride):
        store(A.place, i, load(A.place, i) * factor)


@kernel
def only_gradients(rules):
    """Tell whether weights move by their gradient alone, but for dropout and max-norm."""
    return rules.l2 == 0 and rules.l1 == 0 and rules.momentum == 0


@kernel
def is_scaled(rules):
    """Tell whether a sparse first layer stores its weights divided by weight_scale."""
    return rules.period > 1 and rules.momentum == 0


@kernel
def weight_scale(rules, steps):
    """Return what the stored weights are to be multiplied by, after so many steps of a period."""
    return 1 + np.float64(rules.powers[4 * steps]) if is_scaled(rules) else 1.0


@kernel
def ends_period(net, rules, start):
    """Tell whether no input lags after the mini-batch that begins at order[start]."""
    return start + net.m >= net.n_samples or (start // net.m + 1) % rules.period == 0


@kernel
def stepping_inputs(rules, number, n):
    """Return the list of the inputs that take the step of mini-batch `number` of a call.

    With L1, whose step is not linear, all do.
    """
    return input_list(rules, ALL if rules.l1 != 0 else BATCH + number % 2, n)


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


# ------------------------------------------------ the step


@kernel
def l1_step(w, l1):
    """Return l1 * sign(w) of a vector."""
    return where(w < 0.0, -l1, where(w > 0.0, l1, full(w, 0.0)))


@routine(lambda dtype: (types.CPointer(dtype), COLUMNS, I, dtype, dtype))
def decay_weights(W, columns, count, decay, l1):
    """w -= decay * w + l1 * sign(w), for the listed inputs of a panel. W (n_in + 1, lanes).

    decay is eta * lmbda / n: 1 minus so little is rounded to 1, or too far from it, in float32.
    """
    for t in range(count):
        k = columns[t] * lanes(W)
        w = load(W, k)
        step = w - l1_step(w, l1) if l1 != 0 else w
        store(W, k, fma(w, -decay, step))


@routine(lambda dtype: (*(types.CPointer(dtype),) * 2, COLUMNS, I, *(dtype,) * 3, I))
def begin_momentum(W, V, columns, count, decay, l1, momentum, nesterov):
    """v = momentum * v - decay * w - l1 * sign(w), for the listed inputs of a panel.

    Nesterov's form takes momentum * v, which the step before added, from w meanwhile. W, V
    (n_in + 1, lanes).
    """
    for t in range(count):
        k = columns[t] * lanes(W)
        w, v = load(W, k), load(V, k) * momentum
        if nesterov:
            store(W, k, w - v)
        if l1 != 0:
            v = v - l1_step(w, l1)
        if decay != 0:
            v = fma(w, -decay, v)
        store(V, k, v)


@routine(lambda dtype: (*(types.CPointer(dtype),) * 2, COLUMNS, I, dtype))
def add_velocity(W, V, columns, count, factor):
    """w += factor * v, for the listed inputs of a panel. W, V (n_in + 1, lanes)."""
    for t in range(count):
        k = columns[t] * lanes(W)
        store(W, k, load(W, k) + load(V, k) * factor)


@kernel
def begin_inputs(W, V, columns, count, rules, decay, l1):
    """begin_step for inputs that all decay, or do not."""
    if rules.momentum != 0:
        begin_momentum(W, V, columns, count, decay, l1, rules.momentum, rules.nesterov)
    elif decay != 0 or l1 != 0:
        decay_weights(W, columns, count, decay, l1)


@kernel
def begin_step(W, V, columns, count, n, rules, eta):
    """Decay the weights of the listed inputs of a panel; the biases, input n, do not decay."""
    has_biases = columns[count - 1] == n if count > 0 else False
    weights = count - 1 if has_biases else count
    begin_inputs(W, V, columns, weights, rules, eta * rules.l2, eta * rules.l1)
    if has_biases:
        begin_inputs(W, V, at(columns, weights), 1, rules, 0.0, 0.0)


@kernel
def end_step(W, V, columns, count, rules):
    """Move the weights of the listed inputs of a panel by the velocity, if there is one."""
    if rules.momentum != 0:
        add_velocity(W, V, columns, count, 1 + rules.momentum * rules.nesterov)


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


@routine(lambda dtype: (matrix_type(dtype), types.intp, dtype))
def limit_norms(W, n_in, limit):
    """Scale the weights into each neuron down to the length `limit` at most.

    W: a panel (n_in + 1, lanes).
    """
    squares = full(load(W.place, 0), 0.0)
    for k in range(n_in):
        w = load(W.place, k * W.stride)
        squares = squares + w * w
    norm = sqrt(squares)
    if any_true(norm > limit):
        most = full(norm, limit)
        factor = most / where(norm > limit, norm, most)
        for k in range(n_in):
            store(W.place, k * W.stride, load(W.place, k * W.stride) * factor)

"""What a step does beyond following the gradient: weight decay, momentum, max-norm.

A step on the listed inputs of a panel, a block of them at a time, in the first-level cache:

    begin_step   weight decay; the velocity, where there is one, is multiplied by the momentum
    (gradient)   update_layer or sparse_add add -eta/m * gradient to the velocity, or to the weights
    end_step     the weights move by the velocity
"""

from collections import namedtuple

from numba import types

from fastbp.kernels.jit import kernel, routine, typed
from fastbp.kernels.layout import matrix_type
from fastbp.kernels.simd import any_true, at, fma, full, lanes, load, sqrt, store, where

# l2, l1: lmbda / n each; nesterov: 0 or 1; max_norm: 0 for none; dropout (layers,): the share of
# neurons that are left out; velocity: packed as the weights are, or empty; period: after so many
# mini-batches no input lags; powers, inputs: tables, see lagging.py, of inputs with rows that are
# `stride` apart. l2, l1, momentum, max_norm and dropout are float64.
Rules = namedtuple(
    "Rules", "l2 l1 momentum nesterov max_norm dropout key velocity period powers inputs stride"
)
I, COLUMNS = types.intp, types.CPointer(types.int32)


def rules_type(dtype):
    """Return Numba's type of Rules with places in place of arrays."""
    f, place = types.float64, types.CPointer
    return typed(Rules, f, f, f, I, f, place(f), I, place(dtype), I, place(dtype), COLUMNS, I)


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


@routine(lambda dtype: (matrix_type(dtype), dtype))
def scale_rows(A, factor):
    """Multiply A (rows, lanes), rows of a panel, by a factor."""
    for i in range(0, A.rows * A.stride, A.stride):
        store(A.place, i, load(A.place, i) * factor)


@kernel
def only_gradients(rules):
    """Tell whether weights move by their gradient alone, but for dropout and max-norm."""
    return rules.l2 == 0 and rules.l1 == 0 and rules.momentum == 0


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

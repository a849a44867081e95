"""What a step does beyond following the gradient: weight decay, momentum, max-norm.

A step on a block of weights, while it is in the first-level cache:

    begin_step   weight decay; the velocity, where there is one, is multiplied by the momentum
    (gradient)   update_layer or sparse_add add -eta/m * gradient to the velocity, or to the weights
    end_step     the weights move by the velocity
"""

from collections import namedtuple

from numba import types

from fastbp.kernels.jit import kernel, routine, typed
from fastbp.kernels.layout import block, matrix_type
from fastbp.kernels.simd import any_true, at, fma, full, load, sqrt, store, where

# l2, l1: lmbda / n each; nesterov: 0 or 1; max_norm: 0 for none; dropout (layers,): the share of
# neurons that are left out; velocity: packed as the weights are, or empty; scale: see next_scale;
# period: after so many mini-batches the scale is multiplied into the weights.
# Numbers are float64.
Rules = namedtuple("Rules", "l2 l1 momentum nesterov max_norm dropout key velocity scale period")


def rules_type(dtype):
    """Return Numba's type of Rules with places in place of arrays."""
    f, I, place = types.float64, types.intp, types.CPointer
    return typed(Rules, f, f, f, I, f, place(f), I, place(dtype), place(f), I)


@kernel
def rule_places_of(rules):
    """Return the Rules with the places of their arrays, or None."""
    if rules is None:
        return None
    return Rules(
        rules.l2, rules.l1, rules.momentum, rules.nesterov, rules.max_norm, at(rules.dropout, 0),
        rules.key, at(rules.velocity, 0), at(rules.scale, 0), rules.period,
    )  # fmt: skip


@kernel
def next_scale(rules, eta):
    """Write the scale of a sparse first layer after the next step into scale[1].

    Its weights are stored divided by scale[0]. Where weight decay is all that happens to weights
    whose pixels are zero, it is a factor of the scale, and only the others are touched: a pass over
    all weights would take as long as the sparse update. period is 1 where there is more.
    """
    rules.scale[1] = rules.scale[0] * (1 - eta * rules.l2 if rules.period > 1 else 1)


@kernel
def is_scaled(rules):
    """Tell whether the next step decays the first layer's weights by their scale."""
    return rules.scale[1] != rules.scale[0]


@kernel
def l1_step(w, l1):
    """Return l1 * sign(w) of a vector."""
    return where(w < 0.0, -l1, where(w > 0.0, l1, full(w, 0.0)))


@routine(lambda dtype: (matrix_type(dtype), dtype, dtype))
def decay_weights(W, decay, l1):
    """w -= decay * w + l1 * sign(w), for rows of a panel. W (rows, lanes).

    decay is eta * lmbda / n: 1 minus so little is rounded to 1, or too far from it, in float32.
    """
    for j in range(0, W.rows * W.stride, W.stride):
        w = load(W.place, j)
        step = w - l1_step(w, l1) if l1 != 0 else w
        store(W.place, j, fma(w, -decay, step))


@kernel
def scale_weights(W, factor):
    """w *= factor, for rows of a panel. W (rows, lanes)."""
    for j in range(0, W.rows * W.stride, W.stride):
        store(W.place, j, load(W.place, j) * factor)


@routine(lambda dtype: (matrix_type(dtype), matrix_type(dtype), *(dtype,) * 3, types.intp))
def begin_momentum(W, V, decay, l1, momentum, nesterov):
    """v = momentum * v - decay * w - l1 * sign(w). W, V (rows, lanes), rows of a panel.

    Nesterov's form takes momentum * v, which the step before added, from w meanwhile.
    """
    for j in range(0, W.rows * W.stride, W.stride):
        w, v = load(W.place, j), load(V.place, j) * momentum
        if nesterov:
            store(W.place, j, w - v)
        if l1 != 0:
            v = v - l1_step(w, l1)
        if decay != 0:
            v = fma(w, -decay, v)
        store(V.place, j, v)


@routine(lambda dtype: (matrix_type(dtype), matrix_type(dtype), dtype))
def add_velocity(W, V, factor):
    """w += factor * v. W, V (rows, lanes), rows of a panel."""
    for j in range(0, W.rows * W.stride, W.stride):
        store(W.place, j, load(W.place, j) + load(V.place, j) * factor)


@kernel
def begin_rows(W, V, rules, decay, l1):
    """begin_step for rows that are all weights, or all biases."""
    if rules.momentum != 0:
        begin_momentum(W, V, decay, l1, rules.momentum, rules.nesterov)
    elif decay != 0 or l1 != 0:
        decay_weights(W, decay, l1)


@kernel
def begin_step(W, V, n_in, k0, rules, eta):
    """Decay the weights of a panel's inputs from k0 on; the biases, input n_in, do not decay."""
    decay, l1 = eta * rules.l2, eta * rules.l1
    weights = min(W.rows, n_in - k0)
    begin_rows(block(W, 0, weights, 0), block(V, 0, weights, 0), rules, decay, l1)
    if weights < W.rows:
        begin_rows(block(W, weights, 1, 0), block(V, weights, 1, 0), rules, 0.0, 0.0)


@kernel
def end_step(W, V, rules):
    """Move the weights by the velocity, if there is one."""
    if rules.momentum != 0:
        add_velocity(W, V, 1 + rules.momentum * rules.nesterov)


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

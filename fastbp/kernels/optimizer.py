"""What a step does beyond following the gradient: weight decay, momentum, Adam, max-norm.

A step on the listed inputs of a panel, a block of them at a time, in the first-level cache:

    begin_step   weight decay; the velocity, where there is one, is multiplied by the momentum
    (gradient)   update_layer or sparse_add add -eta/m * gradient to the velocity, or to the weights
    end_step     the weights move by the velocity

With Adam the velocity is a workspace: begin_step writes the gradient of the regularisation into it,
1/m * gradient is added, and end_step updates the moments and moves the weights.
"""

from collections import namedtuple

import numpy as np
from numba import types

from fastbp.kernels.jit import kernel, routine, typed
from fastbp.kernels.layout import layer_of, matrix_type, packed_as_weights, row
from fastbp.kernels.simd import any_true, at, fma, full, lanes, load, sqrt, store, where

# l2, l1: lmbda / n each; momentum: Adam's beta_1 where adam is 1; nesterov, adam: 0 or 1; steps:
# how many Adam has taken before the call; max_norm: 0 for none; dropout (layers,): the share of
# neurons that are left out; velocity, first, second: packed as weights are, or one number; period:
# after so many mini-batches no input lags; powers, inputs: tables, see lagging.py, of inputs with
# rows that are `stride` apart; sample_weight: of the samples of the data set, if weighted is 1;
# losses: where the cost of each sample in the order is written, if cost, a code of costs.py, is not
# -1. Numbers are float64.
KernelRules = namedtuple(
    "KernelRules",
    "l2 l1 momentum nesterov adam beta2 epsilon steps max_norm dropout key velocity first second "
    "period powers inputs stride sample_weight weighted losses cost",
)
# A panel's weights (n_in + 1, lanes) and what belongs to them, as places.
Slots = namedtuple("Slots", "weights velocity first second")
# What adam_step computes with: step is eta / (1 - beta1^t), root 1 / sqrt(1 - beta2^t).
AdamStep = namedtuple("AdamStep", "beta1 beta2 step root epsilon")
I, COLUMNS = types.intp, types.CPointer(types.int32)


def rules_type(dtype):
    """Return Numba's type of KernelRules with places in place of arrays."""
    f, place = types.float64, types.CPointer
    numbers = place(dtype)
    return typed(
        KernelRules, f, f, f, I, I, f, f, I, f, place(f), I, numbers, numbers, numbers, I, numbers,
        COLUMNS, I, numbers, I, place(f), I,
    )  # fmt: skip


def rules_kinds(dtype):
    """Return the types that rules may have."""
    return {"plain": types.none, "rules": rules_type(dtype)}


@kernel
def rule_places_of(rules):
    """Return the KernelRules with the places of their arrays, or None."""
    if rules is None:
        return None
    return KernelRules(
        rules.l2, rules.l1, rules.momentum, rules.nesterov, rules.adam, rules.beta2, rules.epsilon,
        rules.steps, rules.max_norm, at(rules.dropout, 0), rules.key, at(rules.velocity, 0),
        at(rules.first, 0), at(rules.second, 0), rules.period, at(rules.powers, 0),
        at(rules.inputs, 0), rules.stride, at(rules.sample_weight, 0), rules.weighted,
        at(rules.losses, 0), rules.cost,
    )  # fmt: skip


@routine(lambda dtype: (matrix_type(dtype), dtype))
def decay_rows(W, decay):
    """w -= decay * w, for rows W (rows, lanes) of a panel; decay: see decay_weights."""
    for i in range(0, W.rows * W.stride, W.stride):
        w = load(W.place, i)
        store(W.place, i, fma(w, -decay, w))


@kernel
def only_gradients(rules):
    """Tell whether weights move by their gradient alone, but for dropout and max-norm."""
    return rules.l2 == 0 and rules.l1 == 0 and rules.momentum == 0 and rules.adam == 0


@kernel
def slots_of(net, rules, l, p):
    """Return the Slots of panel p of layer l. Weights stand in for what there is not."""
    W = layer_of(net, l).target_W
    weights = row(W, p)
    if rules.adam != 0:
        return Slots(
            weights,
            row(packed_as_weights(net, rules.velocity, l), p),
            row(packed_as_weights(net, rules.first, l), p),
            row(packed_as_weights(net, rules.second, l), p),
        )
    if rules.momentum != 0:
        return Slots(weights, row(packed_as_weights(net, rules.velocity, l), p), weights, weights)
    return Slots(weights, weights, weights, weights)


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


@routine(lambda dtype: (*(types.CPointer(dtype),) * 2, COLUMNS, I, dtype, dtype))
def begin_gradient(W, G, columns, count, l2, l1):
    """g = l2 * w + l1 * sign(w), for the listed inputs of a panel. W, G (n_in + 1, lanes)."""
    for t in range(count):
        k = columns[t] * lanes(W)
        w = load(W, k)
        store(G, k, fma(w, l2, l1_step(w, l1)))


def _adam_arguments(dtype):
    slots = typed(Slots, *(types.CPointer(dtype),) * 4)
    return slots, COLUMNS, I, typed(AdamStep, *(types.float64,) * 5)


@routine(_adam_arguments)
def adam_step(slots, columns, count, adam):
    """Move the weights of the listed inputs of a panel by Adam (Kingma and Ba 2015, algorithm 1).

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; w -= step * m / (root * sqrt(v) +
    epsilon), for the gradients g in slots.velocity.
    """
    W, M, V = slots.weights, slots.first, slots.second
    for t in range(count):
        k = columns[t] * lanes(W)
        g = load(slots.velocity, k)
        m = fma(g, 1 - adam.beta1, load(M, k) * adam.beta1)
        v = fma(g * g, 1 - adam.beta2, load(V, k) * adam.beta2)
        store(M, k, m)
        store(V, k, v)
        store(W, k, fma(m / (sqrt(v) * adam.root + adam.epsilon), -adam.step, load(W, k)))


@kernel
def begin_inputs(slots, columns, count, rules, eta, decays):
    """begin_step for inputs that all decay, or do not. decays: 1 or 0."""
    W, V, l2, l1 = slots.weights, slots.velocity, rules.l2 * decays, rules.l1 * decays
    if rules.adam != 0:
        begin_gradient(W, V, columns, count, l2, l1)
    elif rules.momentum != 0:
        begin_momentum(W, V, columns, count, eta * l2, eta * l1, rules.momentum, rules.nesterov)
    elif l2 != 0 or l1 != 0:
        decay_weights(W, columns, count, eta * l2, eta * l1)


@kernel
def begin_step(slots, columns, count, n, rules, eta):
    """Decay the weights of the listed inputs of a panel; the biases, input n, do not decay."""
    has_biases = columns[count - 1] == n if count > 0 else False
    weights = count - 1 if has_biases else count
    begin_inputs(slots, columns, weights, rules, eta, 1)
    if has_biases:
        begin_inputs(slots, at(columns, weights), 1, rules, eta, 0)


@kernel
def end_step(slots, columns, count, rules, eta, number):
    """Move the weights of the listed inputs of a panel, but for what begin_step and gradients did.

    number: of the mini-batch in the call.
    """
    if rules.adam != 0:
        t, beta1, beta2 = rules.steps + number + 1, rules.momentum, rules.beta2
        step, root = eta / (1 - beta1**t), 1 / np.sqrt(1 - beta2**t)
        adam_step(slots, columns, count, AdamStep(beta1, beta2, step, root, rules.epsilon))
    elif rules.momentum != 0:
        factor = 1 + rules.momentum * rules.nesterov
        add_velocity(slots.weights, slots.velocity, columns, count, factor)


@kernel
def factor_of(rules, eta, size):
    """Return what the gradients, summed over a mini-batch of `size` samples, are multiplied by."""
    if rules is not None:  # noqa: SIM102  (Numba leaves this out where rules are None)
        if rules.adam != 0:
            return 1.0 / size
    return -eta / size


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
        factor = factor + (norm - norm)  # NaN, which is found, where the squares are beyond numbers
        for k in range(n_in):
            store(W.place, k * W.stride, load(W.place, k * W.stride) * factor)

"""The reference path: the book's own structure in NumPy, one sample or a few columns at a time.

It runs where a part of the algorithm is overridden (a method, a cost, the module's
sigmoid), and for single samples, where a compiled call would cost more than it saves.
"""

from __future__ import annotations

import numpy as np

from fastbp.typing import FloatArray


def sigmoid(z):
    """Return 1 / (1 + exp(-z))."""
    return 1.0 / (1.0 + np.exp(-z))


def softmax(z: FloatArray) -> FloatArray:
    """Return exp(z) / sum of exp(z) of each column of z, (n_out, m)."""
    e = np.exp(z - np.max(z, axis=0))
    return e / e.sum(axis=0)


# For each activation f: f(z), and f'(z) computed from z and a = f(z).
ACTIVATIONS = {
    "sigmoid": (sigmoid, lambda z, a: a * (1 - a)),
    "tanh": (np.tanh, lambda z, a: 1 - a * a),
    "relu": (lambda z: np.where(z < 0, 0, z), lambda z, a: (z > 0).astype(z.dtype)),
    "linear": (lambda z: z, lambda z, a: np.ones_like(z)),
    "softmax": (softmax, None),  # its cost is made so that the slope cancels
}


def feedforward(a, weights, biases, activations):
    """Return the outputs (n_out, m) for the columns a (n_in, m).

    weights, biases: a list of w (n_out, n_in) and of b (n_out, 1); activations: a pair of functions
    for each layer, as in ACTIVATIONS.
    """
    for w, b, (f, _) in zip(weights, biases, activations):
        a = f(np.dot(w, a) + b)
    return a


def backprop(x, y, weights, biases, activations, output_error):
    """Return (nabla_b, nabla_w), the gradient for one sample, by BP1 to BP4.

    x (n_in, 1); y (n_out, 1); output_error(z, a, y, slope): BP1, the Delta of the output layer,
    whose f'(z) is slope(z, a). The lists are shaped like biases and weights. Source: book,
    chapter 2.
    """
    A, Z = [x], []
    for w, b, (f, _) in zip(weights, biases, activations):
        z = np.dot(w, A[-1]) + b
        Z.append(z)
        A.append(f(z))
    Delta = output_error(z, A[-1], y, activations[-1][1])
    nabla_b, nabla_w = [Delta], [np.dot(Delta, A[-2].T)]
    for l in range(len(Z) - 2, -1, -1):
        slope = activations[l][1]
        Delta = np.dot(weights[l + 1].T, Delta) * slope(Z[l], A[l + 1])
        nabla_b.append(Delta)
        nabla_w.append(np.dot(Delta, A[l].T))
    return nabla_b[::-1], nabla_w[::-1]


def summed_gradient(backprop, pairs):
    """Return (nabla_b, nabla_w): what backprop(x, y) returns, summed over pairs."""
    gradients = (backprop(x, y) for x, y in pairs)
    nabla_b, nabla_w = (list(part) for part in next(gradients))
    for delta_b, delta_w in gradients:
        nabla_b = [n + d for n, d in zip(nabla_b, delta_b)]
        nabla_w = [n + d for n, d in zip(nabla_w, delta_w)]
    return nabla_b, nabla_w


def update(weights, biases, nabla_b, nabla_w, moments, eta, m, rules, steps=0):
    """Return (weights, biases) after the step of a mini-batch of m samples: new arrays.

    nabla_b, nabla_w: the summed gradient. moments: of each that rules have (see Rules.n_moments)
    the pair (of weights, of biases), lists of arrays that are changed in place. rules: see
    rules.Rules; steps: how many Adam has taken before.
    """
    new = [[], []]
    for kind, params, nabla in ((0, weights, nabla_w), (1, biases, nabla_b)):
        for l, (p, n) in enumerate(zip(params, nabla)):
            g = n / m
            if kind == 0 and (rules.l2 or rules.l1):
                g = g + rules.l2 * p + rules.l1 * np.sign(p)
            p = p + step_of(g, eta, [moment[kind][l] for moment in moments], rules, steps + 1)
            if kind == 0 and rules.max_norm:
                p *= _shortening(p, rules.max_norm)
            new[kind].append(p)
    return tuple(new)


@np.errstate(over="ignore", invalid="ignore")
def _shortening(W, limit):
    """Return the factors (n_out, 1) by which no row of W is longer than the limit.

    They are NaN, which is found, where the squares of a row are beyond all numbers.
    """
    norms = np.sqrt((W * W).sum(axis=1, keepdims=True))
    return limit / np.maximum(norms, limit) + (norms - norms)


def step_of(g, eta, moments, rules, t):
    """Return what is added to parameters whose gradient is g, in step number t = 1, 2 ...

    moments: arrays like g, changed in place. Source: book, chapter 3; Kingma and Ba 2015 (Adam).
    """
    if rules.adam:
        first, second = moments
        for moment, beta, value in ((first, rules.momentum, g), (second, rules.beta2, g * g)):
            moment *= beta
            moment += (1 - beta) * value
        mean, square = first / (1 - rules.momentum**t), second / (1 - rules.beta2**t)
        return -eta * mean / (np.sqrt(square) + rules.epsilon)
    step = -eta * g
    for v in moments:
        v *= rules.momentum
        v += step
        step = step + rules.momentum * v if rules.nesterov else v
    return step


def numerical_gradient(cost, params, which, h):
    """Return (C(p + h) - C(p - h)) / 2h for each p of the flat vector params in `which`."""
    gradient = np.empty(len(which))
    for t, p in enumerate(which):
        before, both = params[p], []
        for step in (h, -h):
            params[p] = before + step
            both.append(cost())
        params[p] = before
        gradient[t] = (both[0] - both[1]) / (2 * h)
    return gradient

"""Activation functions and their slopes f'(z), each once: of vectors of neurons.

A slope is computed from a = f(z). The linear slope, 1, also serves the output layers whose cost
cancels f'(z).
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from fastbp.kernels.jit import kernel, routine
from fastbp.kernels.layout import matrix_type, row
from fastbp.kernels.simd import (
    fma,
    full,
    lanes,
    load,
    polynomial,
    rint,
    store,
    times_power,
    where,
)  # fmt: skip

SIGMOID, TANH, RELU, LINEAR, SOFTMAX = range(5)


def _sigmoid_of(limit, ln2_high, ln2_low, terms):
    """Return sigmoid(vector) of one precision. ln 2 in two parts: n * ln2_high is exact."""
    taylor = tuple(1 / math.factorial(k) for k in range(terms, -1, -1))

    def sigmoid(z):
        x = where(z > limit, -limit, where(z < -limit, limit, z * -1.0))
        n = rint(x * 1.4426950408889634)  # exp(x) = 2^n exp(r)
        r = fma(n, -ln2_low, fma(n, -ln2_high, x))
        e = times_power(polynomial(r, taylor), n)
        return where(z < -limit, 0.0, 1.0 / (e + 1.0))

    return sigmoid


_SIGMOIDS = {
    "float64": _sigmoid_of(709.0, 0.693147180369123816490, 1.90821492927058770002e-10, 13),
    "float32": _sigmoid_of(87.0, 0.693359375, -2.12194440e-4, 7),
}


def sigmoid(z):
    """Return 1 / (1 + exp(-z)) of a vector: within 4 ulp, 0 or 1 in the limit."""
    return _SIGMOIDS[str(z.dtype)](z)


@overload(sigmoid, jit_options=dict(error_model="numpy", _nrt=False))
def _compiled_sigmoid(z):
    return _SIGMOIDS[str(z.dtype)]


@kernel
def tanh(z):
    """Return tanh of a vector: 2 sigmoid(2 z) - 1."""
    s = sigmoid(z + z)
    return s + s - 1.0


@kernel
def relu(z):
    """Return the larger one of z and 0; NaN stays NaN."""
    return where(z < 0.0, 0.0, z)


@kernel
def softmax(a, n):
    """Turn the n numbers at a place into exp(a) / sum of exp(a), less the largest first."""
    largest = a[0]
    for j in range(1, n):
        if a[j] > largest or a[j] != a[j]:
            largest = a[j]
    total = largest - largest
    for j in range(n):
        a[j] = np.exp(a[j] - largest)
        total += a[j]
    for j in range(n):
        a[j] /= total


@routine(lambda dtype: (matrix_type(dtype), types.intp, types.intp))
def activate(A, n, activation):
    """Write f(A) into A. A (m, n); rows are padded to whole vectors, and the padding is written."""
    for i in range(A.rows):
        a = row(A, i)
        for j in range(0, n, lanes(a)):
            if activation == SIGMOID:
                store(a, j, sigmoid(load(a, j)))
            elif activation == TANH:
                store(a, j, tanh(load(a, j)))
            elif activation == RELU:
                store(a, j, relu(load(a, j)))
        if activation == SOFTMAX:
            softmax(a, n)


@kernel
def slope_of(a, slope):
    """Return f'(z) of a vector a = f(z); slope: of sigmoid, tanh or relu."""
    if slope == SIGMOID:
        return a * (1.0 - a)
    if slope == TANH:
        return (1.0 - a) * (a + 1.0)
    return where(a > 0.0, 1.0, full(a, 0.0))

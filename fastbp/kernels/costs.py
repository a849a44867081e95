"""The costs, of a mini-batch's outputs: what finite differences are taken of."""

import numpy as np

from fastbp.kernels.jit import kernel
from fastbp.kernels.layout import row
from fastbp.kernels.simd import at

QUADRATIC, CROSS_ENTROPY, LOG_LIKELIHOOD = range(3)


@kernel
def cost_of(a, y, cost):
    """Return what one output a adds to the cost, for the wanted output y; 0 ln 0 counts as 0."""
    if cost == QUADRATIC:
        return 0.5 * (a - y) * (a - y)
    total = 0.0
    if y != 0:
        total -= y * np.log(a)
    if cost == CROSS_ENTROPY and y != 1:
        total -= (1 - y) * np.log(1 - a)
    return total


@kernel
def sample_cost(a, y, n, cost):
    """Return the cost of the outputs a (n,) of one sample."""
    total = 0.0
    for j in range(n):
        total += cost_of(a[j], y[j], cost)
    return total


@kernel
def total_cost(A, Y, batch, n, cost):
    """Return the cost of the outputs A (m, n), summed over the samples batch (m,)."""
    total = 0.0
    for i in range(A.rows):
        total += sample_cost(row(A, i), at(Y, batch[i] * n), n, cost)
    return total

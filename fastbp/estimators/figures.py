"""How good outputs are: the mean cost and the accuracy, of weighted samples."""

import numpy as np


def mean_cost(outputs, Y, sample_weight, cost):
    """Return the mean cost of outputs for the targets Y, both (n, n_out); cost: a name of plans.

    Probabilities count as at least the spacing of numbers at 1, so that no cost is infinite.
    """
    least = np.finfo(outputs.dtype).eps
    A, Y = outputs.astype(np.float64), Y.astype(np.float64)
    if cost == "quadratic":
        costs = 0.5 * (A - Y) ** 2
    else:
        A = np.clip(A, least, 1 - least)
        costs = -Y * np.log(A)
        if cost == "cross-entropy":
            costs -= (1 - Y) * np.log1p(-A)
    return float(np.average(costs.sum(axis=1), weights=sample_weight))


def accuracy(outputs, Y, sample_weight, is_multiclass):
    """Return the share of samples whose outputs (n, n_out) tell their targets Y, all of them."""
    if is_multiclass:
        right = outputs.argmax(axis=1) == Y.argmax(axis=1)
    else:
        right = ((outputs > 0.5) == (Y > 0.5)).all(axis=1)
    return float(np.average(right, weights=sample_weight))

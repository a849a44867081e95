"""Counts and costs over a data set, which may be a file that is read part by part."""

import numpy as np

from fastbp.data import datasets, file_rows, predictions
from fastbp.training import costs


def count_correct(outputs_of, X, labels, activation):
    """Return how many samples are right.

    outputs_of(X): the outputs (m, n_out) for rows of inputs; X: inputs (n, n_in), in memory or
    FileRows; labels (n,); activation: of the output layer.
    """
    count = 0
    for rows, part in file_rows.parts(X):
        answers = predictions.predict_labels(outputs_of(part), activation)
        count += int((answers == labels[rows]).sum())
    return count


def summed_cost(outputs_of, X, Y, cost):
    """Return the cost summed over the samples; Y: targets (n, n_out) or labels (n,)."""
    total = 0.0
    for rows, part in file_rows.parts(X):
        out = outputs_of(part).astype(np.float64)
        if np.isnan(out).any():  # cross-entropy counts NaN, as that of 0 ln 0, as 0
            return np.nan
        targets = datasets.target_rows(Y, rows, out.shape[1], np.float64)
        total += costs.summed_cost(cost, out, targets)
    return total

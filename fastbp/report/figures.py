"""The numbers of a report: predictions by class, mistakes, saturated neurons, speed."""

import time

import numpy as np

from fastbp.data import containers
from fastbp.training.reference_path import ACTIVATIONS

LOW, HIGH = 0.05, 0.95  # a sigmoid neuron with an activation outside is saturated
# For each activation: which of its values A are saturated, where a neuron hardly learns.
SATURATED = {
    "sigmoid": lambda A: (A < LOW) | (A > HIGH),
    "softmax": lambda A: (A < LOW) | (A > HIGH),
    "tanh": lambda A: np.abs(A) > HIGH - LOW,  # tanh(z / 2) is 2 sigmoid(z) - 1
    "relu": lambda A: A <= 0,
    "linear": lambda A: np.zeros(A.shape, bool),
}
CHUNK = 1000  # images whose activations are in memory at once


def confusion_matrix(labels, predicted, classes):
    """Return counts (k, k): how often label classes[r] was predicted as classes[c].

    labels, predicted (n,): each is in classes (k,), which is sorted.
    """
    rows, columns = (np.searchsorted(classes, values) for values in (labels, predicted))
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (rows, columns), 1)
    return counts


def class_scores(confusion):
    """Return precision, recall and F1 of each class, (k,) each; NaN where they are 0 / 0."""
    right, actual, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return right / predicted, right / actual, 2 * right / (actual + predicted)


def confident_mistakes(labels, predicted, confidence, count):
    """Return the indices of up to count wrong predictions, the most confident first.

    labels, predicted, confidence (n,).
    """
    wrong = np.flatnonzero(labels != predicted)
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:count]


def first_of_each_class(labels, classes):
    """Return the index of the first sample of each class that occurs in labels (n,)."""
    return [int(np.argmax(labels == c)) for c in classes if (labels == c).any()]


def saturated_shares(X, weights, biases, activations):
    """Return, for each layer, the share of the samples in which each neuron is saturated.

    X (n, n_in) array or Pixels; weights: w (n_out, n_in) of each layer; biases: b (n_out, 1);
    activations: names. The shares: a list of arrays (n_out,) of values 0..1.
    """
    counts = [np.zeros(len(b)) for b in biases]
    for start in range(0, len(X), CHUNK):
        A = containers.as_values(X[start : start + CHUNK], weights[0].dtype).T
        for count, w, b, name in zip(counts, weights, biases, activations):
            with np.errstate(over="ignore", under="ignore"):
                A = ACTIVATIONS[name][0](w @ A + b)
            count += SATURATED[name](A).sum(axis=1)
    return [count / len(X) for count in counts]


def calls_per_second(function, seconds=0.3):
    """Return how often a function can be called per second: the median of repeated calls."""
    function()  # compiles
    durations, start = [], time.perf_counter()
    while not durations or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        function()
        durations.append(time.perf_counter() - before)
    return 1 / max(float(np.median(durations)), 1e-9)  # the clock may stand still

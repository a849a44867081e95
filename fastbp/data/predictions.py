"""The labels that the outputs of a network predict.

With two output neurons or more the predicted label is the index of the largest output. One output
neuron predicts one of two labels: a sigmoid neuron 1 where its output is at least 0.5, else 0; a
tanh neuron 1 where it is at least 0, else -1. (The book takes the argmax over the one output, which
is always 0.) One linear or relu neuron is a regression and predicts no label.
"""

import numpy as np

# Of one output neuron: the label below the threshold, the label from it on, the threshold.
BINARY_LABELS = {"sigmoid": (0, 1, 0.5), "tanh": (-1, 1, 0.0)}


def predict_labels(outputs, activation):
    """Return the predicted labels (n,), int64, of outputs (n, n_out) of the given activation."""
    if outputs.shape[1] != 1:
        return outputs.argmax(axis=1)
    low, high, threshold = _binary_labels(activation)
    return np.where(outputs[:, 0] >= threshold, high, low)


def predict_label(output, activation):
    """Return the predicted label, an int, of one output: n_out numbers of any shape."""
    return int(predict_labels(np.asarray(output).reshape(1, -1), activation)[0])


def check_classifies(n_out, activation):
    """Raise ValueError if an output layer predicts no labels, so that it has no accuracy."""
    if n_out == 1:
        _binary_labels(activation)


def check_binary_labels(labels, activation, name):
    """Return the labels (n,) of one output neuron as int64, or raise ValueError."""
    low, high, _ = _binary_labels(activation)
    wrong = np.flatnonzero((labels != low) & (labels != high))
    if wrong.size:
        i = wrong[0]
        hint = "for other numbers monitor the cost, not the accuracy"
        if set(np.unique(labels).tolist()) <= {0, 1}:
            hint = "use 2 * y - 1"
        elif set(np.unique(labels).tolist()) <= {-1, 1}:
            hint = "use (y + 1) / 2"
        raise ValueError(
            f"{name}[{i}]: the label is {float(labels[i]):g}, expected {low} or {high}, the labels "
            f"of one {activation} output neuron; {hint}"
        )
    return labels.astype(np.int64)


def _binary_labels(activation):
    """Return (low, high, threshold) of one output neuron, or raise ValueError."""
    try:
        return BINARY_LABELS[activation]
    except KeyError:
        raise ValueError(
            f"the output layer is one {activation} neuron, whose output is a number and not a "
            f"label that is right or wrong, so there is no accuracy; monitor the cost"
        ) from None

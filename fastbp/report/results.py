"""The test samples of a report, and what the network predicts for them."""

from typing import NamedTuple

import numpy as np

from fastbp.data import containers, datasets, pixels, predictions


class Results(NamedTuple):
    """The test samples and the outputs of a network.

    The last four are None for a regression: classes (k,), the labels there may be; labels and
    predicted (n,), int64; confidence (n,), of the predictions.
    """

    X: np.ndarray | pixels.Pixels  # (n, n_in)
    outputs: np.ndarray  # (n, n_out)
    classes: np.ndarray | None = None
    labels: np.ndarray | None = None
    predicted: np.ndarray | None = None
    confidence: np.ndarray | None = None

    @property
    def accuracy(self):
        """The share of right predictions, or None."""
        return None if self.labels is None else float(np.mean(self.labels == self.predicted))


def results_of(net, contents, test):
    """Return the Results of a network; contents: of the network; test: a tuple (X, labels).

    Raises TypeError or ValueError if the samples do not fit the network.
    """
    activation, n_out = contents.activations[-1], contents.sizes[-1]
    if n_out == 1 and activation not in predictions.BINARY_LABELS:
        X, _ = datasets.training_arrays(test, net._plan, net.dtype, "test_data")
        return Results(X, outputs_of(net, X))
    X, labels = datasets.labelled_arrays(test, net._plan, net.dtype, activation)
    outputs = outputs_of(net, X)
    predicted = predictions.predict_labels(outputs, activation)
    if n_out > 1:
        return Results(X, outputs, np.arange(n_out), labels, predicted, outputs.max(axis=1))
    low, high, threshold = predictions.BINARY_LABELS[activation]
    distance = np.abs(outputs[:, 0] - threshold)
    return Results(X, outputs, np.array([low, high]), labels, predicted, distance)


def outputs_of(net, X):
    """Return the outputs (n, n_out) of a network for X (n, n_in), an array or Pixels."""
    if net._is_overridden("cost"):  # the kernels do not know the layers of such a network
        return net.feedforward(containers.as_values(X, net.dtype).T).T
    return net._outputs_of(X, "test_data", True)

"""Networks of scikit-learn's multi-layer perceptrons, and of fastbp's estimators."""

from __future__ import annotations

from typing import Any

from fastbp.converters.contents import Layer, network2_of, require
from fastbp.data import messages
from fastbp.data.perceptrons import fitted_layers
from fastbp.network2 import Network

ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
ACTIVATIONS |= {"sigmoid": "sigmoid"}  # of fastbp's estimators
OUTPUTS = {"identity": "linear", "logistic": "sigmoid", "softmax": "softmax"}


def from_sklearn(mlp: Any) -> Network:
    """Return the network that a fitted perceptron of scikit-learn, or estimator of fastbp, is.

    Parameters
    ----------
    mlp : sklearn.neural_network.MLPClassifier or MLPRegressor, or
        fastbp.estimator.NetworkClassifier or NetworkRegressor. Fitted. It does not change.

    Returns
    -------
    fastbp.network2.Network
        In the dtype of ``mlp.coefs_``. A classifier of two classes has one sigmoid neuron and
        `CrossEntropyCost`: its output is the probability of ``mlp.classes_[1]``. One of more
        classes has softmax neurons and `LogLikelihoodCost`, neuron j for ``mlp.classes_[j]``; with
        several labels per sample, a sigmoid neuron for each and `CrossEntropyCost`. A regressor has
        linear neurons and `QuadraticCost`.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If mlp is something else, is not fitted, has layers that do not fit each other or are not
        finite, or an output that a network does not have (a regressor with Poisson loss).

    Notes
    -----
    ``net.feedforward(X.T).T`` is ``predict_proba(X)`` (of two classes: its column 1), or
    ``predict(X)`` of a regressor, within rounding.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import MLPRegressor
    >>> from fastbp import exchange
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> mlp = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs").fit(X, X[:, 0] ** 2)
    >>> net = exchange.from_sklearn(mlp)
    >>> net
    <Network [1, 8, 1]: relu, linear; QuadraticCost; 25 parameters; float64>
    >>> np.allclose(net.feedforward(X.T)[0], mlp.predict(X))
    True
    """
    package = require("sklearn.neural_network", "from_sklearn", "scikit-learn")
    from fastbp.estimator import NetworkClassifier, NetworkRegressor

    theirs = package.MLPClassifier, package.MLPRegressor
    if type(mlp) not in (*theirs, NetworkClassifier, NetworkRegressor):
        raise TypeError(
            f"mlp is {messages.describe(mlp)}, expected a fitted MLPClassifier or MLPRegressor of "
            f"sklearn.neural_network, or NetworkClassifier or NetworkRegressor of "
            f"fastbp.estimator; of a Pipeline: its last step"
        )
    if not hasattr(mlp, "coefs_"):
        raise ValueError("mlp is not fitted; call mlp.fit first")
    for name, known in (("activation", ACTIVATIONS), ("out_activation_", OUTPUTS)):
        seen = getattr(mlp, name, None)
        if not (isinstance(seen, str) and seen in known):
            raise ValueError(
                f"mlp.{name} is {messages.describe(seen)}, expected one of {', '.join(known)}"
            )
    fitted = fitted_layers(mlp, "mlp.")
    layers = [
        Layer(f"mlp.coefs_[{l}].T", w.T, f"mlp.intercepts_[{l}]", b)
        for l, (w, b) in enumerate(zip(fitted.coefs, fitted.intercepts))
    ]
    activations = [ACTIVATIONS[mlp.activation]] * (len(layers) - 1) + [OUTPUTS[mlp.out_activation_]]
    return network2_of(layers, activations, None, fitted.dtype)

"""Typical uses of the public names, as users write them: mypy checks this file in strict mode.

It is also run, by test_types.py, so that what the types allow is what the calls accept.
"""

import pathlib
from typing import TYPE_CHECKING, Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastbp
from fastbp import exchange, mnist_loader, network, network2
from fastbp.estimator import NetworkClassifier, NetworkRegressor
from fastbp.typing import Callback, FloatArray, PairLists


def the_book(lists: PairLists) -> list[int]:
    """Chapter 1's session, on the book's lists."""
    training_data, validation_data, test_data = lists
    net = network.Network([784, 8, 10])
    net.SGD(training_data, 1, 10, 3.0, test_data=test_data, verbose=False)
    net.update_mini_batch(training_data[:10], 3.0)
    nabla_b, nabla_w = net.backprop(*training_data[0])
    net.weights = [w - 0.1 * nw for w, nw in zip(net.weights, nabla_w)]
    assert_type(nabla_b, list[FloatArray])
    assert_type(net.evaluate(validation_data), int)
    assert_type(net.feedforward(test_data[0][0]), FloatArray)
    assert_type(fastbp.gradient_check(net, training_data[:2], most=50), list[float])
    return net.history


def chapter_3(lists: PairLists) -> list[int]:
    """With a cost, monitors, a schedule and a cost of the user's own."""
    training_data, validation_data, _ = lists
    net = network2.Network([784, 8, 10], cost=network2.CrossEntropyCost)
    net.large_weight_initializer()
    evaluation_cost, evaluation_accuracy, _, _ = net.SGD(
        training_data, 1, 10, 0.5, lmbda=5.0, evaluation_data=validation_data,
        monitor_evaluation_accuracy=True, monitor_evaluation_cost=True, momentum=0.5,
        schedule=lambda epoch: 0.5 / (1 + epoch), stop_on="evaluation_cost", verbose=False,
    )  # fmt: skip
    assert_type(evaluation_cost, list[float])
    own = network2.Network(
        [784, 8, 10], cost=OwnCost, activation=["tanh"], output="sigmoid", dtype="float32"
    )
    assert_type(own.accuracy(training_data, convert=True), int)
    assert_type(own.total_cost(training_data, 0.0), float)
    return evaluation_accuracy


class OwnCost:
    """A cost as the book writes one."""

    @staticmethod
    def fn(a: FloatArray, y: FloatArray) -> float:
        return 0.5 * float(np.linalg.norm(a - y)) ** 2

    @staticmethod
    def delta(z: FloatArray, a: FloatArray, y: FloatArray) -> FloatArray:
        return a - y


class OwnNetwork(network.Network):
    """An override of a method of the book's."""

    def cost_derivative(self, output_activations: FloatArray, y: FloatArray) -> FloatArray:
        return 2 * (output_activations - y)


def arrays_and_callbacks(folder: pathlib.Path) -> fastbp.History:
    """The array form, bytes, labels, callbacks, a checkpoint and files."""
    training, validation, test = mnist_loader.synthetic(200, 50, 50, seed=1, pixels=True)
    assert_type(training, tuple[fastbp.Pixels, NDArray[np.int64]])
    (X, labels), _, _ = mnist_loader.synthetic(200, 0, 0, seed=1)
    assert_type(X, NDArray[np.float32])
    history = fastbp.History()
    rates: list[float] = []

    def note(figures: dict[str, Any]) -> None:
        rates.append(figures["eta"])

    callbacks: list[Callback] = [history, note, lambda figures: figures["epoch"] == 7]
    net = OwnNetwork([784, 8, 10], dtype=np.float32, threads=1)
    net.SGD(training, 1, 10, 1.0, test_data=test, verbose=False)
    deeper = network.Network([784, 8, mnist_loader.count_outputs((training, validation, test))])
    deeper.SGD((X, labels), 1, 10, 3.0, verbose=False, checkpoint=folder / "run.npz", resume=True)
    deeper.SGD(
        training, 2, 10, 3.0, test_data=validation, callback=callbacks, verbose=False,
        on_divergence="continue", checkpoint_every=5,
    )  # fmt: skip
    net.backprop_batch(fastbp.Pixels(np.zeros((3, 784), np.uint8)), [1, 2, 3])
    net.save(folder / "model.npz")
    assert_type(network.load(str(folder / "model.npz")), network.Network)
    assert_type(history["test_accuracy"], Any)
    history.to_csv(folder / "run.csv")
    return history


def estimators(X: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[Any]:
    """scikit-learn's conventions."""
    classifier = NetworkClassifier((8,), max_iter=2, tol=0.0, n_iter_no_change=9, random_state=1)
    classifier.partial_fit(X, labels, classes=np.unique(labels))
    regressor = NetworkRegressor(hidden_layer_sizes=8, solver="sgd", random_state=1)
    regressor.partial_fit(X, X[:, :2])
    assert_type(regressor.predict(X), FloatArray)
    assert_type(classifier.predict_proba(X), FloatArray)
    return classifier.predict(X)


def conversions(folder: pathlib.Path) -> network.Network | network2.Network:
    """Files of other libraries."""
    net = network2.Network([4, 3, 2])
    exchange.to_onnx(net, folder / "net.onnx")
    exchange.save_safetensors(net, folder / "net.safetensors")
    return exchange.load_safetensors(folder / "net.safetensors")


if TYPE_CHECKING:  # calls that the types refuse: mypy reports an ignore that nothing needs

    def refused(net: network.Network, net2: network2.Network) -> None:
        net.SGD([(1, 2, 3)], 1, 10, 3.0)  # type: ignore[list-item]
        net.SGD([], 1, 10, "3.0")  # type: ignore[arg-type]
        net.SGD([], 1, 10, 3.0, callback=3)  # type: ignore[arg-type]
        net.SGD([], 1, 10, 3.0, on_divergence="halt")  # type: ignore[arg-type]
        net2.SGD([], 1, 10, 3.0, stop_on="accuracy")  # type: ignore[arg-type]
        network2.Network([2, 1], cost=int)  # type: ignore[arg-type]
        net.save(7)  # type: ignore[arg-type]
        NetworkClassifier(activation="selu")  # type: ignore[arg-type]

"""scikit-learn's MLPClassifier. It has no quadratic cost: the nearest is log loss."""

import numpy as np

from bench.peers.base import Peer
from bench.peers.numpy_peers import MatrixNumPy


class ScikitLearn(Peer):
    """MLPClassifier on one-hot rows, so that its output layer is sigmoid, too."""

    name = "scikit-learn"
    needs = ("sklearn",)
    threads = "any"
    log_loss = True
    variants = {"nearest: log loss": {}}
    environment = MatrixNumPy.environment

    def load(self):
        from sklearn.neural_network import MLPClassifier

        super().load()
        self.Y, m = self.Y.astype(np.int8), self.workload.m
        self.net = MLPClassifier(
            self.workload.sizes[1:-1], activation="logistic", solver="sgd", alpha=0, batch_size=m,
            learning_rate_init=self.workload.eta, momentum=0, nesterovs_momentum=False,
            shuffle=False,
        )  # fmt: skip
        classes = np.arange(self.workload.sizes[-1])
        self.net.partial_fit(self.X[: 2 * m], self.Y[: 2 * m], classes=classes)

    def reset(self):
        weights, biases = self.workload.initial()
        for parameter, w in zip(self.net.coefs_ + self.net.intercepts_, weights + biases):
            parameter[...] = w.T

    def train(self, orders):
        with np.errstate(all="ignore"):
            for order in orders:
                self.net.partial_fit(self.X[order], self.Y[order])

    def parameters(self):
        self.weights = [w.T for w in self.net.coefs_]
        self.biases = self.net.intercepts_
        return super().parameters()

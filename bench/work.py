"""What is trained on: one piece of work, the same to the bit for every contestant.

A Work is small and can be sent to another process: images lie in files, and initial weights and
the order of samples follow from the seed, exactly as fastbp and the book draw them.
"""

import dataclasses
import random
import sys
from pathlib import Path

import numpy as np

from fastbp import mnist_loader

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from reference import Oracle, sigma  # noqa: E402, F401  (the tests' oracle is the bench's, too)


@dataclasses.dataclass(frozen=True)
class Work:
    """A network, its data and how it is trained. folder holds X.npy (n, n_in) and Y.npy."""

    sizes: tuple
    m: int
    eta: float
    dtype: str
    folder: str
    seed: int = 1

    def data(self):
        """Return X (n, n_in) float32 and Y (n, n_out) of the work's own dtype."""
        X, Y = (np.load(Path(self.folder) / f"{name}.npy") for name in "XY")
        return X, Y.astype(self.dtype)

    def initial(self):
        """Return (weights, biases) as the constructors of Oracle and fastbp's Network draw them."""
        np.random.seed(self.seed)
        oracle = Oracle(self.sizes)
        biases = [b.ravel().astype(self.dtype) for b in oracle.biases]
        return [w.astype(self.dtype) for w in oracle.weights], biases

    def orders(self, n, epochs):
        """Return the permutations of range(n) that successive epochs go through."""
        draw, order, orders = random.Random(self.seed), list(range(n)), []
        for _ in range(epochs):
            draw.shuffle(order)
            orders.append(np.array(order))
        return orders


def data():
    """Return (training, validation, test, name): MNIST if it can be had, else synthetic digits."""
    try:
        return *mnist_loader.load_data(), "MNIST"
    except mnist_loader.DataNotFoundError:
        return *mnist_loader.synthetic(), "synthetic digits"


def write_data(folder, X, labels, n_out=10):
    """Write X.npy and Y.npy, one-hot, for the works of this folder."""
    np.save(Path(folder) / "X.npy", np.ascontiguousarray(X, np.float32))
    np.save(Path(folder) / "Y.npy", np.eye(n_out)[labels])


def accuracy(weights, biases, test):
    """Return the fraction of the test set, (X, labels), that a network gets right."""
    a, labels = test
    with np.errstate(over="ignore"):
        for w, b in zip(weights, biases):
            a = 1 / (1 + np.exp(-(a @ w.T + b.ravel())))
    return float((a.argmax(axis=1) == labels).mean())

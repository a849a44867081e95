"""What is trained: the same to the bit for every peer; and the settings of a run of the bench.

A Workload is small and can be sent to another process: images are in files, and initial weights
and the order of samples follow from the seed, exactly as fastbp and the book draw them.
"""

import dataclasses
import random
import sys
from pathlib import Path

import numpy as np

from fastbp import mnist_loader

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"
sys.path.insert(0, str(ROOT / "tests"))
from reference import Oracle, sigma  # noqa: E402  (the oracle of the tests)


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network, its data and how it is trained. folder holds X.npy (n, n_in) and Y.npy."""

    sizes: tuple
    m: int
    eta: float
    dtype: str
    folder: str
    seed: int = 1

    def data(self):
        """Return X (n, n_in) float32 and Y (n, n_out) of the workload's dtype."""
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


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the measurements of a run have in common.

    folder: of the workloads' data, n_images of them; test: (X, labels); data: their name; peers:
    names of those that run; results: the folder of tables and pictures; command: that was called.
    """

    folder: str
    n_images: int
    test: tuple
    data: str
    cores: int
    peers: tuple = ()
    quick: bool = False
    results: Path = RESULTS
    command: str = "python -m bench"


def load_data():
    """Return (training, validation, test, name): MNIST if it is found, else synthetic digits."""
    try:
        return *mnist_loader.load_data(), "MNIST"
    except mnist_loader.DataNotFoundError:
        return *mnist_loader.synthetic(), "synthetic digits"


def write_data(folder, X, labels, n_out=10):
    """Write X.npy and Y.npy, one-hot, for the workloads of this folder."""
    np.save(Path(folder) / "X.npy", np.ascontiguousarray(X, np.float32))
    np.save(Path(folder) / "Y.npy", np.eye(n_out)[labels])


def accuracy(weights, biases, test):
    """Return the fraction of the test set, (X, labels), that a network classifies correctly."""
    a, labels = test
    with np.errstate(over="ignore"):
        for w, b in zip(weights, biases):
            a = sigma(a @ w.T + b.ravel())
    return float((a.argmax(axis=1) == labels).mean())


def progress(text):
    """Print what is being measured to the standard error."""
    print(text, file=sys.stderr, flush=True)

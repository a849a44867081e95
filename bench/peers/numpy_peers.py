"""NumPy: the book's algorithm one sample at a time, and whole mini-batches by OpenBLAS."""

import numpy as np

from bench.peers.base import Peer
from bench.workload import Oracle


class BookOracle(Peer):
    """The book's algorithm, one sample at a time, on the book's list of pairs."""

    name = "oracle"
    dtypes = ("float64",)

    def load(self):
        X, Y = self.workload.data()
        self.pairs = [(x[:, None], y[:, None]) for x, y in zip(X, Y)]

    def reset(self):
        self.oracle = Oracle(self.workload.sizes)
        self.oracle.weights, biases = self.workload.initial()
        self.oracle.biases = [b.reshape(-1, 1) for b in biases]

    def train(self, orders):
        m = self.workload.m
        for order in orders:
            pairs = [self.pairs[i] for i in order.tolist()]
            for start in range(0, len(pairs), m):
                self.oracle.step(pairs[start : start + m], self.workload.eta)

    def parameters(self):
        self.weights, self.biases = self.oracle.weights, self.oracle.biases
        return super().parameters()


class MatrixNumPy(Peer):
    """One mini-batch at a time, in place, nothing allocated in the loop, OpenBLAS."""

    name = "matrix NumPy"
    threads = "any"

    def __init__(self, workload, threads, log_loss=False):
        self.log_loss = log_loss
        super().__init__(workload, threads)

    def reset(self):
        super().reset()
        m, dtype = self.workload.m, self.workload.dtype
        self.A, self.T, self.Delta = (
            [np.empty((m, n), dtype) for n in self.workload.sizes] for _ in range(3)
        )
        self.nabla = [np.empty_like(w) for w in self.weights]

    def train(self, orders):
        m = self.workload.m
        rate = self.X.dtype.type(self.workload.eta / m)
        with np.errstate(over="ignore"):
            for order in orders:
                for start in range(0, len(order), m):
                    self._step(order[start : start + m], rate)

    def _step(self, batch, rate):
        A, T, Delta, nabla = self.A, self.T, self.Delta, self.nabla
        np.take(self.X, batch, axis=0, out=A[0], mode="clip")  # clip: no buffer for errors
        for l, (w, b) in enumerate(zip(self.weights, self.biases), 1):
            z = np.dot(A[l - 1], w.T, out=A[l])
            z += b
            np.negative(z, out=z)
            np.exp(z, out=z)
            z += 1
            np.reciprocal(z, out=z)
        top = len(self.weights)
        np.subtract(A[top], self.Y[batch], out=Delta[top])
        for l in range(top, 0, -1):
            if l < top or not self.log_loss:
                np.subtract(1, A[l], out=T[l])
                T[l] *= A[l]
                Delta[l] *= T[l]
            w, b = self.weights[l - 1], self.biases[l - 1]
            if l > 1:
                np.dot(Delta[l], w, out=Delta[l - 1])
            Delta[l] *= rate
            np.dot(Delta[l].T, A[l - 1], out=nabla[l - 1])
            w -= nabla[l - 1]
            b -= Delta[l].sum(axis=0)

    @staticmethod
    def environment(threads, arguments):
        return {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}

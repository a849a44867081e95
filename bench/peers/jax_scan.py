"""JAX: the whole epoch in one jitted lax.scan."""

import os

import numpy as np

from bench.peers.base import Peer

# For samples as rows and as columns: (z without b, Delta without the slope, nabla_w), and the axis
# of the samples.
ROWS = lambda w, a: a @ w.T, lambda w, d: d @ w, lambda d, a: d.T @ a, 0
COLUMNS = lambda w, a: w @ a, lambda w, d: w.T @ d, lambda d, a: d @ a.T, 1


class JaxScan(Peer):
    """The whole epoch in one jitted lax.scan, parameters donated, gradients by hand.

    Samples are gathered inside the scan: a gather of the whole epoch before it is slower, since
    the scan copies every slice once more. jax.grad and unrolling make no difference. Which
    products are fastest depends on dtype and width; the third variant is XLA's newer library of
    products, by a flag that it still calls experimental.
    """

    name = "JAX scan"
    needs = ("jax",)
    threads = "any"
    variants = {
        "samples as rows": dict(columns=False),
        "samples as columns": dict(columns=True),
        "rows, YNN products": dict(columns=False, ynn=True),
    }
    float32_only = ("rows, YNN products",)

    def __init__(self, workload, threads, columns, ynn=False):
        self.columns = columns
        super().__init__(workload, threads)

    def load(self):
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax = jax
        super().load()
        self.X, self.Y = jax.device_put(self.X), jax.device_put(self.Y)
        self.epoch = jax.jit(self._epoch, donate_argnums=0)

    def reset(self):
        self.P = self.jax.block_until_ready(self.jax.device_put(self.workload.initial()))

    def _epoch(self, P, X, Y, order):
        def step(P, batch):
            return self._step(P, X[batch], Y[batch]), None

        return self.jax.lax.scan(step, P, order.reshape(-1, self.workload.m))[0]

    def _step(self, P, x, y):
        weights, biases = P
        forward, backward, gradient, axis = COLUMNS if self.columns else ROWS
        x, y = (x.T, y.T) if self.columns else (x, y)
        A = [x]
        for w, b in zip(weights, biases):
            A.append(self.jax.nn.sigmoid(forward(w, A[-1]) + self.jax.numpy.expand_dims(b, axis)))
        rate = self.X.dtype.type(self.workload.eta / self.workload.m)
        delta = (A[-1] - y) * A[-1] * (1 - A[-1])
        new_weights, new_biases = [], []
        for l in range(len(weights) - 1, -1, -1):
            new_weights.insert(0, weights[l] - rate * gradient(delta, A[l]))
            new_biases.insert(0, biases[l] - rate * delta.sum(axis=axis))
            if l:
                delta = backward(weights[l], delta) * A[l] * (1 - A[l])
        return new_weights, new_biases

    def train(self, orders):
        for order in orders:
            self.P = self.epoch(self.P, self.X, self.Y, order.astype(np.int32))
        self.jax.block_until_ready(self.P)

    def parameters(self):
        self.weights, self.biases = self.P
        return super().parameters()

    @staticmethod
    def environment(threads, arguments):
        """XLA reads NPROC once, when it starts: the size of its pools of threads."""
        flags = os.environ.get("XLA_FLAGS", "")
        if arguments.get("ynn"):
            flags += " --xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT"
        return {"NPROC": str(threads), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags.strip()}

"""fastbp: the public SGD on arrays, all of the call's own cost included."""

import contextlib
import io
import itertools
import random

import numpy as np

from bench.peers.base import Peer
from fastbp.network import Network
from fastbp.training.compute import threads


class _EnoughError(Exception):
    """Ends a call of SGD whose first steps were asked for."""


class Fastbp(Peer):
    """The public SGD on arrays. parallel: "auto", or "always" or "never" more than one thread."""

    name = "fastbp"
    threads = "any"
    caches = ("NUMBA_CACHE_DIR",)
    epochs = 3

    def __init__(self, workload, threads, parallel="auto"):
        self.parallel = parallel
        super().__init__(workload, threads)

    def load(self):
        self.X, self.Y = self.workload.data()

    def reset(self):
        sizes, dtype = list(self.workload.sizes), self.workload.dtype
        self.net = Network(sizes, dtype=dtype, threads=self.n_threads or None)
        self.net.weights, biases = self.workload.initial()
        self.net.biases = [b.reshape(-1, 1) for b in biases]
        random.seed(self.workload.seed)

    def train(self, orders):
        self._train(orders, self.parallel)

    def _train(self, orders, mode):
        n, threads.mode = len(orders[0]), mode
        m, eta = self.workload.m, self.workload.eta
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self.net.SGD((self.X[:n], self.Y[:n]), len(orders), m, eta, progress=False)
        finally:
            threads.mode = "auto"

    def first_steps(self, n, steps):
        """Begin the same call of SGD, and end it after so many mini-batches.

        Where it is timed with more threads than one, it may run on one or on all: both are tried,
        and must give the same bits.
        """
        both = self.parallel == "auto" and self.n_threads != 1
        results = [
            self._begin(n, steps, mode)
            for mode in (("never", "always") if both else (self.parallel,))
        ]
        threads._tuners.clear()  # what was measured while it compiled is not for the timed calls
        for one, other in zip(*(itertools.chain(*results[k]) for k in (0, -1))):
            if not np.array_equal(one, other):
                raise ValueError("serial and parallel training give different weights")
        return results[0]

    def _begin(self, n, steps, mode):
        self.reset()
        descent_of = self.net._descent

        @contextlib.contextmanager
        def first_part(samples, order, settings):
            with descent_of(samples, order[: steps * settings.m], settings) as descent:
                yield descent
            raise _EnoughError

        self.net._descent = first_part
        with contextlib.suppress(_EnoughError):
            self._train(self.workload.orders(n, self.epochs), mode)
        return self.parameters()

    def parameters(self):
        self.weights, self.biases = self.net.weights, self.net.biases
        return super().parameters()

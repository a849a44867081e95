"""The interface of a peer: what it is trained with, how it is reset, trained and read."""

import functools
import importlib.util

import numpy as np

PACKAGES = {"sklearn": "scikit-learn"}  # where the name to install is not the one to import


class Peer:
    """One program that trains one Workload. reset() is not timed, train(orders) is.

    needs: the packages to install; dtypes; threads: "one", "any" (as many as the case allows) or
    "best" (the best of one and all, in every case); log_loss: it trains this cost, not the
    quadratic one; caches: environment variables that name folders of compiled code; variants:
    arguments of the constructor, by name, of which the fastest are compared; slow_to_compile:
    variants that --quick leaves out; float32_only: variants without float64; epochs: in one timed
    call.
    """

    name = ""
    needs = ()
    dtypes = ("float64", "float32")
    threads = "one"
    log_loss = False
    caches = ()
    variants = {"": {}}
    slow_to_compile = ()
    float32_only = ()
    epochs = 1

    def __init__(self, workload, threads):
        self.workload, self.n_threads = workload, threads
        self.load()
        self.reset()

    def load(self):
        """Bring the data into the form that train uses."""
        self.X, self.Y = self.workload.data()
        self.X = self.X.astype(self.workload.dtype, copy=False)

    def reset(self):
        """Go back to the initial weights."""
        self.weights, self.biases = self.workload.initial()

    def train(self, orders):
        """Run one epoch for each order, an array of sample numbers."""
        raise NotImplementedError

    def first_steps(self, n, steps):
        """Train on the first mini-batches of an epoch of n images; return the parameters."""
        self.reset()
        self.train([self.workload.orders(n, 1)[0][: steps * self.workload.m]])
        return self.parameters()

    def parameters(self):
        """Return (weights, biases), each a list of float64 arrays, w (n_out, n_in), b (n_out,)."""
        convert = functools.partial(np.array, dtype=np.float64)
        return [convert(w) for w in self.weights], [convert(b).ravel() for b in self.biases]

    @classmethod
    def missing(cls):
        """Return what must be installed first, as text, or an empty string."""
        absent = [PACKAGES.get(p, p) for p in cls.needs if importlib.util.find_spec(p) is None]
        return f"pip install {' '.join(absent)}" if absent else ""

    @staticmethod
    def environment(threads, arguments):
        """Return the environment variables that a process must start with."""
        return {}

    @classmethod
    def variants_for(cls, dtype, thread_counts, quick=False):
        """Yield (variant, arguments, threads) for all that a case tries."""
        counts = thread_counts[:1] if cls.threads == "one" else thread_counts
        for variant, arguments in cls.variants.items():
            slow = quick and variant in cls.slow_to_compile
            if not slow and (dtype == "float32" or variant not in cls.float32_only):
                yield from ((variant, arguments, count) for count in counts)

"""The contestants, each at its best, behind one small interface; PEERS is the table of them all.

Every peer does the same mathematics from the same initial weights in the same order of samples,
with its data in memory in the form that it likes best. validation.py compares each of them with
matrix NumPy before it is timed; scikit-learn alone has another cost, and says so.
"""

import contextlib
import ctypes
import functools
import importlib.util
import io
import itertools
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from bench.work import Oracle
from fastbp import mnist_loader
from fastbp.network import Network
from fastbp.training import threads


class Peer:
    """One contestant on one Work. reset() is not timed, train(orders) is.

    needs: the packages to install; dtypes; threads: "one", "any" (as many as the row has) or
    "best" (the best of one and all, in every row); variants: the forms it is tried in, each a
    dictionary of arguments to the constructor; log_loss: it trains this cost, not the quadratic
    one; caches: environment variables that name folders of compiled code.
    """

    name = ""
    needs = ()
    dtypes = ("float64", "float32")
    threads = "one"
    log_loss = False
    caches = ()
    variants = {"": {}}
    epochs = 1  # in one timed call

    def __init__(self, work, threads):
        self.work, self.n_threads = work, threads
        self.load()
        self.reset()

    def load(self):
        """Bring the data into the form that train uses."""
        self.X, self.Y = self.work.data()
        self.X = self.X.astype(self.work.dtype, copy=False)

    def reset(self):
        """Go back to the initial weights."""
        self.weights, self.biases = self.work.initial()

    def train(self, orders):
        """Run one epoch for each order, an array of sample numbers."""
        raise NotImplementedError

    def first_steps(self, n, steps):
        """Train on the first mini-batches of an epoch of n images; return the parameters."""
        self.reset()
        self.train([self.work.orders(n, 1)[0][: steps * self.work.m]])
        return self.parameters()

    def parameters(self):
        """Return (weights, biases), each a list of float64 arrays, w (n_out, n_in), b (n_out,)."""
        convert = functools.partial(np.array, dtype=np.float64)
        return [convert(w) for w in self.weights], [convert(b).ravel() for b in self.biases]

    @classmethod
    def missing(cls):
        """Return what must be installed first, as text, or an empty string."""
        absent = [name for name in cls.needs if importlib.util.find_spec(name) is None]
        return f"pip install {' '.join(PACKAGES.get(p, p) for p in absent)}" if absent else ""

    @staticmethod
    def environment(threads, variant):
        """Return the environment variables that a process must start with."""
        return {}


PACKAGES = {"sklearn": "scikit-learn"}


class BookOracle(Peer):
    """The book's own algorithm, one sample at a time, on the book's list of pairs."""

    name = "oracle"
    dtypes = ("float64",)

    def load(self):
        X, Y = self.work.data()
        few = (X[:0], np.empty(0, int))
        self.pairs = mnist_loader.wrap(((X, Y.argmax(axis=1)), few, few))[0]
        self.pairs = [(x, y.reshape(-1, 1)) for (x, _), y in zip(self.pairs, Y)]

    def reset(self):
        self.oracle = Oracle(self.work.sizes)
        self.oracle.weights, biases = self.work.initial()
        self.oracle.biases = [b.reshape(-1, 1) for b in biases]

    def train(self, orders):
        m = self.work.m
        for order in orders:
            pairs = [self.pairs[i] for i in order.tolist()]
            for start in range(0, len(pairs), m):
                self.oracle.step(pairs[start : start + m], self.work.eta)

    def parameters(self):
        self.weights, self.biases = self.oracle.weights, self.oracle.biases
        return super().parameters()


class MatrixNumPy(Peer):
    """One mini-batch at a time, in place, nothing allocated in the loop, OpenBLAS."""

    name = "matrix NumPy"
    threads = "any"

    def __init__(self, work, threads, log_loss=False):
        self.log_loss = log_loss
        super().__init__(work, threads)

    def reset(self):
        super().reset()
        m, sizes = self.work.m, self.work.sizes
        self.A = [np.empty((m, n), self.work.dtype) for n in sizes]
        self.T = [np.empty((m, n), self.work.dtype) for n in sizes]
        self.Delta = [np.empty((m, n), self.work.dtype) for n in sizes]
        self.nabla = [np.empty_like(w) for w in self.weights]

    def train(self, orders):
        m, rate = self.work.m, self.X.dtype.type(self.work.eta / self.work.m)
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
    def environment(threads, variant):
        return {"OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}


class Torch(Peer):
    """What the two PyTorch peers share: tensors in memory, one gather per epoch."""

    needs = ("torch",)

    def load(self):
        import torch

        super().load()
        torch.set_num_threads(self.n_threads)
        self.torch = torch
        self.X, self.Y = torch.from_numpy(self.X), torch.from_numpy(self.Y)

    def train(self, orders):
        torch, m = self.torch, self.work.m
        for order in orders:
            order = torch.from_numpy(order)
            X, Y = self.X.index_select(0, order), self.Y.index_select(0, order)
            for x, y in zip(X.split(m), Y.split(m)):
                self.step(x, y)

    def _tensors(self):
        weights, biases = self.work.initial()
        return [self.torch.from_numpy(p) for p in weights], [
            self.torch.from_numpy(p) for p in biases
        ]

    @staticmethod
    def environment(threads, variant):
        return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


class TorchAutograd(Torch):
    """Automatic differentiation: eager with each form of SGD, or the whole step compiled.

    The compiled form traces loss, gradient and step into one graph.
    """

    name = "PyTorch autograd"
    threads = "best"
    caches = ("TORCHINDUCTOR_CACHE_DIR",)
    variants = {
        "SGD(fused)": dict(fused=True),
        "SGD(foreach)": dict(foreach=True),
        "SGD(plain)": dict(foreach=False),
        "compiled step": {},
    }

    def __init__(self, work, threads, **optimizer):
        self.optimizer = optimizer
        super().__init__(work, threads)

    def load(self):
        super().load()
        self.P = [self.torch.empty(0) for _ in range(2 * len(self.work.sizes) - 2)]
        if not self.optimizer:
            self.torch._dynamo.reset()  # else it counts the shapes of earlier work as recompiling
            self.compiled = self.torch.compile(self._whole_step, fullgraph=True, dynamic=False)

    def _loss(self, P, x, y):
        functional, a = self.torch.nn.functional, x
        for w, b in zip(P[::2], P[1::2]):
            a = self.torch.sigmoid(functional.linear(a, w, b))
        return functional.mse_loss(a, y, reduction="sum") * (0.5 / self.work.m)

    def _whole_step(self, P, x, y):
        gradient = self.torch.func.grad(self._loss)(P, x, y)
        for p, g in zip(P, gradient):
            p.sub_(g, alpha=self.work.eta)

    def reset(self):
        self.P = [p for pair in zip(*self._tensors()) for p in pair]
        if self.optimizer:
            self.P = [self.torch.nn.Parameter(p) for p in self.P]
            self.sgd = self.torch.optim.SGD(self.P, lr=self.work.eta, **self.optimizer)

    def step(self, x, y):
        if self.optimizer:
            self.sgd.zero_grad(set_to_none=True)
            self._loss(self.P, x, y).backward()
            self.sgd.step()
        else:
            with self.torch.no_grad():
                self.compiled(self.P, x, y)

    def parameters(self):
        arrays = [p.detach().numpy() for p in self.P]
        self.weights, self.biases = arrays[::2], arrays[1::2]
        return super().parameters()


class TorchByHand(Torch):
    """The four equations written out, in place, into tensors made beforehand."""

    name = "PyTorch by hand"
    threads = "any"

    def reset(self):
        self.weights, self.biases = self._tensors()
        rows = functools.partial(self.torch.empty, dtype=self.X.dtype)
        self.A = [rows(self.work.m, n) for n in self.work.sizes]
        self.Delta = [rows(self.work.m, n) for n in self.work.sizes]
        self.sums = [rows(n) for n in self.work.sizes]
        self.w_turned = [w.t() for w in self.weights]
        self.Delta_turned = [d.t() for d in self.Delta]

    def train(self, orders):
        with self.torch.no_grad():
            super().train(orders)

    def step(self, x, y):
        torch, A, Delta, rate = self.torch, self.A, self.Delta, self.work.eta / self.work.m
        A[0] = x
        top = len(self.weights)
        for l in range(top):
            torch.addmm(self.biases[l], A[l], self.w_turned[l], out=A[l + 1]).sigmoid_()
        torch.sub(A[top], y, out=Delta[top])
        for l in range(top, 0, -1):
            torch.ops.aten.sigmoid_backward.grad_input(Delta[l], A[l], grad_input=Delta[l])
            if l > 1:
                torch.mm(Delta[l], self.weights[l - 1], out=Delta[l - 1])
            self.weights[l - 1].addmm_(self.Delta_turned[l], A[l - 1], alpha=-rate)
            torch.sum(Delta[l], 0, out=self.sums[l])
            self.biases[l - 1].sub_(self.sums[l], alpha=rate)


class JaxScan(Peer):
    """The whole epoch in one jitted lax.scan, parameters donated, gradients by hand.

    Samples are gathered inside the scan: a gather of the whole epoch before it is slower, since
    the scan copies every slice once more. jax.grad and unrolling make no difference. Which form
    of the products is fastest depends on dtype and width; the third is XLA's newer library of
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

    def __init__(self, work, threads, columns, ynn=False):
        self.columns = columns
        super().__init__(work, threads)

    def load(self):
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax = jax
        super().load()
        self.X, self.Y = jax.device_put(self.X), jax.device_put(self.Y)
        self.epoch = jax.jit(self._epoch, donate_argnums=0)

    def reset(self):
        self.P = self.jax.block_until_ready(self.jax.device_put(self.work.initial()))

    def _epoch(self, P, X, Y, order):
        step = self._step_columns if self.columns else self._step_rows

        def body(P, batch):
            return step(P, X[batch], Y[batch]), None

        return self.jax.lax.scan(body, P, order.reshape(-1, self.work.m))[0]

    def _step_rows(self, P, x, y):
        weights, biases = P
        A = [x]
        for w, b in zip(weights, biases):
            A.append(self.jax.nn.sigmoid(A[-1] @ w.T + b))
        rate = self.X.dtype.type(self.work.eta / self.work.m)
        delta = (A[-1] - y) * A[-1] * (1 - A[-1])
        new_weights, new_biases = [], []
        for l in range(len(weights) - 1, -1, -1):
            new_weights.insert(0, weights[l] - rate * (delta.T @ A[l]))
            new_biases.insert(0, biases[l] - rate * delta.sum(axis=0))
            if l:
                delta = (delta @ weights[l]) * A[l] * (1 - A[l])
        return new_weights, new_biases

    def _step_columns(self, P, x, y):
        weights, biases = P
        A = [x.T]
        for w, b in zip(weights, biases):
            A.append(self.jax.nn.sigmoid(w @ A[-1] + b[:, None]))
        rate = self.X.dtype.type(self.work.eta / self.work.m)
        delta = (A[-1] - y.T) * A[-1] * (1 - A[-1])
        new_weights, new_biases = [], []
        for l in range(len(weights) - 1, -1, -1):
            new_weights.insert(0, weights[l] - rate * (delta @ A[l].T))
            new_biases.insert(0, biases[l] - rate * delta.sum(axis=1))
            if l:
                delta = (weights[l].T @ delta) * A[l] * (1 - A[l])
        return new_weights, new_biases

    def train(self, orders):
        for order in orders:
            self.P = self.epoch(self.P, self.X, self.Y, order.astype(np.int32))
        self.jax.block_until_ready(self.P)

    def parameters(self):
        self.weights, self.biases = self.P
        return super().parameters()

    @staticmethod
    def environment(threads, variant):
        """XLA reads NPROC once, when it starts: the size of its pools of threads."""
        flags = os.environ.get("XLA_FLAGS", "")
        if variant.get("ynn"):
            flags += " --xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT"
        return {"NPROC": str(threads), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags.strip()}


class ScikitLearn(Peer):
    """MLPClassifier on one-hot rows, so that its output layer is sigmoid, too."""

    name = "scikit-learn"
    needs = ("sklearn",)
    threads = "any"
    log_loss = True
    variants = {"nearest: log loss": {}}

    def load(self):
        from sklearn.neural_network import MLPClassifier

        super().load()
        self.Y = self.Y.astype(np.int8)
        self.net = MLPClassifier(
            self.work.sizes[1:-1],
            activation="logistic",
            solver="sgd",
            alpha=0,
            batch_size=self.work.m,
            learning_rate_init=self.work.eta,
            momentum=0,
            nesterovs_momentum=False,
            shuffle=False,
        )
        few = slice(2 * self.work.m)
        self.net.partial_fit(self.X[few], self.Y[few], classes=np.arange(self.work.sizes[-1]))

    def reset(self):
        weights, biases = self.work.initial()
        for held, w in zip(self.net.coefs_ + self.net.intercepts_, weights + biases):
            held[...] = w.T

    def train(self, orders):
        with np.errstate(all="ignore"):
            for order in orders:
                self.net.partial_fit(self.X[order], self.Y[order])

    def parameters(self):
        self.weights = [w.T for w in self.net.coefs_]
        self.biases = self.net.intercepts_
        return super().parameters()

    environment = MatrixNumPy.environment


class PlainC(Peer):
    """bench/trainer.c, what a C programmer writes in an afternoon."""

    name = "plain C"

    @classmethod
    def missing(cls):
        return "" if shutil.which("gcc") or shutil.which("cc") else "install gcc or another cc"

    def load(self):
        super().load()
        self.library = _compiled_trainer(self.work.dtype)

    def train(self, orders):
        work, pointer = self.work, ctypes.c_void_p
        number = len(self.weights)
        w = (pointer * number)(*(a.ctypes.data for a in self.weights))
        b = (pointer * number)(*(a.ctypes.data for a in self.biases))
        sizes = (ctypes.c_int * len(work.sizes))(*work.sizes)
        X, Y = pointer(self.X.ctypes.data), pointer(self.Y.ctypes.data)
        for order in orders:
            order = order.astype(ctypes.c_long, copy=False)
            at, n, eta = pointer(order.ctypes.data), ctypes.c_long(len(order)), work.eta
            if self.library.train(
                len(sizes), sizes, w, b, X, Y, at, n, work.m, ctypes.c_double(eta)
            ):
                raise MemoryError("trainer.c: no memory")


@functools.cache
def _compiled_trainer(dtype):
    """Return trainer.c compiled for one dtype. The library outlives its file."""
    real = {"float64": "double", "float32": "float"}[dtype]
    compiler = shutil.which("gcc") or shutil.which("cc")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / f"trainer_{real}.so"
        options = ["-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", f"-Dreal={real}"]
        source = Path(__file__).with_name("trainer.c")
        subprocess.run([compiler, *options, source, "-o", library, "-lm"], check=True)
        return ctypes.CDLL(str(library))


class _EnoughError(Exception):
    """Ends a call of SGD whose first steps were asked for."""


class Fastbp(Peer):
    """The public API on arrays, all of the call's own cost included."""

    name = "fastbp"
    threads = "any"
    caches = ("NUMBA_CACHE_DIR",)
    epochs = 3

    def __init__(self, work, threads, parallel="auto"):
        self.parallel = parallel
        super().__init__(work, threads)

    def load(self):
        self.X, self.Y = self.work.data()

    def reset(self):
        self.net = Network(
            list(self.work.sizes), dtype=self.work.dtype, threads=self.n_threads or None
        )
        self.net.weights, biases = self.work.initial()
        self.net.biases = [b.reshape(-1, 1) for b in biases]
        random.seed(self.work.seed)

    def train(self, orders):
        self._train(orders, self.parallel)

    def _train(self, orders, mode):
        n, threads.mode = len(orders[0]), mode
        data = self.X[:n], self.Y[:n]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self.net.SGD(data, len(orders), self.work.m, self.work.eta, progress=False)
        finally:
            threads.mode = "auto"

    def first_steps(self, n, steps):
        """Begin the same call of SGD, and end it after so many mini-batches.

        Where it is timed with more threads than one, it may run on one or on all: both are tried,
        and must give the same bits.
        """
        modes = (self.parallel,)
        if self.parallel == "auto" and self.n_threads != 1:
            modes = "never", "always"
        results = [self._begin(n, steps, mode) for mode in modes]
        threads._tuners.clear()  # what was measured while it compiled is not for the timed calls
        for one, other in zip(*(itertools.chain(*results[k]) for k in (0, -1))):
            if not np.array_equal(one, other):
                raise ValueError("serial and parallel training give different weights")
        return results[0]

    def _begin(self, n, steps, mode):
        self.reset()
        train = self.net._train

        def train_part(samples, order, m, *arguments, **more):
            train(samples, order[: steps * m], m, *arguments, **more)
            raise _EnoughError

        self.net._train = train_part
        with contextlib.suppress(_EnoughError):
            self._train(self.work.orders(n, self.epochs), mode)
        return self.parameters()

    def parameters(self):
        self.weights, self.biases = self.net.weights, self.net.biases
        return super().parameters()


PEERS = {
    peer.name: peer
    for peer in (
        BookOracle,
        MatrixNumPy,
        TorchAutograd,
        TorchByHand,
        JaxScan,
        ScikitLearn,
        PlainC,
        Fastbp,
    )
}


SLOW_TO_COMPILE = ("compiled step",)


def forms(peer, dtype, thread_counts, quick=False):
    """Yield (variant, arguments, threads) for every form that a row tries a peer in.

    quick: without those that compile for ten seconds and more.
    """
    counts = {"one": thread_counts[:1], "any": thread_counts, "best": thread_counts}[peer.threads]
    for (variant, arguments), count in itertools.product(peer.variants.items(), counts):
        without = quick and variant in SLOW_TO_COMPILE
        without |= arguments.get("ynn", False) and dtype == "float64"  # YNN has float32 only
        if not without:
            yield variant, arguments, count

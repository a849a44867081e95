"""The training loop over the kernels: plans, the choice of serial or parallel, epochs in chunks.

Law: prints nothing, opens nothing, and takes only arrays that `arrays` has checked.
"""

import contextlib
import functools
import itertools
import os
import random
import threading
import time

import numpy as np

from fastbp import kernels

# Two parallel regions per mini-batch cost some ten microseconds and move the weights between the
# cores' caches: below this work per call of a region, one thread is faster.
PARALLEL_FLOPS = 8e6
# Loading the parallel evaluation costs more than it can save below this work per call.
PARALLEL_EVALUATION_FLOPS = 4e9
# Lists of pixels pay where most pixels are zero; what is left over is denser arithmetic.
MOST_LISTED = 0.4  # of all pixels
MOSTLY = 0.6  # of a mini-batch's work in the first layer
KERNEL_SECONDS = 0.1  # return to Python about this often: Ctrl-C and progress live there
EVALUATION_ROWS = 512  # samples in the workspace of a forward pass
MAX_PARTIALS = 16  # partial gradients that backprop_batch adds up, at most


class Plan:
    """Where everything of a network lies in flat memory: see the legend in kernels.py.

    sizes: neurons per layer, the input layer first.
    """

    def __init__(self, sizes):
        self.sizes = sizes
        self.table = np.zeros((len(sizes), 5), np.int64)
        self.n_params = 0
        units = np.cumsum((0, *sizes))
        for l, n in enumerate(sizes):
            w_at, b_at = 0, 0
            if l:
                w_at = self.n_params
                b_at = w_at + n * sizes[l - 1]
                self.n_params = b_at + n
            self.table[l] = n, w_at, b_at, units[l], units[-1] + units[l] - sizes[0]
        self.forward_units = int(units[-1])
        self.units = 2 * self.forward_units - sizes[0]  # the input layer has no Delta
        self.forward_flops = 2 * sum(a * b for a, b in itertools.pairwise(sizes))
        self.flops = 3 * self.forward_flops - 2 * sizes[0] * sizes[1]


@functools.lru_cache(maxsize=64)
def plan_of(sizes):
    """Return the Plan of a tuple of sizes."""
    return Plan(sizes)


# ------------------------------------------------ threads


_in_forked_child = False


def _note_fork():
    global _in_forked_child
    _in_forked_child = True


if hasattr(os, "register_at_fork"):  # OpenMP ends a forked child at its first parallel region
    os.register_at_fork(after_in_child=_note_fork)


def usable_threads(threads):
    """Return how many threads a call may use: `threads`, or all that this process may run on."""
    if _in_forked_child:
        return 1
    available = kernels.get_num_threads()
    if hasattr(os, "sched_getaffinity"):
        available = min(available, len(os.sched_getaffinity(0)))
    return available if threads is None else min(threads, available)


# Numba's workqueue layer, the one it falls back to, ends the process when two Python threads
# launch at once. Where the layer can do it, there is little to gain: a launch takes all cores.
_launch_lock = threading.Lock()


@contextlib.contextmanager
def _launching(threads):
    """Hold Numba's thread count at `threads` for a call, and put it back."""
    before = kernels.get_num_threads()
    with _launch_lock:
        kernels.set_num_threads(threads)
        try:
            yield
        finally:
            kernels.set_num_threads(before)


def trains_in_parallel(plan, m, threads):
    """Tell whether mini-batches of m samples are worth more than one thread."""
    return usable_threads(threads) > 1 and plan.flops * m >= PARALLEL_FLOPS


def evaluates_in_parallel(plan, n, threads):
    """Tell whether a forward pass of n samples is worth more than one thread."""
    flops = plan.forward_flops * n
    return flops >= PARALLEL_EVALUATION_FLOPS and usable_threads(threads) > 1


# ------------------------------------------------ calls into the kernels


def _fixed(array):
    """Return a read-only view, whatever the array's own flags: one type, one compilation."""
    array = array.view()
    array.flags.writeable = False
    return array


def _pixels(X):
    """Return (bytes, kind) of a contiguous data set X (n, n_in): what the gather reads."""
    return _fixed(X.reshape(-1).view(np.uint8)), kernels.PIXEL_KINDS.index(X.dtype)


class Samples:
    """A training set as the kernels read it: X (n, n_in), Y (n, n_out), and which form is faster.

    The form depends on the shapes and the data, never on the number of threads: the first layer
    runs on lists of the pixels that are not zero where most are zero, where one thread is enough
    for the mini-batches or the first layer is most of their work (then one thread on lists beats
    two on tiles), and where there is more than one mini-batch; else on tiles over all pixels.
    """

    def __init__(self, X, Y, plan, m, dtype):
        self.pixels, self.Y = _pixels(X), _fixed(Y)
        first_layer = 4 * plan.sizes[0] * plan.sizes[1]  # flops per sample
        suited = plan.flops * m < PARALLEL_FLOPS or first_layer > MOSTLY * plan.flops
        possible = kernels.VECTORS and plan.sizes[0] <= 1 << 16  # columns are 16 bits wide
        worth_it = suited and possible and len(X) > m
        self.lists = _listed(X, dtype) if worth_it else None

    def __len__(self):
        return len(self.Y)


def _listed(X, dtype):
    """Return (columns, values, starts) of the pixels of X that are not zero, or None: too many."""
    n, n_in = X.shape
    most = int(MOST_LISTED * X.size) + n_in  # memory is taken only as far as it is written
    columns, values = np.empty(most, np.uint16), np.empty(most, dtype)
    starts = np.empty(n + 1, np.int64)
    bits = _fixed(X.view(f"u{X.itemsize}"))
    listed = kernels.list_pixels(columns, values, starts, _fixed(X), bits)
    return (columns, values, starts) if listed else None


def _chunk(m, tasks, tiles=2):
    """Return how many of m samples one task takes: at least so many register tiles.

    Fixed by m alone, so that no sum depends on the number of threads, and in whole tiles, so that
    no tile does either.
    """
    return kernels.SAMPLE_TILE * max(tiles, -(-m // (tasks * kernels.SAMPLE_TILE)))


def feedforward(params, plan, X, threads=None):
    """Return the network's outputs (n, n_out) for the rows of X (n, n_in)."""
    n = len(X)
    out = np.empty((n, plan.sizes[-1]), params.dtype)
    rows = min(n, EVALUATION_ROWS)
    work = np.empty(rows * plan.forward_units, params.dtype)
    pixels, kind = _pixels(X)
    order = np.arange(n)
    args = out, work, pixels, kind, order, params, plan.table, rows, _chunk(rows, 16)
    if evaluates_in_parallel(plan, n, threads):
        with _launching(usable_threads(threads)):
            kernels.feedforward_batch_parallel(*args)
    else:
        kernels.feedforward_batch(*args)
    return out


def feedforward_columns(a, weights, biases):
    """Return the outputs (n_out, m) for the columns a (n_in, m) of a few samples.

    A product with one column is bound by memory, and many columns would have to be turned into
    rows for the kernels: here NumPy's products are as fast as it gets.
    """
    for w, b in zip(weights, biases):
        a = np.dot(w, a)
        kernels.sigmoid_columns(a, b)
    return a


def gradient(params, plan, X, Y, threads=None):
    """Return the flat gradient of the quadratic cost, summed over X (m, n_in) and Y (m, n_out)."""
    m = len(X)
    chunk = _chunk(m, MAX_PARTIALS, 6)
    partials = np.zeros((-(-m // chunk), plan.n_params), params.dtype)
    work = np.empty(m * plan.units, params.dtype)
    pixels, kind = _pixels(X)
    args = partials, work, pixels, kind, _fixed(Y), np.arange(m), params, plan.table, chunk
    if len(partials) > 1 and trains_in_parallel(plan, m, threads):
        with _launching(usable_threads(threads)):
            kernels.backprop_batch_parallel(*args)
    else:
        kernels.backprop_batch(*args)
    return partials[0]


def train(params, plan, samples, order, m, eta, threads=None, on_samples=None):
    """Run one epoch of gradient descent on params, in place, over the rows `order` of samples.

    m samples per mini-batch. Between kernel calls, about every 100 ms, params stand at a
    mini-batch boundary and on_samples(count) is called.
    """
    m = min(m, len(samples))
    if samples.lists is None:
        steps = _tiled_steps(params, plan, samples, m, eta, threads)
    else:
        steps = _listed_steps(params, plan, samples, m, eta)
    per_call = max(1, int(KERNEL_SECONDS * 1e10 / (plan.flops * m)))  # until measured, a guess
    start = 0
    with contextlib.closing(steps):
        next(steps)
        while True:
            part = order[start : start + per_call * m]
            began = time.perf_counter()
            steps.send(part)
            seconds = time.perf_counter() - began
            start += len(part)
            if on_samples:
                on_samples(len(part))
            if start == len(order):
                return
            pace = KERNEL_SECONDS / max(seconds, 1e-6)
            per_call = max(1, int(per_call * min(4.0, max(0.25, pace))))


def _tiled_steps(params, plan, samples, m, eta, threads):
    """A coroutine that takes slices of the order and trains on them, on register tiles."""
    work = np.empty(m * plan.units, params.dtype)
    args = plan.table, m, float(eta), _chunk(m, 8)
    parallel = trains_in_parallel(plan, m, threads)
    kernel = kernels.sgd_steps_parallel if parallel else kernels.sgd_steps
    while True:
        part = yield
        with _launching(usable_threads(threads)) if parallel else contextlib.nullcontext():
            kernel(params, work, *samples.pixels, samples.Y, part, *args)


def _listed_steps(params, plan, samples, m, eta):
    """The same on lists of pixels, with the first layer's weights in panels until it is closed."""
    n_in, n = plan.sizes[:2]
    n_panels = -(-n // kernels.PANEL)
    w = params[: n * n_in].reshape(n, n_in)
    rows = np.zeros((n_in, n_panels * kernels.PANEL), params.dtype)
    rows[:, :n] = w.T
    panels = rows.reshape(n_in, n_panels, kernels.PANEL).swapaxes(0, 1).reshape(-1)
    pad = np.empty(n_panels * m * kernels.PANEL, params.dtype)
    work = np.empty(m * plan.units, params.dtype)
    args = pad, work, *samples.lists, samples.Y
    try:
        while True:
            part = yield
            kernels.sgd_steps_listed(params, panels, *args, part, plan.table, m, float(eta))
    finally:
        rows = panels.reshape(n_panels, n_in, kernels.PANEL).swapaxes(0, 1).reshape(n_in, -1)
        w[...] = rows[:, :n].T


def shuffle(order):
    """Shuffle an int64 array in place just as random.shuffle does, drawing on the same state."""
    version, words, gauss = random.getstate()
    state = np.array(words, np.uint32)
    kernels.shuffle(order, state)
    random.setstate((version, tuple(state.tolist()), gauss))


def warm_up(plan, dtype, m, threads=None):
    """Compile, or load from the cache, what training on images in float32 will call.

    m: mini-batch size.
    """
    X = np.zeros((m + 1, plan.sizes[0]), np.float32)  # blank, so that lists are chosen for them
    samples = Samples(X, np.zeros((m + 1, plan.sizes[-1]), dtype), plan, m, dtype)
    none = np.empty(0, np.int64)
    kernels.shuffle(none, np.zeros(625, np.uint32))
    train(np.zeros(plan.n_params, dtype), plan, samples, none, m, 1.0, threads)


def warm_up_evaluation(plan, dtype, n, threads=None):
    """Compile, or load from the cache, what evaluations of n images in float32 will call."""
    parallel = evaluates_in_parallel(plan, n, threads)
    forward = kernels.feedforward_batch_parallel if parallel else kernels.feedforward_batch
    out, work, none = np.empty((0, plan.sizes[-1]), dtype), np.empty(0, dtype), np.empty(0, int)
    pixels = _pixels(np.empty((0, plan.sizes[0]), np.float32))
    forward(out, work, *pixels, none, np.empty(plan.n_params, dtype), plan.table, 1, 1)

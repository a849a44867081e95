"""The training loop over the kernels: plans, the form of the data, epochs in chunks.

Law: prints nothing, opens nothing, and takes only arrays that `arrays` has checked.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
import os
import random
import threading
import time

import numpy as np

from fastbp import interrupts, kernels, programs, threads, vectors
from fastbp.pixels import Pixels

# Fewer samples than this are not worth turning the weights into panels and back.
MANY = 256
SMALL = 10_000  # numbers, up to which NumPy's product runs on one thread
FEW = 32  # samples that tell what the others are like
# Groups of samples share a list of pixels that are not zero. With more of them than this in each
# sample, the list of a group is as good as whole.
MOST_LISTED = 0.4
KERNEL_SECONDS = 0.1  # return to Python about this often: Ctrl-C and progress live there
TRIAL_SECONDS = 0.02  # while it is not clear yet how many threads are best
SHARED_FLOPS = 1e6  # per mini-batch: below, no second thread is even tried
EVALUATION_ROWS = 256  # samples in the workspace of a forward pass
CHECK_COST = 200  # what training must take, in times of what a look at the weights takes
# The row-major form
PARALLEL_FLOPS = 8e6  # per call of a parallel region: below, one thread is faster
MAX_PARTIALS = 16  # partial gradients that backprop_batch adds up, at most


def loops_only():
    """Tell whether FASTBP_LOOPS asks for plain loops: no vector tiles, no lists, no panels."""
    return not vectors.AVAILABLE or os.environ.get("FASTBP_LOOPS", "") not in ("", "0")


ACTIVATIONS = {
    "sigmoid": kernels.SIGMOID,
    "tanh": kernels.TANH,
    "relu": kernels.RELU,
    "linear": kernels.LINEAR,
    "softmax": kernels.SOFTMAX,
}
COSTS = {
    "quadratic": kernels.QUADRATIC,
    "cross-entropy": kernels.CROSS_ENTROPY,
    "log-likelihood": kernels.LOG_LIKELIHOOD,
}
# Which cost goes with which output activation, and by which slope BP1 multiplies a - y: f'(z) for
# the quadratic cost; the other two are made so that it cancels.
OUTPUT_SLOPES = {
    ("quadratic", "sigmoid"): kernels.SIGMOID,
    ("quadratic", "tanh"): kernels.TANH,
    ("quadratic", "relu"): kernels.RELU,
    ("quadratic", "linear"): kernels.LINEAR,
    ("cross-entropy", "sigmoid"): kernels.LINEAR,
    ("log-likelihood", "softmax"): kernels.LINEAR,
}


class Plan:
    """Where everything of a network lies in flat memory: see the legend in kernels.py.

    sizes: neurons per layer, the input layer first; activations: a name for each layer after it,
    sigmoid everywhere if there is none; cost: a name that goes with the last of them.
    """

    def __init__(self, sizes, activations=(), cost="quadratic"):
        self.sizes, self.cost = sizes, COSTS[cost]
        activations = activations or ("sigmoid",) * (len(sizes) - 1)
        codes = [ACTIVATIONS[name] for name in activations]
        slopes = [*codes[:-1], OUTPUT_SLOPES[cost, activations[-1]]]
        self.table = np.zeros((len(sizes), 7), np.int64)
        self.table[1:, kernels.ACTIVATION], self.table[1:, kernels.SLOPE] = codes, slopes
        self.n_params = 0
        units = np.cumsum((0, *sizes))
        for l, n in enumerate(sizes):
            w_at, b_at = 0, 0
            if l:
                w_at = self.n_params
                b_at = w_at + n * sizes[l - 1]
                self.n_params = b_at + n
            self.table[l, :5] = n, w_at, b_at, units[l], units[-1] + units[l] - sizes[0]
        self.forward_units = int(units[-1])
        self.units = 2 * self.forward_units - sizes[0]  # the input layer has no Delta
        self.forward_flops = 2 * sum(a * b for a, b in itertools.pairwise(sizes))
        self.flops = 3 * self.forward_flops - 2 * sizes[0] * sizes[1]
        self._layouts = {}

    def layout(self, dtype):
        """Return the Layout of panels of this type."""
        width = vectors.width_of(dtype)
        if width not in self._layouts:
            self._layouts[width] = programs.Layout(self.sizes, width)
        return self._layouts[width]


@functools.lru_cache(maxsize=64)
def plan_of(sizes, activations=(), cost="quadratic"):
    """Return the Plan of a tuple of sizes, a tuple of activations and a cost."""
    return Plan(sizes, activations, cost)


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a step does beyond following the gradient; nothing, by default.

    l2, l1: the regularisation of weights, lmbda/n each; momentum: 0..1, in Nesterov's form or the
    book's; dropout: for each layer, input first, the share of neurons that a sample does without
    (the output layer's is 0), by the number `key`; max_norm: the length to which the weights into
    a neuron are shortened.
    """

    l2: float = 0.0
    l1: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    dropout: tuple = ()
    key: int = 0
    max_norm: float | None = None


NO_RULES = Rules()


class NotFinite(Exception):
    """A pixel is NaN or infinite, or beyond the network's type: see arrays.refuse_strange."""


class Diverged(Exception):
    """The weights became NaN or infinite; `before`: so many samples of the order were fine."""

    def __init__(self, before):
        super().__init__(before)
        self.before = before


# ------------------------------------------------ calls into the kernels


def _fixed(array):
    """Return a read-only view, whatever the array's own flags: one type, one compilation."""
    array = array.view()
    array.flags.writeable = False
    return array


def _pixels(X):
    """Return (bytes, kind) of a contiguous data set X (n, n_in): what the gather reads.

    X: an array of float64 or float32, or Pixels of scale 1/256.
    """
    X = X.array if isinstance(X, Pixels) else X
    return _fixed(X.reshape(-1).view(np.uint8)), kernels.PIXEL_KINDS.index(X.dtype)


class Samples:
    """A training set as the kernels read it: X (n, n_in), Y (n, n_out), in the form that suits.

    The form depends on the shapes and the data, never on the number of threads:

    - rows: the network as it is, row-major, on plain loops: for a few samples, and by request;
    - panels: the weights turned into panels for the call, on vector tiles. There the first layer
      leaves out the pixels that are zero, where most are: fewer operations, the same bits.
    """

    def __init__(self, X, Y):
        self.form = "rows" if loops_only() or len(X) < MANY else "panels"
        self.checked = None  # the type of numbers that these pixels are known to be finite in
        self.listed = self.form == "panels" and _mostly_zero(X)
        self.X, (self.pixels, self.kind) = X, _pixels(X)
        self.n_in, self.Y = X.shape[1], _fixed(Y)

    def __len__(self):
        return len(self.Y)


def _mostly_zero(X):
    """Tell whether lists of the pixels that are not zero pay, by what some rows of X hold."""
    X = X.array if isinstance(X, Pixels) else X
    some = X[:: -(-len(X) // FEW)]
    return (some != 0).mean() < MOST_LISTED


def _chunk(m, tasks, tiles=2):
    """Return how many of m samples one task takes: at least so many register tiles.

    Fixed by m alone, so that no sum depends on the number of threads, and in whole tiles, so that
    no tile does either.
    """
    return kernels.SAMPLE_TILE * max(tiles, -(-m // (tasks * kernels.SAMPLE_TILE)))


def is_finite(array):
    """Tell whether all numbers in an array are finite; made for small ones."""
    if array.size < SMALL:  # a product takes a third of the time, and tells unless it overflows
        return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())
    return bool(np.isfinite(array).all())


def _refuse_strange(X, dtype):
    """Raise NotFinite for a pixel that is: the tiles find that out themselves, loops do not."""
    if X.dtype == dtype and is_finite(X):
        return
    with np.errstate(over="ignore"):
        if X.dtype != np.uint8 and not np.isfinite(X.astype(dtype, copy=False)).all():
            raise NotFinite


def feedforward(params, plan, X, n_threads=None):
    """Return the network's outputs (n, n_out) for the rows of X (n, n_in). Raises NotFinite."""
    n, dtype = len(X), params.dtype
    out = np.empty((n, plan.sizes[-1]), dtype)
    rows = min(n, EVALUATION_ROWS)
    pixels, kind = _pixels(X)
    order = np.arange(n)
    if loops_only() or n < MANY:
        _refuse_strange(X, dtype)
        work = np.empty(rows * plan.forward_units, dtype)
        drops = np.zeros(len(plan.sizes))
        args = out, work, pixels, kind, order, params, plan.table, rows, _chunk(rows, 16), drops
        twins = kernels.feedforward_batch, kernels.feedforward_batch_parallel
        _run_twin(twins, plan.forward_flops * n, n_threads, args)
        return out
    panels = plan.layout(params.dtype).to_panels(params, plan)
    data = pixels, kind, _mostly_zero(X), None
    run = _runner(plan, panels, data, rows, n_threads, out=out)
    for _ in _paced(run, order, rows, plan.forward_flops * rows):
        pass  # but back in Python now and then, where an interrupt can come
    return out


def feedforward_columns(a, weights, biases):
    """Return the outputs (n_out, m) for the columns a (n_in, m) of a few samples.

    A product with one column is bound by memory, and many columns would have to be turned into
    rows for the kernels: here NumPy's products are as fast as it gets.
    """
    with np.errstate(all="ignore"):  # whoever asks looks at the outcome
        for w, b in zip(weights, biases):
            a = np.dot(w, a)
            kernels.sigmoid_columns(a, b)
    return a


def gradient(params, plan, X, Y, n_threads=None):
    """Return the flat gradient of the plan's cost, summed over X (m, n_in) and Y (m, n_out)."""
    _refuse_strange(X, params.dtype)
    return _gradient(params, plan, *_pixels(X), _fixed(Y), np.arange(len(X)), n_threads, NO_RULES)


def _gradient(params, plan, pixels, kind, Y, order, n_threads, rules):
    m = len(order)
    chunk = _chunk(m, MAX_PARTIALS, 6)
    partials = np.zeros((-(-m // chunk), plan.n_params), params.dtype)
    work = np.empty(m * plan.units, params.dtype)
    drops = np.array(rules.dropout or (0.0,) * len(plan.sizes))
    data = pixels, kind, Y, order, params, plan.table
    twins = kernels.backprop_batch, kernels.backprop_batch_parallel
    args = partials, work, *data, chunk, drops, rules.key
    _run_twin(twins, plan.flops * m, n_threads if len(partials) > 1 else 1, args)
    return partials[0]


def quotients(params, plan, X, Y, which, h):
    """Return (C(p + h) - C(p - h)) / 2h by the parameters `which` of float64 params, on one thread.

    C: the plan's cost, summed over X (m, n_in) and Y (m, n_out).
    """
    out, m = np.empty(len(which)), len(X)
    work, drops = np.empty(m * plan.forward_units), np.zeros(len(plan.sizes))
    data = *_pixels(X), _fixed(Y), np.arange(m), plan.table, drops, plan.cost, float(h)
    kernels.difference_quotients(out, which, params.copy(), work, *data)
    return out


def train(
    params, plan, samples, order, m, eta, n_threads=None, on_samples=None, rules=NO_RULES,
    velocity=None, watch=True,
):  # fmt: skip
    """Run gradient descent on params, in place, over the rows `order` of samples; return how many.

    m samples per mini-batch; velocity: a flat vector like params, in place, too, where rules have
    momentum. Between kernel calls, about every 100 ms, on_samples(count) is called: if it returns
    something true, training ends there, at a mini-batch boundary.

    Raises NotFinite for a pixel that is; then params are of no use. With `watch`, raises Diverged
    when weights are no longer finite; then params are as they were before that mini-batch.
    """
    m = min(m, len(samples))
    form = _row_steps if samples.form == "rows" else _panel_steps
    if form is _row_steps and rules != NO_RULES:
        form = _ruled_row_steps
    if samples.form == "rows" and samples.checked != params.dtype:
        _refuse_strange(samples.X, params.dtype)
        samples.checked = params.dtype
    done, on_samples = 0, on_samples or (lambda count: False)
    with form(params, plan, samples, m, eta, n_threads, rules, velocity) as (run, state):
        guard = _Guard(state) if watch else None
        first = TRIAL_SECONDS if _shares(plan.flops * m, n_threads) > 1 else KERNEL_SECONDS / 2
        try:
            for end, seconds in _paced(run, order, m, plan.flops * m, first):
                ends = bool(on_samples(end - done)) or end == len(order)
                done = end
                if guard and not guard.passes(done, seconds, ends):
                    raise Diverged(guard.last_sound(run, order[:done], m))
                if ends:
                    break
        except (NotFinite, Diverged):
            raise
        except BaseException:  # interrupted before the guard has looked
            if guard and not guard.is_sound():
                on_samples(guard.restore() - done)
            raise
    return done


def _paced(run, order, m, flops, first=KERNEL_SECONDS / 2):
    """Run the samples of `order` in calls of about the length that they want.

    flops: per mini-batch of m; first: how many seconds the first call may take, by a guess. Yields,
    after each call, how many samples are done, and how long it took.
    """
    per_call = max(1, int(first * 1e10 / flops))
    start = 0
    while start < len(order):
        part = order[start : start + per_call * m]
        seconds, wanted = run(part)
        start += len(part)
        yield start, seconds
        pace = wanted / max(seconds, 1e-6)
        per_call = max(1, int(per_call * min(4.0, max(0.25, pace))))


class _Guard:
    """Keeps a copy of the last weights that were finite. To look costs half a hundredth.

    state: the arrays that training changes.
    """

    def __init__(self, state):
        self.state, self.done = state, 0
        self.kept = [array.copy() for array in state]
        self.seconds = self.cost = 0.0

    def passes(self, done, seconds, now):
        """Tell whether all is finite after so many samples; without `now`, only if it is time.

        Now means that training ends here: there is nothing more to keep.
        """
        self.seconds += seconds
        if not now and self.seconds < CHECK_COST * self.cost:
            return True
        began = time.perf_counter()
        if not self.is_sound():
            return False
        if not now:
            self._keep(done)
        self.seconds, self.cost = 0.0, time.perf_counter() - began
        return True

    def last_sound(self, run, order, m):
        """Go back to the copy and on, step by step, to the mini-batch that ends it.

        Returns how many samples came before it; the state is then that of this moment. The same
        steps give the same bits, so it is there.
        """
        for start in range(self.restore(), len(order), m):
            run(order[start : start + m])
            if not self.is_sound():
                return self.restore()
            self._keep(start + m)
        raise AssertionError("the same steps gave another result")  # pragma: no cover

    def is_sound(self):
        """Tell whether all is finite now."""
        return all(np.isfinite(array).all() for array in self.state)

    def _keep(self, done):
        self.done = done
        for kept, array in zip(self.kept, self.state):
            np.copyto(kept, array)

    def restore(self):
        """Go back to the copy; return how many samples were done then."""
        for kept, array in zip(self.kept, self.state):
            np.copyto(array, kept)
        return self.done


@contextlib.contextmanager
def _panel_steps(params, plan, samples, m, eta, n_threads, rules, velocity):
    """Give a function that trains on a slice of the order, and what it changes: panels, for now."""
    layout = plan.layout(params.dtype)
    flat = [params] if velocity is None else [params, velocity]
    panels = [layout.to_panels(vector, plan) for vector in flat]
    data = samples.pixels, samples.kind, samples.listed, samples.Y
    how = {} if rules == NO_RULES else dict(rules=rules, velocity=panels[1] if panels[1:] else None)
    try:
        yield _runner(plan, panels[0], data, m, n_threads, eta=eta, **how), panels
    finally:
        for vector, in_panels in zip(flat, panels):
            layout.from_panels(in_panels, vector, plan)


def _runner(plan, panels, data, m, n_threads, **purpose):
    """Return a function that runs the samples of a slice, on one thread or a team.

    It returns (the seconds it took, the seconds that the next call may take). data and purpose:
    see programs.Programs.
    """
    train = "eta" in purpose
    shares = _shares((plan.flops if train else plan.forward_flops) * m, n_threads)
    choice = threads.choice(plan.sizes, m, panels.dtype, data[1], train, shares)

    @functools.cache
    def arrays_for(shares):
        return programs.Programs(plan, panels, data, m, shares, **purpose)

    @functools.cache
    def tables(shares, size):
        """Return the programs for a mini-batch of `size` samples, one per share, ready to run."""
        all_shares = [arrays_for(shares).table(size, share) for share in range(shares)]
        with interrupts.welcome():
            for table in all_shares:
                vectors.tiles_for(panels.dtype, table)
        return all_shares

    now = np.zeros((shares, vectors.NOW), np.int64)

    def member(team, share, shares, tiles, whole, ragged, part):
        one_share = whole[share], ragged[share], now[share]
        vectors.run_program(team, share, shares, tiles, *one_share, part, m)

    def run(part):
        parallel = shares > 1 and choice.parallel
        wanted = TRIAL_SECONDS if shares > 1 and choice.undecided else KERNEL_SECONDS
        count = shares if parallel else 1
        both = tables(count, m), tables(count, len(part) % m or m)
        tiles = vectors.tiles_for(panels.dtype, both[0][0])
        if not vectors.run_program.signatures:
            with interrupts.welcome():  # it compiles
                threads.in_team(1, member, tiles, *both, part[:0])
        began = time.perf_counter()
        threads.in_team(count, member, tiles, *both, part)
        seconds = time.perf_counter() - began
        if now[:, vectors.STRANGE].any():
            raise NotFinite
        if shares > 1:
            choice.note(parallel, seconds, len(part))
        return seconds, wanted

    return run


def _shares(flops, n_threads):
    """Return how many threads may share a mini-batch of so many flops."""
    return threads.usable(n_threads) if flops >= SHARED_FLOPS else 1


# ------------------------------------------------ the row-major form


@contextlib.contextmanager
def _row_steps(params, plan, samples, m, eta, n_threads, rules, velocity):
    """Give a function that trains on a slice of the order, on plain loops, and what it changes."""
    work = np.empty(m * plan.units, params.dtype)
    args = plan.table, m, float(eta), _chunk(m, 8), np.zeros(len(plan.sizes))
    twins = kernels.sgd_steps, kernels.sgd_steps_parallel

    def run(part):
        began = time.perf_counter()
        data = samples.pixels, samples.kind, samples.Y, part
        _run_twin(twins, plan.flops * m, n_threads, (params, work, *data, *args))
        return time.perf_counter() - began, KERNEL_SECONDS

    yield run, [params]


@contextlib.contextmanager
def _ruled_row_steps(params, plan, samples, m, eta, n_threads, rules, velocity):
    """_row_steps with rules: the gradient on plain loops, the step in NumPy."""

    def run(part):
        began = time.perf_counter()
        for start in range(0, len(part), m):
            batch = part[start : start + m]
            data = samples.pixels, samples.kind, samples.Y, batch
            nabla = _gradient(params, plan, *data, n_threads, rules)
            ruled_step(params, nabla, velocity, plan, eta, len(batch), rules)
        return time.perf_counter() - began, KERNEL_SECONDS

    yield run, [params] if velocity is None else [params, velocity]


def ruled_step(params, nabla, velocity, plan, eta, m, rules):
    """Take the step of a mini-batch of m samples on flat params, by the flat gradient nabla.

    In place; velocity: flat, too, or None. The twin in NumPy of what programs have as steps.
    """
    rate, moving = eta / m, itertools.repeat((None, None))
    if velocity is not None:
        moving = layers_of(velocity, plan)
    layers = zip(layers_of(params, plan), layers_of(nabla, plan), moving)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):  # a guard looks for it
        for (w, b), (nabla_w, nabla_b), (v_w, v_b) in layers:
            pull = -eta * (rules.l2 * w + rules.l1 * np.sign(w))
            _move(w, v_w, pull - rate * nabla_w, rules)
            _move(b, v_b, -rate * nabla_b, rules)
            if rules.max_norm:
                norms = np.sqrt((w * w).sum(axis=1, keepdims=True))
                w *= rules.max_norm / np.maximum(norms, rules.max_norm)


def _move(w, v, step, rules):
    """Take a step in place, with momentum if there is a velocity v."""
    if v is None:
        w += step
        return
    v *= rules.momentum
    v += step
    w += step + rules.momentum * v if rules.nesterov else v


def layers_of(flat, plan):
    """Return [(w, b), ...]: each layer's views (n_out, n_in) and (n_out,) into a flat vector."""
    layers = []
    for (n_in, n_out), (w_at, b_at) in zip(
        itertools.pairwise(plan.sizes), plan.table[1:, kernels.W_AT : kernels.B_AT + 1].tolist()
    ):
        w, b = flat[w_at:b_at].reshape(n_out, n_in), flat[b_at : b_at + n_out]
        layers.append((w, b))
    return layers


def _run_twin(twins, flops, n_threads, args):
    """Call the serial or the parallel one of two drivers, by the work in a parallel region."""
    serial, parallel = twins
    shares = 1 if _in_forked_child else threads.usable(n_threads)
    worth_it = flops >= PARALLEL_FLOPS if threads.mode == "auto" else threads.mode == "always"
    if shares > 1 and worth_it:
        with _launching(shares):
            parallel(*args)
    else:
        serial(*args)


_in_forked_child = False


def _note_fork():
    global _in_forked_child
    _in_forked_child = True


if hasattr(os, "register_at_fork"):  # OpenMP ends a forked child at its first parallel region
    os.register_at_fork(after_in_child=_note_fork)

# Numba's workqueue layer, the one it falls back to, ends the process when two Python threads
# launch at once. Where the layer can do it, there is little to gain: a launch takes all cores.
_launch_lock = threading.Lock()


@contextlib.contextmanager
def _launching(shares):
    """Hold Numba's thread count at `shares` for a call, and put it back."""
    before = kernels.get_num_threads()
    with _launch_lock:
        kernels.set_num_threads(min(shares, before))
        try:
            yield
        finally:
            kernels.set_num_threads(before)


# ------------------------------------------------ the book's order, and getting ready


def shuffle(order):
    """Shuffle an int64 array in place just as random.shuffle does, drawing on the same state."""
    version, words, gauss = random.getstate()
    state = np.fromiter(words, np.uint32, len(words))
    kernels.shuffle(order, state)
    random.setstate((version, tuple(state.tolist()), gauss))


def compile_steps(dtype):
    """Compile, or load from the cache, every step that a program may have."""
    if vectors.AVAILABLE:
        vectors.tiles_for(dtype, np.arange(len(vectors.STEPS))[:, None])


def warm_up(plan, dtype, m, n_threads=None, stored=np.float32):
    """Compile, or load from the cache, what training and evaluating on arrays will call.

    m: mini-batch size; stored: the type of the images.
    """
    n = max(MANY, m + 1)
    X = np.zeros((n, plan.sizes[0]), stored)
    X = Pixels(X) if stored == np.uint8 else X
    Y = np.zeros((n, plan.sizes[-1]), dtype)
    kernels.shuffle(np.empty(0, np.int64), np.zeros(625, np.uint32))
    samples, params = Samples(X, Y), np.zeros(plan.n_params, dtype)
    train(params, plan, samples, np.arange(1), m, 1.0, n_threads=1)
    feedforward(params, plan, X if not loops_only() else X[:1], n_threads=1)

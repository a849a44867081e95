"""The training loop over the kernels: plans, how the data are stored, epochs in calls of 100 ms.

Invariant: prints nothing, opens nothing, and takes only arrays that `fastbp.data` has checked.
"""

import dataclasses
import functools
import itertools
import math
import random
import time

import numpy as np

from fastbp.data import warn
from fastbp.data.parameters import layer_views
from fastbp.data.pixels import Pixels
from fastbp.kernels import activations as act
from fastbp.kernels import costs, drivers, jit, lagging, layout, optimizer
from fastbp.kernels.cache import uncached  # noqa: F401
from fastbp.kernels.processes import CompilingThread
from fastbp.kernels.shuffle import shuffle as shuffle_in_place
from fastbp.training import signals, threads

SMALL = 10_000  # numbers, up to which NumPy's product runs on one thread
FEW = 32  # samples that tell what the others are like
# With more nonzero pixels than this in a sample, the list of a group is as good as whole.
MOST_NONZERO = 0.4
KERNEL_SECONDS = 0.1  # return to Python about this often: Ctrl-C and progress live there
PARALLEL_FLOPS = 1e6  # per mini-batch: below, no second thread is even tried
BATCH = 256  # samples in the workspace of a forward pass, or of a gradient
# How long inputs may lag, see _period
PERIOD_FLOPS, MOST_PERIOD, LARGE_DECAY = 2e9, 1000, 0.01
CHECK_COST = 200  # what training must take, in times of what a look at the weights takes

ACTIVATIONS = {
    "sigmoid": act.SIGMOID,
    "tanh": act.TANH,
    "relu": act.RELU,
    "linear": act.LINEAR,
    "softmax": act.SOFTMAX,
}
COSTS = {
    "quadratic": costs.QUADRATIC,
    "cross-entropy": costs.CROSS_ENTROPY,
    "log-likelihood": costs.LOG_LIKELIHOOD,
}
# Which cost goes with which output activation, and by which slope BP1 multiplies a - y: f'(z) for
# the quadratic cost; the other two are made so that it cancels.
OUTPUT_SLOPES = {
    ("quadratic", "sigmoid"): act.SIGMOID,
    ("quadratic", "tanh"): act.TANH,
    ("quadratic", "relu"): act.RELU,
    ("quadratic", "linear"): act.LINEAR,
    ("cross-entropy", "sigmoid"): act.LINEAR,
    ("log-likelihood", "softmax"): act.LINEAR,
}


class Plan:
    """What a network computes: sizes, activations and cost.

    sizes: neurons per layer, the input layer first; activations: a name for each layer after it,
    sigmoid everywhere if there is none; cost: a name that goes with the last of them. Parameters
    are a flat vector w1 b1 w2 b2 ..., each w (n_out, n_in) row-major; offsets: where w and b of
    each layer begin in it.
    """

    def __init__(self, sizes, activations=(), cost="quadratic"):
        self.sizes, self.cost = sizes, COSTS[cost]
        activations = activations or ("sigmoid",) * (len(sizes) - 1)
        codes = [ACTIVATIONS[name] for name in activations]
        slopes = [*codes[:-1], OUTPUT_SLOPES[cost, activations[-1]]]
        self.codes = np.array([codes, slopes]).T
        self.shapes = [(n_out, n_in) for n_in, n_out in itertools.pairwise(sizes)]
        counts = [n for a, b in itertools.pairwise(sizes) for n in (a * b, b)]
        starts = [0, *itertools.accumulate(counts)]
        self.offsets = [*zip(starts[:-1:2], starts[1::2])]
        self.n_params = starts[-1]
        self.forward_flops = 2 * sum(a * b for a, b in itertools.pairwise(sizes))
        self.flops = 3 * self.forward_flops - 2 * sizes[0] * sizes[1]
        self.layout = functools.lru_cache(maxsize=8)(self._layout)

    def _layout(self, dtype, m):
        """Return the Layout of packed weights of this type, for mini-batches of up to m samples."""
        return layout.Layout(self.sizes, dtype, m, self.codes)


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
    """A pixel is NaN or infinite, or beyond the network's type; check_finite_samples names it."""


class Diverged(Exception):
    """The weights became NaN or infinite; `before`: so many samples of the order were fine."""

    def __init__(self, before):
        super().__init__(before)
        self.before = before


# ------------------------------------------------ calls into the kernels


def _fixed(array):
    """Return a flat, read-only view, whatever the array's flags: one type, one compilation."""
    array = array.reshape(-1).view()
    array.flags.writeable = False
    return array


def _is_sparse(X):
    """Tell whether lists of the nonzero pixels pay, by what some rows of X hold."""
    some = X[:: -(-len(X) // FEW)]
    return np.count_nonzero(some) < MOST_NONZERO * some.size


def check_inputs(X, dtype, name):
    """Raise NotFinite if inputs are not finite in this type; warn if they are large."""
    if not isinstance(X, Pixels):
        with np.errstate(over="ignore"):
            if not np.isfinite(X.astype(dtype, copy=False)).all():
                raise NotFinite
    warn.warn_about_large_inputs(X, name)


class Samples:
    """A data set as the kernels read it.

    X (n, n_in), contiguous: uint8, float32 or float64, or Pixels; Y (n, n_out); name: what a
    warning calls the inputs. Where most of X is zero the first layer leaves these numbers out:
    fewer operations, the same bits.
    """

    def __init__(self, X, Y, name="X"):
        stored, scale = (X.array, X.scale) if isinstance(X, Pixels) else (X, 1.0)
        self.sparse = _is_sparse(stored)
        self.X, self.n_in, self.n, self.Y, self.name = X, X.shape[1], len(X), Y, name
        numbers = _fixed(stored.reshape(-1).view(np.uint8))
        self.stored = numbers, layout.STORED.index(stored.dtype), scale, _fixed(Y)
        self.checked = False  # whether all inputs are finite, and how large they are

    def range_factor(self, dtype):
        """Return by what the kernels find inputs that are not finite, or larger than warn.LARGE.

        See sparse.all_in_range; 0 if there can be none.
        """
        _, kind, scale, _ = self.stored
        bytes_in_range = layout.STORED[kind] == np.uint8 and 255 * abs(scale) <= warn.LARGE
        return dtype.type(0 if self.checked or bytes_in_range else np.finfo(dtype).max / warn.LARGE)

    def check(self, dtype):
        """Find out what is beyond the limit: raise NotFinite, or warn that inputs are large."""
        check_inputs(self.X, dtype, self.name)
        self.checked = True

    def __len__(self):
        return self.n


def is_finite(array):
    """Tell whether all numbers in an array are finite; made for small ones."""
    if array.size < SMALL:  # a product takes a third of the time, and tells unless it overflows
        return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())
    return bool(np.isfinite(array).all())


class _Calls:
    """Calls of a driver and of its parallel form, on slices of an order of samples.

    net: the Net of the call; rules: an optimizer.Rules, or None; more: the driver's other
    arguments; work: what the tuner goes by.
    """

    def __init__(self, names, samples, net, rules, more, work, flops, n_threads):
        self.serial, self.parallel = (getattr(drivers, name) for name in names)
        self.samples, self.net, self.rules, self.more = samples, net, rules, more
        self.n_threads = threads.usable(n_threads) if flops >= PARALLEL_FLOPS else 1
        if threads.mode == "always":
            self.n_threads = threads.usable(n_threads)
        self.tuner = threads.tuner(names, *work, self.n_threads)
        self.key = names, net.scale.dtype, rules is None  # one compilation for each

    def __call__(self, part):
        """Run the samples `part`; return (the seconds it took, those that the next may take)."""
        net = self.net._replace(order=_fixed(part), n_samples=len(part))
        arguments = net, self.rules, *self.more
        if self.key not in _compiled:
            with signals.welcome():
                jit.prepare(self.serial, *arguments)
            _compiled.add(self.key)
        parallel = self.n_threads > 1 and self.tuner.parallel and self._can_be_parallel(arguments)
        began = time.perf_counter()
        with threads.launching(self.n_threads if parallel else 1) as parallel:
            if parallel:
                self.parallel(*arguments, self.n_threads)
            else:
                self.serial(*arguments)
        seconds = time.perf_counter() - began
        if not net.in_range[0]:
            self.samples.check(net.scale.dtype)
            net.in_range[0] = 1
            self.net = self.net._replace(range_factor=self.samples.range_factor(net.scale.dtype))
        if self.n_threads > 1:
            self.tuner.note(parallel, seconds, len(part))
        probing = self.n_threads > 1 and self.tuner.probing
        return seconds, threads.PROBE_SECONDS if probing else KERNEL_SECONDS

    def _can_be_parallel(self, arguments):
        """Tell whether the parallel driver is compiled; a thread of its own does that meanwhile."""
        if threads.is_forked():
            return False
        if self.key not in _compiling:
            compiling = CompilingThread(jit.prepare, self.parallel, *arguments, self.n_threads)
            try:
                compiling.start()  # before others see it: two that compile the same do no harm
            except RuntimeError:  # the system has no more threads
                return False
            _compiling.setdefault(self.key, compiling)
        compiling = _compiling[self.key]
        if threads.mode == "always":
            compiling.join()
        return not compiling.is_alive() and compiling.error is None  # else the serial one remains


_compiled = set()  # keys of _Calls whose serial driver is compiled
_compiling = {}  # threads that compile the parallel driver, by key


def _paced(run, order, m, flops, first=KERNEL_SECONDS / 2, period=1):
    """Run the samples of `order` in calls of about the length that they want.

    flops: per mini-batch of m; first: how many seconds the first call may take, by a guess; period:
    each takes a multiple of so many mini-batches. Yields, after each call, how many samples are
    done, and how long it took.
    """
    per_call = max(1, int(first * 1e10 / flops))
    start = 0
    while start < len(order):
        part = order[start : start + -(-per_call // period) * period * m]
        seconds, wanted = run(part)
        start += len(part)
        yield start, seconds
        pace = wanted / max(seconds, 1e-6)
        per_call = max(1, int(per_call * min(4.0, max(0.25, pace))))


def feedforward(params, plan, X, n_threads=None, name="X"):
    """Return the network's outputs (n, n_out) for the rows of X (n, n_in). Raises NotFinite."""
    n, m = len(X), min(len(X), BATCH)
    out = np.empty((n, plan.sizes[-1]), params.dtype)
    here = plan.layout(params.dtype, m)
    weights, order = here.pack(layer_views(params, plan)), np.arange(n)
    samples = Samples(X, out, name)  # Y is not read
    net, flops = _net(here, weights, weights, samples, order), plan.forward_flops * m
    names, work = ("feedforward_batch", "feedforward_batch_parallel"), (plan.sizes, m, params.dtype)
    run = _Calls(names, samples, net, None, (out,), work, flops, n_threads)
    for _ in _paced(run, order, m, flops):
        pass  # but back in Python now and then, where an interrupt can come
    return out


def _net(here, weights, target, samples, order):
    """Return the Net of a call; here: a Layout."""
    factor = samples.range_factor(here.dtype)
    return here.net(weights, target, samples.stored, order, samples.sparse, factor)


def gradient(params, plan, X, Y, n_threads=None, name="X"):
    """Return the flat gradient of the plan's cost, summed over X (m, n_in) and Y (m, n_out).

    Raises NotFinite.
    """
    samples = Samples(X, Y, name)
    m, order = min(len(samples), BATCH), np.arange(len(samples))
    here, flat = plan.layout(params.dtype, m), np.empty_like(params)
    weights = here.pack(layer_views(params, plan))
    target = layout.zeros(weights.size, weights.dtype)
    net = _net(here, weights, target, samples, order)
    names, work = ("backprop_batch", "backprop_batch_parallel"), (plan.sizes, m, params.dtype)
    run = _Calls(names, samples, net, None, (), work, plan.flops * m, n_threads)
    for _ in _paced(run, order, m, plan.flops * m):
        pass
    here.unpack(target, layer_views(flat, plan))
    return flat


def quotients(params, plan, X, Y, which, h):
    """Return (C(p + h) - C(p - h)) / 2h by the parameters `which` of float64 params, on one thread.

    C: the plan's cost, summed over X (m, n_in) and Y (m, n_out).
    """
    samples, order, out = Samples(X, Y), np.arange(len(X)), np.empty(len(which))
    here = plan.layout(params.dtype, len(X))
    weights = here.pack(layer_views(params, plan))
    places = here.places(layer_views(np.arange(1.0, params.size + 1), plan))
    net = _net(here, weights, weights, samples, _fixed(order))
    drivers.difference_quotients(net, None, out, places[which], plan.cost, float(h))
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
    here, flat = plan.layout(params.dtype, m), [params] if velocity is None else [params, velocity]
    state = [here.pack(layer_views(vector, plan)) for vector in flat]
    net = _net(here, state[0], state[0], samples, order)
    period = _period(rules, eta, plan.flops * m)
    settings = _settings(rules, state, plan.sizes, eta, min(period, -(-len(order) // m)))
    names, work = ("sgd_steps", "sgd_steps_parallel"), (plan.sizes, m, params.dtype)
    run = _Calls(names, samples, net, settings, (float(eta),), work, plan.flops * m, n_threads)
    try:
        done = _descend(run, state, order, m, period, plan.flops * m, on_samples, watch)
        samples.checked |= done == len(samples)  # a whole epoch: the next need not look
        return done
    finally:
        for vector, packed in zip(flat, state):
            here.unpack(packed, layer_views(vector, plan))


def _descend(run, state, order, m, period, flops, on_samples, watch):
    """Run all of the order, or until on_samples says so; see train."""
    done, on_samples = 0, on_samples or (lambda count: False)
    guard = _Guard(state) if watch else None
    first = threads.PROBE_SECONDS if run.n_threads > 1 else KERNEL_SECONDS / 2
    try:
        for end, seconds in _paced(run, order, m, flops, first, period):
            ends = bool(on_samples(end - done)) or end == len(order)
            done = end
            if guard and not guard.passes(done, seconds, ends):
                raise Diverged(guard.last_sound(run, order[:done], m, period))
            if ends:
                break
    except (NotFinite, Diverged):
        raise
    except BaseException:  # interrupted before the guard has looked
        if guard and not guard.is_sound():
            on_samples(guard.restore() - done)
        raise
    return done


def _period(rules, eta, flops):
    """Return after how many mini-batches no input lags any more; see lagging.py.

    1 with L1, whose step is not linear; with max-norm, which needs all weights after each step; and
    where a scale would vanish. It follows from the work alone, and every call of a driver takes a
    multiple of it, so that no bit depends on when a call ends.
    """
    vanishes = not rules.momentum and abs(eta * rules.l2) > LARGE_DECAY
    if rules.l1 or rules.max_norm or vanishes or not (rules.l2 or rules.momentum):
        return 1
    return int(min(MOST_PERIOD, max(1, PERIOD_FLOPS / flops)))


def _settings(rules, state, sizes, eta, period):
    """Return what the kernels take for Rules: an optimizer.Rules, or None where there are none."""
    if rules == NO_RULES:
        return None
    dtype = state[0].dtype
    velocity = state[1] if len(state) > 1 else layout.zeros(1, dtype)
    decay = float(rules.l2), float(rules.momentum), int(rules.nesterov), float(eta)
    return optimizer.Rules(
        float(rules.l2), float(rules.l1), float(rules.momentum), int(rules.nesterov),
        float(rules.max_norm or 0.0), np.array(rules.dropout or (0.0,) * len(sizes), np.float64),
        int(rules.key), velocity, period, lagging.powers_of(*decay, period, dtype),
        *lagging.inputs_table(sizes),
    )  # fmt: skip


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

    def last_sound(self, run, order, m, period):
        """Go back to the copy and on, step by step, to the mini-batch that ends it.

        Returns how many samples came before it; the state is then that of this moment. The same
        calls give the same bits; of shorter ones than a period that need not be so.
        """
        done = self.restore()
        for size in sorted({period * m, m}, reverse=True):
            while done < len(order):
                run(order[done : done + size])
                if not self.is_sound():
                    done = self.restore()
                    break
                done = min(done + size, len(order))
                self._keep(done)
        return done

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


# ------------------------------------------------ the book's order, and getting ready


def shuffle(order):
    """Shuffle an int64 array in place just as random.shuffle does, drawing on the same state."""
    version, words, gauss = random.getstate()
    state = np.fromiter(words, np.uint32, len(words))
    shuffle_in_place(order, state)
    random.setstate((version, tuple(state.tolist()), gauss))


def warm_up(plan, dtype, rules=NO_RULES, everything=False):
    """Compile, or load from the cache, what training and evaluating on arrays will call.

    rules: some that will be used; everything: the parallel forms, and gradients, too.
    """
    shuffle_in_place(np.empty(0, np.int64), np.zeros(625, np.uint32))
    X, Y = np.zeros((1, plan.sizes[0]), np.uint8), np.zeros((1, plan.sizes[-1]), dtype)
    samples, params = Samples(X, Y), np.zeros(plan.n_params, dtype)
    velocity = np.zeros_like(params) if rules.momentum else None
    train(params, plan, samples, np.arange(1), 1, 1.0, 1, None, rules, velocity)
    feedforward(params, plan, X, n_threads=1)
    if everything:
        gradient(params, plan, X, Y, n_threads=1)
        net = _net(plan.layout(params.dtype, 1), params, params, samples, _fixed(np.arange(1)))
        settings = _settings(rules, [params, params], plan.sizes, 1.0, 1)
        jit.prepare(drivers.sgd_steps_parallel, net, settings, 1.0, 1)
        jit.prepare(drivers.backprop_batch_parallel, net, None, 1)
        jit.prepare(drivers.feedforward_batch_parallel, net, None, Y, 1)

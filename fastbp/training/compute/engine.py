"""From flat parameters to the kernels and back: gradient descent, outputs, gradients.

Invariant: prints nothing, opens nothing, and takes only arrays that `fastbp.data` has checked.
"""

import math
import random

import numpy as np

from fastbp.data.parameters import layer_views
from fastbp.kernels import drivers, jit, layout
from fastbp.kernels.shuffle import shuffle as shuffle_in_place
from fastbp.training.compute import calls, threads
from fastbp.training.compute.divergence import Diverged, FiniteGuard
from fastbp.training.compute.rules import NO_RULES, StepSettings, kernel_rules, period_of
from fastbp.training.compute.samples import NonFiniteInput, Samples, read_only

BATCH = 256  # samples in the workspace of a forward pass, or of a gradient
SGD_DRIVERS = "sgd_steps", "sgd_steps_parallel"
SMALL = 10_000  # numbers, up to which NumPy's product runs on one thread


def _net(packed_layout, weights, target, samples, order):
    """Return the Net of a call."""
    factor = samples.range_factor(packed_layout.dtype)
    return packed_layout.net(weights, target, samples.stored, order, samples.sparse, factor)


def feedforward(params, plan, X, n_threads=None, name="X"):
    """Return the network's outputs (n, n_out) for the rows of X (n, n_in).

    Raises NonFiniteInput.
    """
    n, m = X.shape[0], min(X.shape[0], BATCH)
    out = np.empty((n, plan.sizes[-1]), params.dtype)
    packed_layout = plan.layout(params.dtype, m)
    weights, order = packed_layout.pack(layer_views(params, plan)), np.arange(n)
    samples = Samples(X, out, name)  # Y is not read
    net, flops = _net(packed_layout, weights, weights, samples, order), plan.forward_flops * m
    names, work = ("feedforward_batch", "feedforward_batch_parallel"), (plan.sizes, m, params.dtype)
    call_driver = calls.Calls(names, samples, net, None, (out,), work, flops, n_threads)
    for _ in calls.paced(call_driver, order, m, flops):
        pass
    return out


def gradient(params, plan, X, Y, n_threads=None, name="X"):
    """Return the flat gradient of the plan's cost, summed over X (m, n_in) and Y (m, n_out).

    Raises NonFiniteInput.
    """
    samples = Samples(X, Y, name)
    m, order = min(len(samples), BATCH), np.arange(len(samples))
    packed_layout, flat = plan.layout(params.dtype, m), np.empty_like(params)
    weights = packed_layout.pack(layer_views(params, plan))
    target = layout.zeros(weights.size, weights.dtype)
    net, work = _net(packed_layout, weights, target, samples, order), (plan.sizes, m, params.dtype)
    names = "backprop_batch", "backprop_batch_parallel"
    call_driver = calls.Calls(names, samples, net, None, (), work, plan.flops * m, n_threads)
    for _ in calls.paced(call_driver, order, m, plan.flops * m):
        pass
    packed_layout.unpack(target, layer_views(flat, plan))
    return flat


def chunk_calls(plan, packed_layout, weights, samples, order, spare, n_threads, rules):
    """Return the Calls that write the gradient, summed over the chunks of a part of the order.

    Its net.target, and more[0], the chunks, are to be set before each call. packed_layout: that of
    packed weights and target; chunks, spare: see chunk_sums.ChunkTree; rules: KernelRules with
    dropout alone, or None.
    """
    m, names = packed_layout.m, ("sum_chunks", "sum_chunks_parallel")
    net = _net(packed_layout, weights, weights, samples, order)
    work = plan.sizes, m, weights.dtype
    return calls.Calls(names, samples, net, rules, (None, spare), work, plan.flops * m, n_threads)


def quotients(params, plan, X, Y, which, h):
    """Return (C(p + h) - C(p - h)) / 2h by the parameters `which` of float64 params, on one thread.

    C: the plan's cost, summed over X (m, n_in) and Y (m, n_out).
    """
    total, part = np.zeros(len(which)), np.empty(len(which))
    for start in range(0, len(X), BATCH):
        rows = slice(start, start + BATCH)
        samples = Samples(X[rows], Y[rows])
        packed_layout = plan.layout(params.dtype, len(samples))
        weights = packed_layout.pack(layer_views(params, plan))
        places = packed_layout.places(layer_views(np.arange(1.0, params.size + 1), plan))
        net = _net(packed_layout, weights, weights, samples, read_only(np.arange(len(samples))))
        drivers.difference_quotients(net, None, part, places[which], plan.cost, float(h))
        total += part
    return total


class Descent:
    """Gradient descent on params, in place, over the rows `order` of samples.

    A context; iterate over it within: each iteration is a call of a driver, about 100 ms, and gives
    how many samples it took. It may be left after any of them, at a mini-batch boundary. At its end
    `done` samples are behind the parameters.

    settings: StepSettings; sample_weight (samples,): what the cost of each sample is multiplied by;
    with sums_loss, `loss` is in the end the sum of these costs, without regularisation, over the
    `done` samples, each before the step of its mini-batch.

    Raises NonFiniteInput for an input that is; then params are of no use. With settings.check,
    raises Diverged when weights are no longer finite; then params are as they were before that
    mini-batch.
    """

    def __init__(
        self, params, plan, samples, order, settings, n_threads=None, *, sample_weight=None,
        sums_loss=False,
    ):  # fmt: skip
        self.plan, self.samples, self.order = plan, samples, order
        self.m, eta, rules = min(settings.m, len(samples)), settings.eta, settings.rules
        self.done, self.flops = 0, plan.flops * self.m
        self.layout = plan.layout(params.dtype, self.m)
        self.flat = [params, *settings.moments]
        self.packed = [self.layout.pack(layer_views(vector, plan)) for vector in self.flat]
        self.guard = FiniteGuard(self.packed) if settings.check else None
        self.period = period_of(rules, eta, self.flops)
        # The table of powers is as long as the call needs, but a period of 1 would be another kind
        # of step (lagging.is_scaled), with other rounding than in a longer call.
        count = min(self.period, max(2, -(-len(order) // self.m)))
        self.losses = np.zeros(len(order)) if sums_loss else None
        if sample_weight is not None:
            sample_weight = np.ascontiguousarray(sample_weight, params.dtype)
        for_kernels = kernel_rules(
            rules, self.packed, plan.sizes, eta, count, settings.steps_before, sample_weight,
            self.losses, plan.cost,
        )  # fmt: skip
        net = _net(self.layout, self.packed[0], self.packed[0], samples, order)
        work, more = (plan.sizes, self.m, params.dtype), (float(eta),)
        self.call_driver = calls.Calls(
            SGD_DRIVERS, samples, net, for_kernels, more, work, self.flops, n_threads
        )

    def __enter__(self):
        return self

    def __iter__(self):
        first = (
            threads.PROBE_SECONDS if self.call_driver.n_threads > 1 else calls.KERNEL_SECONDS / 2
        )
        for end, seconds in calls.paced(
            self.call_driver, self.order, self.m, self.flops, first, self.period
        ):
            count, self.done = end - self.done, end
            is_last = end == len(self.order)  # then __exit__ looks at the weights
            due = self.guard is not None and not is_last and self.guard.is_due(seconds)
            if due and not self.guard.check(self.done):
                self._raise_diverged()
            yield count

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                if self.guard is not None and not self.guard.is_finite():
                    self._raise_diverged()
                self.samples.note_checked(self.done)
            elif not issubclass(kind, (NonFiniteInput, Diverged)):  # e.g. KeyboardInterrupt
                self._restore_finite()
        finally:
            for vector, packed in zip(self.flat, self.packed):
                self.layout.unpack(packed, layer_views(vector, self.plan))

    @property
    def loss(self):
        """Return the sum of the costs of the samples that were trained on; inf if it overflows."""
        with np.errstate(over="ignore"):
            return float(self.losses[: self.done].sum())

    def _restore_finite(self):
        """After an interrupt that came before the weights were looked at."""
        if self.guard is not None and not self.guard.is_finite():
            self.done = self.guard.restore()

    def _raise_diverged(self):
        """Go back to the last mini-batch with finite weights, and raise Diverged."""
        order = self.order[: self.done]
        self.done = self.guard.find_last_finite(self.call_driver, order, self.m, self.period)
        raise Diverged(self.done)


def uses_all_processors(plan, m, dtype, n_threads=None):
    """Tell whether a Descent with mini-batches of m samples keeps all processors busy.

    False as long as it is not known whether all are faster than one.
    """
    count = threads.usable(n_threads)
    if count < threads.usable():
        return False
    tuner = threads.tuner(SGD_DRIVERS, plan.sizes, m, np.dtype(dtype), count)
    return tuner.decided and tuner.faster


def train(params, plan, samples, order, m, eta, n_threads=None, on_samples=None, **how):
    """Run a Descent to its end, or until on_samples(count) returns something true; return `done`.

    on_samples is called after each call of a driver, with the number of samples that it took; how:
    other fields of StepSettings.
    """
    settings = StepSettings(m, eta, **how)
    with Descent(params, plan, samples, order, settings, n_threads) as descent:
        for count in descent:
            if on_samples is not None and on_samples(count):
                break
    return descent.done


def is_finite(array):
    """Tell whether all numbers in an array are finite; made for small ones."""
    if array.size < SMALL:  # a product takes a third of the time, and tells unless it overflows
        return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())
    return bool(np.isfinite(array).all())


# ------------------------------------------------ the book's order, and getting ready


def shuffle(order, generator=random):
    """Shuffle an int64 array in place just as generator.shuffle does, drawing on the same state.

    generator: a random.Random, or the module for the global one.
    """
    version, words, gauss = generator.getstate()
    state = np.fromiter(words, np.uint32, len(words))
    shuffle_in_place(order, state)
    generator.setstate((version, tuple(state.tolist()), gauss))


def warm_up(plan, dtype, rules=NO_RULES, everything=False):
    """Compile, or load from the cache, what training and evaluating on arrays will call.

    rules: some that will be used; everything: the parallel forms, and gradients, too.
    """
    shuffle_in_place(np.empty(0, np.int64), np.zeros(625, np.uint32))
    X, Y = np.zeros((1, plan.sizes[0]), np.uint8), np.zeros((1, plan.sizes[-1]), dtype)
    samples, params = Samples(X, Y), np.zeros(plan.n_params, dtype)
    moments = [np.zeros_like(params) for _ in range(rules.n_moments)]
    train(params, plan, samples, np.arange(1), 1, 1.0, 1, rules=rules, moments=moments)
    feedforward(params, plan, X, n_threads=1)
    if everything:
        gradient(params, plan, X, Y, n_threads=1)
        order = read_only(np.arange(1))
        net = _net(plan.layout(params.dtype, 1), params, params, samples, order)
        settings = kernel_rules(rules, [params] * 3, plan.sizes, 1.0, 1)
        jit.prepare(drivers.sgd_steps_parallel, net, settings, 1.0, 1)
        jit.prepare(drivers.backprop_batch_parallel, net, None, 1)
        jit.prepare(drivers.feedforward_batch_parallel, net, None, Y, 1)

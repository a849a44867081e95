"""Calls of compiled drivers, of about 100 ms: serial or parallel, compiled when first needed.

Invariant: between two calls Python runs, so that an interrupt, progress and checkpoints have their
turn.
"""

import time

from fastbp.kernels import drivers, jit
from fastbp.kernels.processes import CompilingThread
from fastbp.training import signals
from fastbp.training.compute import threads
from fastbp.training.compute.samples import read_only

KERNEL_SECONDS = 0.1  # how long a call should take
PARALLEL_FLOPS = 1e6  # per mini-batch: below, no second thread is even tried


class Calls:
    """Calls of a driver and of its parallel form, on slices of an order of samples.

    net: the Net of the call; rules: an optimizer.KernelRules, or None; more: the driver's other
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

    def __call__(self, order, start, end):
        """Run the samples order[start:end], of which those before `start` are done.

        Returns (the seconds it took, those that the next call may take).
        """
        part, rules = order[start:end], self.rules
        net = self.net._replace(order=read_only(part), n_samples=len(part))
        if rules is not None:
            losses = rules.losses[start:end] if rules.cost >= 0 else rules.losses
            rules = rules._replace(steps=rules.steps + start // net.m, losses=losses)
        arguments = net, rules, *self.more
        if self.key not in _compiled:
            with signals.allow_signals():
                jit.prepare(self.serial, *arguments)
            _compiled.add(self.key)
        parallel = self.n_threads > 1 and self.tuner.parallel and self._is_compiled(arguments)
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

    def _is_compiled(self, arguments):
        """Tell whether the parallel driver is compiled; if not, start a thread that compiles it."""
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


_compiled = set()  # keys of Calls whose serial driver is compiled
_compiling = {}  # threads that compile the parallel driver, by key


def paced(call, order, m, flops, first=KERNEL_SECONDS / 2, period=1):
    """Run the samples of `order` in calls of about the length that they want.

    flops: per mini-batch of m; first: how many seconds the first call may take, by a guess; period:
    each takes a multiple of so many mini-batches. Yields, after each call, how many samples are
    done, and how long it took.
    """
    per_call = max(1, int(first * 1e10 / flops))
    start = 0
    while start < len(order):
        end = min(len(order), start + -(-per_call // period) * period * m)
        seconds, wanted = call(order, start, end)
        start = end
        yield start, seconds
        pace = wanted / max(seconds, 1e-6)
        per_call = max(1, int(per_call * min(4.0, max(0.25, pace))))

"""The rates of the cost model, measured: the kernels on one thread, and messages of two ranks."""

import itertools
import time

import numpy as np

from fastbp.data.parameters import layer_views
from fastbp.distributed.chunks import ChunkGradients
from fastbp.distributed.settings import CHUNKS
from fastbp.distributed.slices import SliceStep
from fastbp.training.compute.plans import plan_of
from fastbp.training.compute.rules import NO_RULES
from fastbp.training.compute.samples import Samples

ROUNDS = 20  # of which the fastest counts: others on the machine only make it slower
SAMPLES, INK = 1024, 0.38  # as in MNIST a fifth of the pixels are not 0, nearly all in the middle
SMALL, LARGE = 8, 256  # samples of a gradient
SECONDS = 0.02  # of a round, at least
MESSAGE = 2**22  # bytes


def fastest(functions):
    """Return the least seconds of a call of each function on this thread, all of them in turns.

    They are the processor's: while others use it, the clock goes on.
    """
    found = [[] for _ in functions]
    for function in functions:
        function()  # compiles
    for _ in range(ROUNDS):
        for function, seconds in zip(functions, found):
            began, calls = time.thread_time(), 0
            while calls == 0 or time.thread_time() - began < SECONDS:
                function()
                calls += 1
            seconds.append((time.thread_time() - began) / calls)
    return [min(seconds) for seconds in found]


def compute_rates(sizes, dtype):
    """Return the rates of cost_model.Rates that are not the network's, on this machine."""
    plan, rng = plan_of(sizes), np.random.default_rng(1)
    X = (rng.random((SAMPLES, sizes[0])) * (rng.random((SAMPLES, sizes[0])) < INK)).astype(dtype)
    X[:, : sizes[0] // 4] = X[:, sizes[0] - sizes[0] // 4 :] = 0
    samples = Samples(X, np.zeros((SAMPLES, sizes[-1]), dtype))
    params, order = rng.standard_normal(plan.n_params).astype(dtype) / 30, np.arange(SAMPLES)
    weights = plan.layout(np.dtype(dtype), LARGE).pack(layer_views(params, plan))

    def gradient_of(m, chunks):
        """Return a function that computes the gradient of the next m samples."""
        node, starts = (0, chunks), itertools.cycle(range(0, SAMPLES, m))
        how = weights, samples, order, [node], m, chunks, 1, NO_RULES
        sum_node = ChunkGradients(plan, *how).sum_node
        return lambda: sum_node(node, order, start := next(starts), start + m)

    gradient = np.zeros_like(weights)
    step = SliceStep(weights.copy(), [], None, NO_RULES)
    cases = [gradient_of(*case) for case in ((SMALL, 1), (LARGE, 1), (LARGE, CHUNKS))]
    small, large, summed, per_step = fastest([*cases, lambda: step.take(gradient, 1, 0.1, 1)])
    per_sample, n = (large - small) / (LARGE - SMALL), plan.n_params
    per_pass, per_sum = max(0.0, small - SMALL * per_sample), (summed - large) / (CHUNKS - 1)
    return per_sample / plan.flops, per_pass / n, max(0.0, per_sum) / n, per_step / n


def network_rates(ranks):
    """Return (latency in seconds, bandwidth in bytes per second) between the ranks 0 and 1.

    All ranks call it. Both ranks send at the same time, as in an exchange.
    """
    sent, received = np.zeros(MESSAGE, np.uint8), np.empty(MESSAGE, np.uint8)

    def exchange(count):
        other, comm = 1 - ranks.rank, ranks.comm
        ranks.wait([comm.Irecv(received[:count], other), comm.Isend(sent[:count], other)])

    found = []
    for count, calls in ((1, 200), (MESSAGE, 10)):
        seconds = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            if ranks.rank < 2:
                for _ in range(calls):
                    exchange(count)
            seconds.append((time.perf_counter() - began) / calls)
        found.append(ranks.from_root(lambda seconds=seconds: min(seconds)))
    latency, large = found
    return latency, MESSAGE / max(large - latency, 1e-9)

"""The rates of the cost model, measured: the kernels on one thread, and messages of two ranks."""

import time

import numpy as np

from fastbp.data.parameters import layer_views
from fastbp.distributed.chunks import ChunkGradients
from fastbp.distributed.slices import SliceStep
from fastbp.training.plans import plan_of
from fastbp.training.rules import NO_RULES
from fastbp.training.samples import Samples

ROUNDS = 9  # of which the fastest counts: others on the machine only make it slower
SAMPLES, INK = 1024, 0.38  # as in MNIST a fifth of the pixels are not 0, nearly all in the middle
SMALL, LARGE = 8, 128  # samples in a chunk
SECONDS = 0.02  # of a round, at least
MESSAGE = 2**22  # bytes


def fastest(function):
    """Return the least seconds of a call, after one that compiles."""
    function()
    began = time.perf_counter()
    function()
    calls = max(1, int(SECONDS / max(time.perf_counter() - began, 1e-9)))
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(calls):
            function()
        found.append((time.perf_counter() - began) / calls)
    return min(found)


def compute_rates(sizes, dtype):
    """Return (per_flop, per_chunk_parameter, per_step_parameter) on this machine, in seconds."""
    plan, rng = plan_of(sizes), np.random.default_rng(1)
    X = (rng.random((SAMPLES, sizes[0])) * (rng.random((SAMPLES, sizes[0])) < INK)).astype(dtype)
    X[:, : sizes[0] // 4] = X[:, sizes[0] - sizes[0] // 4 :] = 0
    Y = np.zeros((SAMPLES, sizes[-1]), dtype)
    params, order = rng.standard_normal(plan.n_params).astype(dtype) / 30, np.arange(SAMPLES)
    packed_layout, node = plan.layout(np.dtype(dtype), LARGE), (0, 1)
    weights = packed_layout.pack(layer_views(params, plan))
    samples = Samples(X, Y)
    chunks = ChunkGradients(plan, packed_layout, weights, samples, order, [node], 1, 1, NO_RULES)
    small, large = (
        fastest(lambda m=m: [chunks.sum_node(node, order, i, i + m) for i in range(0, LARGE, m)])
        for m in (SMALL, LARGE)
    )
    per_chunk = max(0.0, small - large) / (LARGE // SMALL - 1)
    per_sample = (large - per_chunk) / LARGE
    step = SliceStep(weights, [], None, NO_RULES)
    gradient = np.zeros_like(weights)
    per_step = fastest(lambda: step.take(gradient, 1, 0.1, 1))
    n = plan.n_params
    return per_sample / plan.flops, per_chunk / n, per_step / n


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

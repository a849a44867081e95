"""Chapter 2's claim: backprop costs about two forward passes, finite differences a million.

For the same samples, on one thread.
Finite differences are timed for some of the weights, and scaled: two forward passes for each.
"""

import functools
import statistics

import numpy as np

from bench import peaks
from fastbp.training import engine

NETS = (784, 30, 10), (784, 1000, 200, 10)
SAMPLES, WEIGHTS = 50, 40


def measured(rounds):
    """Return, for each net, seconds of a forward pass, of backprop and of all the differences."""
    return [_of(sizes, rounds) for sizes in NETS]


def _of(sizes, rounds):
    rng = np.random.default_rng(0)
    plan = engine.plan_of(sizes)
    params = rng.standard_normal(plan.n_params) / 10
    X, Y = rng.random((SAMPLES, sizes[0])), rng.random((SAMPLES, sizes[-1]))
    which = np.arange(0, plan.n_params, -(-plan.n_params // WEIGHTS))
    calls = {
        "forward": (engine.feedforward, params, plan, X, 1),
        "backprop": (engine.gradient, params, plan, X, Y, 1),
        "differences": (engine.quotients, params, plan, X, Y, which, 1e-5),
    }
    calls = {name: functools.partial(peaks.timed, *call) for name, call in calls.items()}
    peaks.in_turns(calls, 1)  # compiles
    seconds = peaks.in_turns(calls, 3 * rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    medians["differences"] *= plan.n_params / len(which)
    return {
        "sizes": list(sizes),
        "weights": plan.n_params,
        "samples": SAMPLES,
        "seconds": medians,
        "backprop_in_passes": medians["backprop"] / medians["forward"],
        "differences_in_passes": medians["differences"] / medians["forward"],
    }

"""Chapter 2's claim: backprop costs about two forward passes, finite differences a million.

For the same samples, on one thread. Finite differences are timed for some of the weights, and
scaled: two forward passes for each.
"""

import functools
import statistics

import numpy as np

from bench import tables, timing
from fastbp.training.compute import engine
from fastbp.training.compute.plans import plan_of

TITLE = "Chapter 2's claim: the gradient in forward passes over the same samples"
NETS = (784, 30, 10), (784, 1000, 200, 10)
SAMPLES, WEIGHTS = 50, 40
HEADER = "net", "weights and biases", "backprop", "finite differences"


def measure(settings):
    """Return the table."""
    return tables.table(HEADER, [_row(sizes, 3 if settings.quick else 15) for sizes in NETS])


def _row(sizes, rounds):
    rng, plan = np.random.default_rng(0), plan_of(sizes)
    params = rng.standard_normal(plan.n_params) / 10
    X, Y = rng.random((SAMPLES, sizes[0])), rng.random((SAMPLES, sizes[-1]))
    which = np.arange(0, plan.n_params, -(-plan.n_params // WEIGHTS))
    calls = {
        "forward": functools.partial(engine.feedforward, params, plan, X, 1),
        "backprop": functools.partial(engine.gradient, params, plan, X, Y, 1),
        "differences": functools.partial(engine.quotients, params, plan, X, Y, which, 1e-5),
    }
    # Compile, and see that both find the same gradient.
    results = {name: call() for name, call in calls.items()}
    np.testing.assert_allclose(results["differences"], results["backprop"][which], 1e-4, 1e-6)
    seconds = timing.seconds_interleaved(calls, rounds)
    forward, backprop, differences = (statistics.median(seconds[name]) for name in calls)
    return (
        list(sizes),
        f"{plan.n_params:,}",
        f"{backprop / forward:.1f} passes",
        f"{differences / forward * plan.n_params / len(which):,.0f} passes",
    )

"""Seconds of training until 95 % of the test set are right, with chapter 1's network.

Every epoch is evaluated, and only training counts. fastbp's seconds are those of one SGD call of
as many epochs as were needed.
"""

import dataclasses
import math
import statistics
import time

from bench import peers
from bench.work import Work, accuracy

GOAL = 0.95
MOST_EPOCHS = 20
WORK = dict(sizes=(784, 30, 10), m=10, eta=3.0)


def _run(peer, n, test):
    """Return (epochs, seconds) to the goal; epochs is None where MOST_EPOCHS are too few."""
    seconds = 0.0
    for epoch, order in enumerate(peer.work.orders(n, MOST_EPOCHS), 1):
        began = time.perf_counter()
        peer.train([order])  # fastbp draws its own order, on from where the last call left
        seconds += time.perf_counter() - began
        if accuracy(*peer.parameters(), test) >= GOAL:
            return epoch, seconds
    return None, seconds


def _fastbp(work, n, test):
    peer = peers.Fastbp(work, 1)
    epochs, seconds = _run(peer, n, test)
    if epochs:
        peer.reset()
        orders = work.orders(n, epochs)
        began = time.perf_counter()
        peer.train(orders)
        seconds = time.perf_counter() - began
    return epochs, seconds


def _median(done):
    """Return the median of the seconds, or None where most seeds do not reach the goal."""
    median = statistics.median(seconds if epochs else math.inf for epochs, seconds in done)
    return median if math.isfinite(median) else None


def measured(folder, n, test, seeds, oracle_too=True, say=print):
    """Return, for the oracle and fastbp in both dtypes, epochs and seconds of every seed."""
    runs = {"oracle": [], "fastbp, float64": [], "fastbp, float32": []}
    for seed in seeds:
        work = Work(dtype="float64", folder=folder, seed=seed, **WORK)
        say(f"  {GOAL:.0%}, seed {seed} ...")
        for dtype in ("float64", "float32"):
            own = dataclasses.replace(work, dtype=dtype)
            runs[f"fastbp, {dtype}"].append(_fastbp(own, n, test))
        if oracle_too:
            runs["oracle"].append(_run(peers.BookOracle(work, 1), n, test))
    return {
        "goal": GOAL,
        "seeds": list(seeds),
        **WORK,
        "runs": [
            {
                "name": name,
                "epochs": [epochs for epochs, _ in done],
                "seconds": [seconds for _, seconds in done],
                "median_seconds": _median(done),
                "reached": sum(epochs is not None for epochs, _ in done),
            }
            for name, done in runs.items()
            if done
        ],
    }

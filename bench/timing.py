"""Timing: calls that are compared run in turns, in one run; medians, and medians of paired ratios.

A machine that slows down for a while then slows down both, and each ratio is of neighbours in time.
"""

import statistics
import time


def seconds_of(function, *arguments):
    """Return the seconds of a call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def interleaved(calls, rounds):
    """Return the results of calls, {name: [one per round]}; every second round goes backwards."""
    results = {name: [] for name in calls}
    for i in range(rounds):
        for name in reversed(calls) if i % 2 else calls:
            results[name].append(calls[name]())
    return results


def seconds_interleaved(calls, rounds):
    """Return the seconds of calls that run in turns, {name: [one per round]}."""
    return interleaved(
        {name: lambda call=call: seconds_of(call) for name, call in calls.items()}, rounds
    )


def paired_ratio(numerators, denominators):
    """Return (lower quartile, median, upper quartile) of the ratios of each round."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    return statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3


def seconds_per_call(function, budget=0.15, batches=5):
    """Return the median seconds of a short call.

    It is called in batches of 2 ms, so many at least, for `budget` seconds.
    """
    function()
    count = max(1, int(2e-3 / max(seconds_of(function), 1e-7)))
    samples, start = [], time.perf_counter()
    while len(samples) < batches or time.perf_counter() - start < budget:
        samples.append(seconds_of(_repeat, function, count) / count)
    return statistics.median(samples)


def _repeat(function, count):
    for _ in range(count):
        function()

"""fastbp's threads: what the second one brings, and whether the automatic choice is right."""

import functools
import statistics

from bench import peaks, peers, validation
from bench.contest import Workers
from bench.work import Work

SCALING = (
    ((784, 100, 10), 100, 3.0),
    ((784, 800, 10), 100, 0.5),
    ((784, 1024, 1024, 10), 128, 0.5),
)
SCALING_IMAGES = 10_000
CHOICES = ((784, 30, 10), (784, 100, 10))
BATCHES = (1, 2, 5, 10, 32, 100, 512)
CHOICE_IMAGES = 20_480
DTYPE = "float32"


def _described(sizes, m, n, threads):
    """Return what a result of either table says of its work."""
    return {
        "sizes": list(sizes),
        "m": m,
        "dtype": DTYPE,
        "images": n // m * m,
        "threads": threads,
    }


def scaling(folder, n, threads, rounds, workers):
    """Return fastbp's seconds on one thread and on all, and how registers alone scale meanwhile.

    The register-only loop of FMAs shares nothing but the machine: no program scales better.
    """
    results = []
    n = min(n, SCALING_IMAGES)
    for sizes, m, eta in SCALING:
        work = Work(sizes, m, eta, DTYPE, folder)
        calls = {}
        for count in (1, threads):
            worker = workers.get(peers.Fastbp, count, {})
            validation.prepare(worker, "scaling", peers.Fastbp, work, count, {}, n // m * m)
            calls["fastbp", count] = functools.partial(worker, "repeat", "scaling", n // m * m, 1)
            calls["peak", count] = functools.partial(peaks.fma_peak, DTYPE, count, 3)
        measured = peaks.in_turns(calls, rounds)
        workers.forget()
        one, all_ = ([wall for wall, _ in measured["fastbp", count]] for count in (1, threads))
        peak_one, peak_all = measured["peak", 1], measured["peak", threads]
        results.append(
            {
                **_described(sizes, m, n, threads),
                "seconds_one": one,
                "seconds_all": all_,
                "speed_up": statistics.median(one) / statistics.median(all_),
                "fma_speed_up": statistics.median(peak_all) / statistics.median(peak_one),
                "fma_gflops_one": peak_one,
                "fma_gflops_all": peak_all,
            }
        )
    return results


def choices(folder, n, threads, rounds, workers):
    """Return the automatic choice of threads against forced serial and forced parallel."""
    results = []
    n = min(n, CHOICE_IMAGES)
    modes = {"automatic": (0, "auto"), "serial": (1, "auto"), "parallel": (threads, "always")}
    worker = workers.get(peers.Fastbp, threads, {})
    for sizes in CHOICES:
        for m in BATCHES:
            work = Work(sizes, m, 0.5, DTYPE, folder)
            images, calls = n // m * m, {}
            for mode, (count, parallel) in modes.items():
                how = {"parallel": parallel}
                validation.prepare(worker, mode, peers.Fastbp, work, count, how, images)
                calls[mode] = functools.partial(worker, "repeat", mode, images, 1)
            measured = peaks.in_turns(calls, rounds)
            workers.forget()
            seconds = {mode: [wall for wall, _ in pairs] for mode, pairs in measured.items()}
            medians = {mode: statistics.median(s) for mode, s in seconds.items()}
            better = min(value for mode, value in medians.items() if mode != "automatic")
            results.append(
                {
                    **_described(sizes, m, n, threads),
                    "seconds": seconds,
                    "medians": medians,
                    "automatic_over_better": medians["automatic"] / better,
                }
            )
    return results


def measured(folder, n, threads, rounds, say=print):
    """Return both, or nothing where there is one core only."""
    if threads < 2:
        say("one core only: nothing to measure about threads")
        return {"scaling": [], "choices": []}
    with Workers() as workers:
        return {
            "scaling": scaling(folder, n, threads, rounds, workers),
            "choices": choices(folder, n, threads, rounds + 2, workers),
        }

"""fastbp's threads: what the second one brings, and whether the automatic choice is right."""

import statistics

from bench import peaks, peers
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
        turns = {count: workers.get(peers.Fastbp, count, {}) for count in (1, threads)}
        for count, worker in turns.items():
            worker("prepare", "scaling", "fastbp", work, count, {})
        seconds, peak = ({count: [] for count in turns} for _ in range(2))
        for _ in range(rounds):
            for count, worker in turns.items():
                seconds[count].append(worker("repeat", "scaling", n // m * m, 1)[0])
                peak[count].append(peaks.fma_peak(DTYPE, count, repetitions=3))
        workers.forget()
        results.append(
            {
                **_described(sizes, m, n, threads),
                "seconds_one": seconds[1],
                "seconds_all": seconds[threads],
                "speed_up": statistics.median(seconds[1]) / statistics.median(seconds[threads]),
                "fma_speed_up": statistics.median(peak[threads]) / statistics.median(peak[1]),
                "fma_gflops_one": peak[1],
                "fma_gflops_all": peak[threads],
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
            for mode, (count, parallel) in modes.items():
                worker("prepare", mode, "fastbp", work, count, {"parallel": parallel})
            seconds = {mode: [] for mode in modes}
            for _ in range(rounds):
                for mode in modes:
                    seconds[mode].append(worker("repeat", mode, n // m * m, 1)[0])
            workers.forget()
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

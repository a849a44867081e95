"""fastbp's threads: what the second one gains, and whether the automatic choice is right."""

import functools
import statistics

from bench import peaks, processes, tables, timing, validation
from bench.peers import Fastbp
from bench.processes import Workers
from bench.workload import Workload, progress

TITLE = "Threads"
SCALING = (
    ((784, 100, 10), 100, 3.0),
    ((784, 800, 10), 100, 0.5),
    ((784, 1024, 1024, 10), 128, 0.5),
)
SCALING_IMAGES, CHOICE_IMAGES = 10_000, 20_480
CHOICES = ((784, 30, 10), (784, 100, 10))
BATCHES = (1, 2, 5, 10, 32, 100, 512)
DTYPE = "float32"


def measure(settings):
    """Return both tables, or a line where there is one core only."""
    if settings.cores < 2:
        return "One core only: nothing to measure about threads."
    rounds = 1 if settings.quick else 5
    scaling_header = "net", "one thread, s", f"{settings.cores} threads, s", "speed-up", "of FMAs"
    choice_header = "net", "automatic, s", "serial, s", "parallel, s", "automatic / better"
    with Workers() as workers:
        scaling = [_scaling(*work, settings, rounds, workers) for work in SCALING]
        choices = [_choice(s, m, settings, rounds, workers) for s in CHOICES for m in BATCHES]
    return (
        f"fastbp on all threads against one, {SCALING_IMAGES:,} images; in turns with it, a loop "
        f"of FMAs in registers. Medians, ratios with their quartiles.\n\n"
        f"{tables.table(scaling_header, scaling)}\n"
        f"The automatic choice of threads against one and all, {CHOICE_IMAGES:,} images:\n\n"
        f"{tables.table(choice_header, choices)}"
    )


def _epochs(sizes, m, eta, n, ways, settings, workers):
    """Return a call for each of {name: (threads, arguments)}, validated, that times an epoch."""
    workload, n = Workload(sizes, m, eta, DTYPE, settings.folder), n // m * m
    progress(f"  {tables.network(sizes, m, DTYPE)} ...")
    calls = {}
    for name, (threads, arguments) in ways.items():
        worker = workers.get(Fastbp, max(threads, 1), arguments)
        validation.prepare(worker, name, Fastbp, workload, threads, arguments, n)
        calls[name] = functools.partial(worker, processes.epoch_seconds, name, n, 1)
    return calls


def _scaling(sizes, m, eta, settings, rounds, workers):
    n, cores = min(settings.n_images, SCALING_IMAGES), settings.cores
    ways = {"one": (1, {}), "all": (cores, {})}
    calls = _epochs(sizes, m, eta, n, ways, settings, workers)
    calls["peak of one"] = functools.partial(peaks.measure_fma_peak, DTYPE, 1, 3)
    calls["peak of all"] = functools.partial(peaks.measure_fma_peak, DTYPE, cores, 3)
    measured = timing.interleaved(calls, rounds)
    workers.release()
    return (
        tables.network(sizes, m, DTYPE),
        *(f"{statistics.median(measured[name]):.3f}" for name in ways),
        tables.quartiles(timing.paired_ratio(measured["one"], measured["all"]), 2),
        tables.quartiles(timing.paired_ratio(measured["peak of all"], measured["peak of one"]), 2),
    )


def _choice(sizes, m, settings, rounds, workers):
    n, cores = min(settings.n_images, CHOICE_IMAGES), settings.cores
    always = dict(parallel="always")
    ways = {"automatic": (0, {}), "serial": (1, {}), "parallel": (cores, always)}
    calls = _epochs(sizes, m, 0.5, n, ways, settings, workers)
    measured = timing.interleaved(calls, rounds + 2)
    workers.release()
    better = min(("serial", "parallel"), key=lambda way: statistics.median(measured[way]))
    return (
        tables.network(sizes, m, DTYPE),
        *(f"{statistics.median(measured[name]):.3f}" for name in ways),
        tables.quartiles(timing.paired_ratio(measured["automatic"], measured[better]), 2),
    )

"""Seconds of one epoch, for all peers; the README's table.

Each case is a network, a mini-batch and a dtype. Every variant of every peer is validated
(validation.py) and tried on a few images; the fastest of each peer is timed, in turns with the
others, on the whole training set.
"""

import dataclasses
import json
import statistics
import tempfile
import time

from bench import peaks, peers, pictures, processes, tables, validation
from bench.processes import Worker, WorkerError, Workers
from bench.workload import RESULTS, ROOT, Workload, accuracy, progress
from fastbp.training.compute.plans import plan_of

TITLE = "One epoch"
SMALL = tuple(peers.PEERS)
WIDE = SMALL[1:]  # without the oracle, which would take minutes
ROUNDS = 5
TURN_SECONDS = 1.0  # the turn of a peer: up to three repetitions, until so much time is spent
SCALE = 50_000  # images: what seconds are scaled to, where an epoch has fewer


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, its dtypes and peers; images: at most; seconds: for the rounds of each dtype.

    parallel: try one thread and all, or one only; trial: mini-batches to try a variant with.
    """

    sizes: tuple
    m: int
    eta: float
    peers: tuple = WIDE
    dtypes: tuple = ("float64", "float32")
    parallel: bool = True
    trial: int = 20
    seconds: float = 100
    images: int = SCALE


CASES = (
    Case((784, 30, 10), 10, 3.0, SMALL, parallel=False, trial=300, seconds=60),
    Case((784, 100, 10), 10, 3.0, SMALL, parallel=False, trial=200, seconds=70),
    Case((784, 800, 10), 100, 0.5, dtypes=("float32",), trial=40, seconds=80),
    Case((784, 1024, 1024, 10), 128, 0.5, trial=10, seconds=150, images=12_800),
)


@dataclasses.dataclass
class Candidate:
    """A variant of a peer that is valid, in its worker."""

    peer: type
    workload: Workload
    variant: str
    arguments: dict
    threads: int
    worker: Worker

    @property
    def key(self):
        return f"{self.peer.name}, {self.variant}, {self.threads}"

    def epoch_seconds(self, n):
        return self.worker(processes.epoch_seconds, self.key, n, self.peer.epochs)

    def trial_seconds(self, n):
        self.epoch_seconds(n)  # JAX compiles anew for this number of images
        return min(self.epoch_seconds(n) for _ in range(3))

    def first_calls(self, n):
        """Return the seconds of the first call of a new process.

        Where compiled code is kept in files: with an empty folder, and with what the call before
        has left there.
        """
        seconds = []
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            environment = self.peer.environment(self.threads, self.arguments)
            environment |= dict.fromkeys(self.peer.caches, folder)
            for _ in range(2 if self.peer.caches else 1):
                worker = Worker(environment)
                arguments = self.peer, self.workload, self.threads, self.arguments
                worker(processes.prepare, self.key, *arguments)
                per_epoch = worker(processes.epoch_seconds, self.key, n, self.peer.epochs)
                worker.close()
                seconds.append(per_epoch * self.peer.epochs)
        return seconds


def compare(case, dtype, settings, workers):
    """Return the figures of a case in one dtype, a dictionary for pictures and tables."""
    n, fastest, failed, results = min(settings.n_images, case.images) // case.m * case.m, [], [], []
    for peer in (peers.PEERS[name] for name in case.peers if name in settings.peers):
        if peer.name != "oracle" and dtype not in peer.dtypes:
            continue
        valid = _validated(peer, case, dtype, n, settings, workers, failed)
        if len(valid) > 1:
            valid.sort(key=lambda candidate: candidate.trial_seconds(min(n, case.trial * case.m)))
        for candidate in valid[1:]:
            candidate.worker(processes.release, candidate.key)
        if valid:
            fastest.append(best := valid[0])
            first_calls = best.first_calls(n)
            best.worker(processes.epoch_seconds, best.key, n, 1)
            trained = best.worker(processes.parameters, best.key)
            results.append(
                dict(
                    name=peer.name, variant=best.variant, threads=best.threads,
                    first_calls=first_calls, accuracy=accuracy(*trained, settings.test), seconds=[],
                )
            )  # fmt: skip
    _time(fastest, results, n, 1 if settings.quick else ROUNDS, case.seconds)
    workers.release()
    for result in results:
        result["median"] = statistics.median(result["seconds"])
    results.sort(key=lambda result: -result["median"])
    return dict(
        sizes=list(case.sizes), m=case.m, eta=case.eta, dtype=dtype, images=n, peers=results,
        failed=failed,
    )  # fmt: skip


def _validated(peer, case, dtype, n, settings, workers, failed):
    """Return the variants of a peer whose weights are right; add the others to `failed`."""
    dtype = dtype if dtype in peer.dtypes else "float64"
    workload, valid = Workload(case.sizes, case.m, case.eta, dtype, settings.folder), []
    all_cores = case.parallel or peer.threads == "best"
    counts = sorted({1, settings.cores}) if all_cores else [1]
    for variant, arguments, threads in peer.variants_for(dtype, counts, settings.quick):
        worker = workers.get(peer, threads, arguments)
        candidate = Candidate(peer, workload, variant, arguments, threads, worker)
        try:
            validation.prepare(worker, candidate.key, peer, workload, threads, arguments, n)
            valid.append(candidate)
        except (WorkerError, ValueError) as error:
            if peer.name == "fastbp":  # without it there is nothing to compare
                raise
            failed.append(f"{candidate.key} threads: not timed: {error}")
            progress(failed[-1])
            if worker.alive:
                worker(processes.release, candidate.key)
    return valid


def _time(candidates, results, n, rounds, most_seconds):
    """Let candidates take turns, for as many rounds as fit into so many seconds, or one."""
    start = time.perf_counter()
    for done in range(1, rounds + 1):
        for candidate, result in zip(candidates, results):
            turn = time.perf_counter()
            for _ in range(3):
                result["seconds"].append(candidate.epoch_seconds(n))
                if time.perf_counter() - turn > TURN_SECONDS:
                    break
        spent = time.perf_counter() - start
        if spent + spent / done > most_seconds:
            break


def measure(settings):
    """Return the tables of all cases; write the picture, the raw seconds and the README's table."""
    figures = []
    with Workers() as workers:
        for case in CASES:
            for dtype in case.dtypes[-1:] if settings.quick and case.parallel else case.dtypes:
                progress(f"  {tables.network(case.sizes, case.m, dtype)} ...")
                figures.append(compare(case, dtype, settings, workers))
    (settings.results / "bench.json").write_text(json.dumps(figures, indent=1) + "\n")
    pictures.speed_up(figures, settings.results / "speedup.png", settings.data)
    if settings.results == RESULTS:
        tables.replace_section(ROOT / "README.md", "bench", summary(figures, settings))
    return "\n".join([notes(settings), *map(_table, figures), "![speed-up](speedup.png)\n"])


# ------------------------------------------------ tables


def notes(settings):
    return (
        f"One epoch of {settings.n_images:,} images of {settings.data}; medians of interleaved "
        "repetitions; compiling and evaluation not included; the same initial weights, order and "
        "arithmetic for all. fastbp is timed as SGD of 3 epochs / 3, shuffling and preparing "
        "included; the others get their order ready-made. The oracle is float64 in every table. "
        f"{validation.DESCRIPTION} First call: all seconds of the first call in a new process "
        "(fastbp's is 3 epochs); where compiled code is kept in files, with an empty folder / with "
        "what the call before has left there. % of FMA peak: dense-equivalent GFLOP/s, zeros of "
        "the images counted, though fastbp leaves them out, against multiply-adds in registers, "
        "measured in the same run; it may exceed 100.\n"
    )


def find(figures, prefix):
    """Return the fastest peer of a case whose name begins so, or None."""
    found = [peer for peer in figures["peers"] if peer["name"].startswith(prefix)]
    return min(found, key=lambda peer: peer["median"], default=None)


def scaled(figures, peer, seconds=None):
    """Return seconds, the median by default, per 50,000 images."""
    return (seconds or peer["median"]) * SCALE / figures["images"]


def _speed_up(one, other):
    return f"{one['median'] / other['median']:.1f}x" if one and other else "-"


def _percent_of_peak(figures, peer):
    """Return dense-equivalent GFLOP/s in percent of FMAs in registers, on as many threads."""
    dtype = "float64" if peer["name"] == "oracle" else figures["dtype"]
    flops = plan_of(tuple(figures["sizes"])).flops * figures["images"] / peer["median"]
    return f"{flops / 1e7 / peaks.fma_peak(dtype, peer['threads']):.0f} %"


def _table(figures):
    header = (
        "peer", "threads", "seconds per 50,000 (range)", "images/s", "% of FMA peak",
        "accuracy after an epoch", "speed-up over the oracle", "fastbp is faster by",
        "first call, s",
    )  # fmt: skip
    oracle, fastbp = find(figures, "oracle"), find(figures, "fastbp")
    rows = [
        (
            peer["name"] + (f" ({peer['variant']})" if peer["variant"] else ""),
            peer["threads"],
            "{:.3f} ({:.3f}-{:.3f})".format(
                *(scaled(figures, peer, f(peer["seconds"])) for f in (statistics.median, min, max))
            ),
            f"{figures['images'] / peer['median']:,.0f}",
            _percent_of_peak(figures, peer),
            f"{peer['accuracy']:.1%}",
            _speed_up(oracle, peer),
            _speed_up(peer, fastbp),
            " / ".join(f"{seconds:.2f}" for seconds in peer["first_calls"]),
        )
        for peer in figures["peers"]
    ]
    few = f"; {figures['images']:,} images, scaled" if figures["images"] < 0.99 * SCALE else ""
    title = f"{tables.network(figures['sizes'], figures['m'], figures['dtype'])}{few}"
    failed = "".join(f"\n{line}\n" for line in figures["failed"])
    return f"### {title}, eta {figures['eta']}\n\n{tables.table(header, rows)}{failed}"


def summary(cases, settings):
    """Return the README's table: a line for each case."""
    rows = []
    for figures in cases:
        oracle, fastbp = find(figures, "oracle"), find(figures, "fastbp")
        others = [peer for peer in figures["peers"] if peer not in (oracle, fastbp)]
        best = min(others, key=lambda peer: peer["median"], default=None)
        rows.append(
            (
                tables.network(figures["sizes"], figures["m"]),
                figures["dtype"],
                f"{scaled(figures, oracle):.2f}" if oracle else "-",
                f"{best['name']}, {scaled(figures, best):.2f}" if best else "-",
                f"**{scaled(figures, fastbp):.3f}**",
                _percent_of_peak(figures, fastbp),
                _speed_up(oracle, fastbp),
                _speed_up(find(figures, "PyTorch"), fastbp),
                _speed_up(find(figures, "JAX"), fastbp),
            )
        )
    header = (
        "net", "dtype", "the book's algorithm, s", "best other, s", "fastbp, s",
        "of FMA peak", "over the book's", "over PyTorch", "over JAX",
    )  # fmt: skip
    return (
        f"{tables.table(header, rows)}\nSeconds per 50,000 images of {settings.data}; medians, "
        "compiling and evaluation not included; the fastest number of threads. The book's "
        "algorithm: tests/reference.py, our NumPy version of it, one sample at a time, in float64 "
        "(-: too slow to measure); PyTorch is its fastest "
        "variant, that by hand included; JAX a whole epoch in one compiled scan. Of FMA peak: "
        "dense-equivalent GFLOP/s, zeros of the images counted, though left out, against "
        f"multiply-adds in registers. {tables.source(settings.command)}"
    )

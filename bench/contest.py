"""The rows of the bench: which work, which contestants; and the loop that lets them take turns.

One row is one network, mini-batch and dtype. Every form of every contestant is compiled, checked
against float64 NumPy after two mini-batches, and tried on a few images; the best form of each goes
into the contest: interleaved repetitions over the whole training set, of which medians count.
"""

import dataclasses
import itertools
import statistics
import time

import numpy as np

from bench import peers
from bench.work import Work, accuracy
from bench.worker import Worker, WorkerError

OWN = ("matrix NumPy", "fastbp")  # need no package of their own
OTHERS = ("PyTorch autograd", "PyTorch by hand", "JAX scan", "scikit-learn", "plain C")
SMALL = ("oracle", *OWN, *OTHERS)
WIDE = ("matrix NumPy", "fastbp", *OTHERS)
TURN_SECONDS = 1.0  # a contestant's turn: up to three repetitions, until so much time is spent
HEAT_REPETITIONS = 3


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the plan: a network, its dtypes, its contestants and how long it may take."""

    sizes: tuple
    m: int
    eta: float
    names: tuple = WIDE
    dtypes: tuple = ("float64", "float32")
    parallel: bool = True  # try one thread and all, or one only
    heat: int = 20  # mini-batches in a heat
    seconds: float = 100  # for the rounds of each dtype
    images: int = 50_000  # at most: results are scaled, and say so


ROWS = (
    Row((784, 30, 10), 10, 3.0, SMALL, parallel=False, heat=300, seconds=60),
    Row((784, 100, 10), 10, 3.0, SMALL, parallel=False, heat=200, seconds=70),
    Row((784, 800, 10), 100, 0.5, WIDE, dtypes=("float32",), heat=40, seconds=80),
    Row((784, 1024, 1024, 10), 128, 0.5, WIDE, heat=10, seconds=150, images=12_800),
)


class Workers:
    """The worker processes, by what they must start with."""

    def __init__(self, environment=()):
        self.environment = dict(environment)
        self.held = {}

    def get(self, peer, threads, arguments):
        """Return the worker of a peer family for this many threads, started when first asked."""
        environment = self.environment | peer.environment(threads, arguments)
        key = peer.needs or peer.name, threads, tuple(sorted(environment.items()))
        if key not in self.held:
            self.held[key] = Worker(environment)
        return self.held[key]

    def drop(self, worker):
        """Take out one that has died."""
        self.held = {key: value for key, value in self.held.items() if value is not worker}

    def idle_seconds(self):
        return sum(worker("idle_seconds") for worker in self.held.values())

    def forget(self):
        for worker in self.held.values():
            worker("forget")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for worker in self.held.values():
            worker.close()


@dataclasses.dataclass
class Entry:
    """One form of one contestant in a row, and all that is measured of it."""

    peer: type
    variant: str
    arguments: dict
    threads: int
    worker: Worker
    compile_seconds: float = 0.0
    heat_seconds: float = 0.0
    accuracy: float = 0.0
    seconds: list = dataclasses.field(default_factory=list)
    cpu_seconds: list = dataclasses.field(default_factory=list)

    @property
    def key(self):
        return f"{self.peer.name}, {self.variant}, {self.threads}"

    def repeat(self, n):
        wall, cpu = self.worker("repeat", self.key, n, self.peer.epochs)
        self.seconds.append(wall)
        self.cpu_seconds.append(cpu)

    def median(self):
        return statistics.median(self.seconds)

    def described(self):
        return {
            "name": self.peer.name,
            "nearest": self.peer.nearest,
            "variant": self.variant,
            "threads": self.threads,
            "compile_seconds": self.compile_seconds,
            "accuracy": self.accuracy,
            "median": self.median(),
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        }


class Contest:
    """One row in one dtype. test: (X, labels); n: how many training images; say: prints."""

    def __init__(self, row, dtype, folder, n, test, workers, quick=False, say=print):
        self.row, self.test, self.workers, self.say = row, test, workers, say
        self.work = Work(row.sizes, row.m, row.eta, dtype, folder)
        self.n = min(n, row.images) // row.m * row.m
        self.quick, self.heats, self.entries = quick, [], []

    def run(self, names, thread_counts, rounds):
        """Enter the named contestants, let them take turns, and return what was measured."""
        for name in names:
            peer = peers.PEERS[name]
            if name == "oracle" or self.work.dtype in peer.dtypes:
                self.enter(peer, thread_counts)
        self.take_turns(rounds)
        self.workers.forget()
        return self.described()

    def enter(self, peer, thread_counts):
        """Prepare every form of one contestant, and enter the best."""
        counts = thread_counts if self.row.parallel or peer.threads == "best" else (1,)
        forms = list(peers.forms(peer, self.work.dtype, counts, self.quick))
        ready = [entry for form in forms if (entry := self._prepared(peer, *form))]
        if len(forms) > 1:
            n = min(self.n, self.row.heat * self.row.m)
            for entry in ready:
                seconds = [
                    entry.worker("repeat", entry.key, n, peer.epochs)[0]
                    for _ in range(1 + HEAT_REPETITIONS)
                ][1:]  # JAX compiles anew for this number of images
                entry.heat_seconds = min(seconds) * self.n / n
        ready.sort(key=lambda entry: entry.heat_seconds)
        for entry in ready:
            self.heats.append(
                {
                    "name": peer.name,
                    "variant": entry.variant,
                    "threads": entry.threads,
                    "compile_seconds": entry.compile_seconds,
                    "scaled_seconds": entry.heat_seconds,
                }
            )
        for entry in ready[1:]:
            entry.worker("forget", entry.key)
        if ready:
            best = ready[0]
            best.worker("repeat", best.key, self.n, 1)
            best.accuracy = accuracy(*best.worker("parameters", best.key), self.test)
            self.entries.append(best)

    def _prepared(self, peer, variant, arguments, threads):
        """Return an Entry that is compiled and right, or None, having said why not."""
        work = self.work
        if peer is peers.BookOracle:
            work = dataclasses.replace(work, dtype="float64")
        worker = self.workers.get(peer, threads, arguments)
        entry = Entry(peer, variant, arguments, threads, worker)
        try:
            entry.compile_seconds = worker(
                "prepare", entry.key, peer.name, work, threads, arguments
            )
            worker("repeat", entry.key, 2 * work.m, 1)
            trained = worker("parameters", entry.key)
        except WorkerError as error:
            if peer.name == "fastbp":  # without it there is nothing to compare
                raise
            self.say(f"  {peer.name} ({variant or 'one form'}, {threads} threads) fails: {error}")
            if not worker.alive():
                self.workers.drop(worker)
            return None
        if not peer.nearest:
            check(trained, work, peer.name)
        return entry

    def take_turns(self, rounds):
        """Interleave repetitions, for as many rounds as fit into the row's seconds, or one."""
        began = time.perf_counter()
        for done in range(1, rounds + 1):
            for entry in self.entries:
                turn = time.perf_counter()
                for _ in range(3):
                    entry.repeat(self.n)
                    if time.perf_counter() - turn > TURN_SECONDS:
                        break
            spent = time.perf_counter() - began
            if spent + spent / done > self.row.seconds:
                break

    def described(self):
        return {
            "sizes": list(self.row.sizes),
            "m": self.row.m,
            "eta": self.row.eta,
            "dtype": self.work.dtype,
            "images": self.n,
            "contestants": [entry.described() for entry in self.entries],
            "heats": self.heats,
            "idle_cpu_seconds": self.workers.idle_seconds(),
        }


def check(trained, work, name):
    """Raise ValueError if weights after two mini-batches are not those of float64 NumPy."""
    exact = dataclasses.replace(work, dtype="float64")
    yardstick = peers.MatrixNumPy(exact, 1)
    yardstick.train(exact.orders(2 * work.m, 1))
    rtol = 1e-8 if work.dtype == "float64" else 1e-3
    expected = itertools.chain(*yardstick.parameters())
    for ours, theirs in zip(itertools.chain(*trained), expected, strict=True):
        if not np.allclose(ours, theirs, rtol=rtol, atol=rtol / 10):
            raise ValueError(f"{name} does not train as the oracle does: nothing to time")

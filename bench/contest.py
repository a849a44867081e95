"""The rows of the bench: which work, which contestants; and the loop that lets them take turns.

One row is one network, mini-batch and dtype. Every form of every contestant is validated
(validation.py) and tried on a few images; the best form of each goes into the contest: interleaved
repetitions over the whole training set, of which medians count.
"""

import dataclasses
import statistics
import tempfile
import time

from bench import peers, validation
from bench.work import Work, accuracy
from bench.worker import Worker, WorkerError

OWN = ("matrix NumPy", "fastbp")  # need no package of their own
OTHERS = ("PyTorch autograd", "PyTorch by hand", "JAX scan", "scikit-learn", "plain C")
SMALL = ("oracle", *OWN, *OTHERS)
WIDE = ("matrix NumPy", "fastbp", *OTHERS)
TURN_SECONDS = 1.0  # a contestant's turn: up to three repetitions, until so much time is spent
TRIAL_REPETITIONS = 3


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the plan: a network, its dtypes, its contestants and how long it may take."""

    sizes: tuple
    m: int
    eta: float
    names: tuple = WIDE
    dtypes: tuple = ("float64", "float32")
    parallel: bool = True  # try one thread and all, or one only
    trial: int = 20  # mini-batches in the trial of a form
    seconds: float = 100  # for the rounds of each dtype
    images: int = 50_000  # at most: results are scaled, and say so


ROWS = (
    Row((784, 30, 10), 10, 3.0, SMALL, parallel=False, trial=300, seconds=60),
    Row((784, 100, 10), 10, 3.0, SMALL, parallel=False, trial=200, seconds=70),
    Row((784, 800, 10), 100, 0.5, WIDE, dtypes=("float32",), trial=40, seconds=80),
    Row((784, 1024, 1024, 10), 128, 0.5, WIDE, trial=10, seconds=150, images=12_800),
)


class Workers:
    """The worker processes, by what they must start with."""

    def __init__(self):
        self.held = {}

    def get(self, peer, threads, arguments):
        """Return the worker of a peer family for this many threads, started when first asked."""
        environment = peer.environment(threads, arguments)
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
    trial_seconds: float = 0.0
    accuracy: float = 0.0
    first_calls: list = dataclasses.field(default_factory=list)
    seconds: list = dataclasses.field(default_factory=list)
    cpu_seconds: list = dataclasses.field(default_factory=list)

    @property
    def key(self):
        return f"{self.peer.name}, {self.variant}, {self.threads}"

    def repeat(self, n):
        wall, cpu = self.worker("repeat", self.key, n, self.peer.epochs)
        self.seconds.append(wall)
        self.cpu_seconds.append(cpu)

    def measure_first_call(self, work, n):
        """Time the first call of a new process; where code is kept in files, with and without."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            environment = self.peer.environment(self.threads, self.arguments)
            environment |= dict.fromkeys(self.peer.caches, folder)
            for _ in range(2 if self.peer.caches else 1):
                worker = Worker(environment)
                worker("prepare", self.key, self.peer, work, self.threads, self.arguments)
                wall, _ = worker("repeat", self.key, n, self.peer.epochs)
                worker.close(60)  # it may still be compiling what a later call would use
                self.first_calls.append(wall * self.peer.epochs)

    def described(self):
        return {
            "name": self.peer.name,
            "variant": self.variant,
            "threads": self.threads,
            "first_calls": self.first_calls,
            "accuracy": self.accuracy,
            "median": statistics.median(self.seconds),
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        }


class Contest:
    """One row in one dtype. test: (X, labels); n: how many training images; say: prints."""

    def __init__(self, row, dtype, folder, n, test, workers, quick=False, say=print):
        self.row, self.test, self.workers, self.say = row, test, workers, say
        self.work = Work(row.sizes, row.m, row.eta, dtype, folder)
        self.n = min(n, row.images) // row.m * row.m
        self.quick, self.trials, self.entries, self.refused = quick, [], [], []

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
        """Validate and try every form of one contestant, and enter the best."""
        counts = thread_counts if self.row.parallel or peer.threads == "best" else (1,)
        forms = list(peers.forms(peer, self.work.dtype, counts, self.quick))
        ready = [entry for form in forms if (entry := self._validated(peer, *form))]
        if len(forms) > 1:
            self._try(ready)
        for entry in ready[1:]:
            entry.worker("forget", entry.key)
        if ready:
            best, work = ready[0], self._work_of(peer)
            best.measure_first_call(work, self.n)
            best.worker("repeat", best.key, self.n, 1)
            best.accuracy = accuracy(*best.worker("parameters", best.key), self.test)
            self.entries.append(best)

    def _work_of(self, peer):
        """Return the work, in a dtype that the peer has."""
        dtype = self.work.dtype if self.work.dtype in peer.dtypes else "float64"
        return dataclasses.replace(self.work, dtype=dtype)

    def _validated(self, peer, variant, arguments, threads):
        """Return an Entry whose weights are right, or None, having noted why not."""
        work, worker = self._work_of(peer), self.workers.get(peer, threads, arguments)
        entry = Entry(peer, variant, arguments, threads, worker)
        try:
            validation.prepare(worker, entry.key, peer, work, threads, arguments, self.n)
        except (WorkerError, ValueError) as error:
            self.refused.append(
                {"name": peer.name, "variant": variant, "threads": threads, "why": str(error)}
            )
            self.say(f"  {entry.key} threads: not timed: {error}")
            if peer.name == "fastbp":  # without it there is nothing to compare
                raise
            if worker.alive():
                worker("forget", entry.key)
            else:
                self.workers.drop(worker)
            return None
        return entry

    def _try(self, ready):
        """Time the forms of a contestant on a few images, and sort them, the fastest first."""
        n = min(self.n, self.row.trial * self.row.m)
        for entry in ready:
            seconds = [
                entry.worker("repeat", entry.key, n, entry.peer.epochs)[0]
                for _ in range(1 + TRIAL_REPETITIONS)
            ][1:]  # JAX compiles anew for this number of images
            entry.trial_seconds = min(seconds) * self.n / n
        ready.sort(key=lambda entry: entry.trial_seconds)
        self.trials += [
            {
                "name": entry.peer.name,
                "variant": entry.variant,
                "threads": entry.threads,
                "scaled_seconds": entry.trial_seconds,
            }
            for entry in ready
        ]

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
            "trials": self.trials,
            "refused": self.refused,
            "idle_cpu_seconds": self.workers.idle_seconds(),
        }

"""One epoch of fastbp against one of the oracle, interleaved in one run: ratios, not times.

fastbp is timed as SGD of 3 epochs on arrays, divided by 3, all of the call's own cost included;
compiling and evaluation are not. The oracle is the book's per-sample algorithm in float64, on the
book's lists.
"""

import contextlib
import datetime
import io
import os
import platform
import random
import statistics
import sys
import time
from pathlib import Path

import numba
import numpy as np

import fastbp
from fastbp import mnist_loader
from fastbp.network import Network

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from reference import Oracle  # noqa: E402  (the tests and the bench share one oracle)

ETA = 3.0
EPOCHS = 3


def data():
    """Return (training, validation, test, name): MNIST if it can be had, else synthetic digits."""
    try:
        return *mnist_loader.load_data(), "MNIST"
    except mnist_loader.DataNotFoundError:
        return *mnist_loader.synthetic(), "synthetic digits"


def seeded(cls, *arguments, **options):
    random.seed(1)
    np.random.seed(1)
    return cls(*arguments, **options)


def timed(function, *arguments):
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        function(*arguments)
    return time.perf_counter() - began


class Contest:
    """The oracle and fastbp on the same work, in turns."""

    def __init__(self, sizes, m, sets, threads=1):
        self.sizes, self.m, self.threads = sizes, m, threads
        self.training, _, self.test = sets
        self.pairs = mnist_loader.wrap(sets)[0]
        self.seconds = {"oracle": [], "float64": [], "float32": []}
        self.accuracy = {}

    def warm_up(self):
        """Compile and load: none of it is timed."""
        few = tuple(part[: 2 * self.m] for part in self.training)
        for dtype in (np.float64, np.float32):
            net = Network(self.sizes, dtype=dtype, threads=self.threads)
            timed(net.SGD, few, 1, self.m, ETA)

    def oracle_epoch(self):
        oracle = seeded(Oracle, self.sizes)
        pairs = list(self.pairs)
        self.seconds["oracle"].append(timed(oracle.train, pairs, 1, self.m, ETA))
        self._score("oracle", oracle)

    def epoch(self, dtype):
        net = seeded(Network, self.sizes, dtype=dtype, threads=self.threads)
        self.seconds[dtype].append(timed(net.SGD, self.training, EPOCHS, self.m, ETA) / EPOCHS)
        net = seeded(Network, self.sizes, dtype=dtype, threads=self.threads)
        timed(net.SGD, self.training, 1, self.m, ETA)
        self._score(dtype, net)

    def _score(self, who, net):
        judge = Network(self.sizes)
        judge.weights, judge.biases = list(net.weights), list(net.biases)
        self.accuracy[who] = judge.evaluate(self.test) / len(self.test[1])

    def run(self, rounds):
        self.warm_up()
        for _ in range(rounds):
            self.oracle_epoch()
            for dtype in ("float64", "float32"):
                for _ in range(3):  # short: three turns for each long one of the oracle
                    self.epoch(dtype)
        return self

    def median(self, who):
        return statistics.median(self.seconds[who])

    def ratio(self, who):
        return self.median("oracle") / self.median(who)

    def rows(self):
        n = len(self.training[1])
        for who, seconds in self.seconds.items():
            name = "the book's algorithm, NumPy" if who == "oracle" else f"fastbp, {who}"
            yield (
                f"{self.sizes}, mini-batch {self.m}",
                name,
                f"{self.median(who):.3f} ({min(seconds):.3f}-{max(seconds):.3f})",
                f"{n / self.median(who):,.0f}",
                f"{self.accuracy[who]:.1%}",
                f"{self.ratio(who):.1f}x",
            )


HEADER = ("net", "who", "seconds per epoch (range)", "images/s", "accuracy after it", "speed-up")


def table(contests):
    """Return the results as Markdown."""
    rows = [HEADER, ["---"] * len(HEADER), *(row for c in contests for row in c.rows())]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def machine():
    """Return one line: processor, versions, threads, date."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    return (
        f"{model}, {os.cpu_count()} cores; fastbp {fastbp.__version__} on one thread, "
        f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}; "
        f"{datetime.date.today()}"
    )

"""This checkout against another version of fastbp: `python -m bench.against PYTHON`.

PYTHON is the interpreter of an environment that has the other version installed. Both make the
same calls (calls.py) in turns, each in a process of its own; what is printed is the median, over
the rounds, of the ratio of the two times in one round, with its quartiles.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench import calls, report
from fastbp import mnist_loader

FILE = Path(calls.__file__).resolve()


class Version:
    """A process of calls.py under one interpreter."""

    def __init__(self, python, folder, here):
        path = str(FILE.parent.parent) if here else ""
        environment = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        self.process = subprocess.Popen(
            [python, FILE, folder / "X.npy", folder / "y.npy"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=environment, cwd=folder,
        )  # fmt: skip

    def seconds(self, name, threads):
        self.process.stdin.write(json.dumps([name, threads]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def compared(versions, name, threads, rounds):
    """Return the ratios this / other of each round, and the medians of both times."""
    for version in versions:
        version.seconds(name, threads)
    times = []
    for i in range(rounds):
        both = {}
        for k in (0, 1) if i % 2 else (1, 0):
            both[k], _ = versions[k].seconds(name, threads)
        times.append((both[0], both[1]))
    ratios = [this / other for this, other in times]
    return ratios, *(statistics.median(column) for column in zip(*times))


HEADER = ("call", "threads", "this, s", "other, s", "this / other, median (quartiles)")


def rows(versions, options):
    for name in calls.CALLS:
        for threads in options.threads if options.rows in name else ():
            ratios, this, other = compared(versions, name, threads, options.rounds)
            low, middle, high = statistics.quantiles(ratios, n=4)
            yield (
                name, threads, f"{this:.4f}", f"{other:.4f}",
                f"**{middle:.3f}** ({low:.3f}-{high:.3f})",
            )  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.against", description=__doc__)
    parser.add_argument("python", help="the interpreter of the environment of the other version")
    parser.add_argument("--rows", default="", help="only rows that hold this text")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--save", metavar="FILE", help="write the table to this file, too")
    options = parser.parse_args()
    (X, labels), *_ = mnist_loader.load_data()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.save(folder / "X.npy", (X * 256).astype(np.uint8))
        np.save(folder / "y.npy", labels)
        here, there = (sys.executable, True), (options.python, False)
        versions = [Version(python, folder, own) for python, own in (here, there)]
        report.print_table(
            "This version against another", HEADER, rows(versions, options),
            f"python -m bench.against {options.python}", options.save,
        )  # fmt: skip


if __name__ == "__main__":
    main()

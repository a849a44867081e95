"""This checkout against another version of fastbp: `python -m bench.against PYTHON`.

PYTHON is the interpreter of an environment that has the other version installed. Both make the
same calls (public_calls.py) in turns, each in a process of its own. Before it is timed, each call
must give about the same weights in both.
"""

import argparse
import functools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench import public_calls, tables, timing
from bench.workload import ROOT, load_data

HEADER = ("call", "threads", "this, s", "other, s", "this / other, median (quartiles)")


class Version:
    """A process of public_calls.py under one interpreter; path: where it looks for fastbp first."""

    def __init__(self, python, folder, path):
        environment = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
        self.process = subprocess.Popen(
            [python, public_calls.__file__, folder / "X.npy", folder / "y.npy"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder,
        )  # fmt: skip

    def run(self, name, threads):
        """Return (seconds, sum of |weights|) of a call."""
        self.process.stdin.write(json.dumps([name, threads]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def rows(versions, options):
    for name in public_calls.CALLS:
        for threads in options.threads if options.rows in name else ():
            sums = [version.run(name, threads)[1] for version in versions.values()]
            if not math.isclose(*sums, rel_tol=0.01):
                raise ValueError(f"{name}: the versions train different weights, {sums}")
            calls = {
                which: functools.partial(version.run, name, threads)
                for which, version in versions.items()
            }
            measured = timing.interleaved(calls, options.rounds)
            this, other = ([seconds for seconds, _ in measured[which]] for which in calls)
            medians = (f"{statistics.median(seconds):.4f}" for seconds in (this, other))
            yield name, threads, *medians, tables.quartiles(timing.paired_ratio(this, other))


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.against", description=__doc__)
    parser.add_argument("python", help="the interpreter of the environment of the other version")
    parser.add_argument("--rows", default="", help="only rows that contain this text")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    python = shutil.which(options.python) or parser.error(f"no interpreter: {options.python}")
    (X, labels), *_ = load_data()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.save(folder / "X.npy", (X * 256).astype(np.uint8))
        np.save(folder / "y.npy", labels)
        versions = {
            "this": Version(sys.executable, folder, str(ROOT)),
            "other": Version(os.path.abspath(python), folder, ""),
        }
        print(tables.table(HEADER, []), end="")
        for row in rows(versions, options):
            print(tables.row(row), end="", flush=True)


if __name__ == "__main__":
    main()

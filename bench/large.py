"""python -m bench.large FOLDER: an epoch of a file that is larger than memory may be.

FOLDER is what `fastbp expand --count N --save FOLDER` has written. Each epoch has a process of its
own, in turns: with all images in memory, with the file in the page cache, and with a file that the
cache does not hold, beside a program that only reads it. The processes that train from the file may
have less memory of their own than the file is long: the kernel holds them to it (RLIMIT_DATA).
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np

import fastbp
from bench import tables
from bench.workload import RESULTS, load_data, progress
from fastbp import mnist_loader, network, network2
from fastbp.data import file_rows, files, generated_folder

LIMIT = 1 << 30  # bytes of its own that a process may have, beside the file
READ = 1 << 23  # bytes that the reading program takes at a time
HEADER = (
    "network", "in memory, s", "file in the cache, s", "speed, % of in memory",
    "file not in the cache, s", "own memory, MB", "test error, %",
)  # fmt: skip
# Each trains for one epoch without a schedule: chapter 1's network, and relu networks of chapter 3.
Case = namedtuple("Case", "sizes chapter mini_batch_size eta momentum")
CASES = (
    Case([784, 30, 10], 1, 10, 3.0, 0.0),
    Case([784, 100, 10], 3, 10, 0.03, 0.0),
    Case([784, 800, 10], 3, 50, 0.02, 0.9),
)


def worker(options):
    """Train for one epoch; print what it took as JSON."""
    case = CASES[options.case]
    if options.where != "memory":
        _limit_own_memory()
    X, labels = _arrays(options)
    random.seed(1)
    np.random.seed(1)
    if case.chapter == 1:
        net, how = network.Network(case.sizes, dtype=np.float32), {}
    else:
        net = network2.Network(case.sizes, activation="relu", dtype=np.float32)
        net.he_weight_initializer()
        how = dict(momentum=case.momentum, nesterov=case.momentum > 0)
    m = case.mini_batch_size
    net.SGD((X[:100], labels[:100]), 1, m, 0.0, verbose=False, **how)  # compiles
    peak, began = _Peak(), time.perf_counter()
    shuffle = "book" if options.where == "memory" else "blocks"
    net.SGD((X, labels), 1, m, case.eta, shuffle=shuffle, verbose=False, progress=False, **how)
    seconds, (x, y) = time.perf_counter() - began, load_data()[2]
    error = 100 * np.mean(net.feedforward(x.T).argmax(axis=0) != y)
    print(json.dumps([seconds, peak.stop(), error]))


def _limit_own_memory():
    """Have the kernel refuse more memory than LIMIT on top of what the libraries take."""
    now = _status("VmData")
    resource.setrlimit(resource.RLIMIT_DATA, (now + LIMIT, now + LIMIT))


def _arrays(options):
    """Return the training images, as Pixels, and their labels; in memory, or in their file."""
    X, labels = mnist_loader.load_data(options.folder, pixels=True)[0]
    if not file_rows.holds_map((X, labels)):
        sys.exit(f"bench: {options.folder} has too few images to stay in a file: expand more")
    images = X.array[: options.count]
    if options.where == "memory":
        images = np.array(images)
    return fastbp.Pixels(images), labels[: options.count]


class _Peak:
    """The most memory that the process has of its own, looked at on a thread."""

    def __init__(self):
        self.most, self.ended = 0, threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self):
        while not self.ended.wait(0.05):
            self.most = max(self.most, _status("RssAnon"))

    def stop(self):
        self.ended.set()
        self.thread.join()
        return self.most


def _status(name):
    """Return a number of bytes that the kernel tells of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


# ------------------------------------------------ the cache of the kernel


def forget(path):
    """Have the kernel's cache drop a file."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_whole(path, count):
    """Return the seconds that it takes to read `count` images of a file from its beginning."""
    buffer, left, began = bytearray(READ), 16 + 784 * count, time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while left > 0 and (n := file.readinto(buffer)):
            left -= n
    return time.perf_counter() - began


# ------------------------------------------------ the comparison


def epoch(case, where, options):
    """Return (seconds, bytes of its own, test error) of an epoch in a process of its own."""
    command = [
        sys.executable, "-m", "bench.large", options.folder, "--worker", where, "--case", case,
        "--count", options.count,
    ]  # fmt: skip
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"bench: {done.stderr.strip()}")
    progress(f"{CASES[case].sizes}, {where}: {done.stdout.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(case, options):
    """Return a row of the table."""
    found = {"memory": [], "cached": []}
    for _ in range(options.rounds):
        for where, seen in found.items():
            if where == "cached":
                read_whole(options.images, options.count)
            seen.append(epoch(case, where, options))
    forget(options.images)
    cold = epoch(case, "cold", options)[0]
    memory, cached = (statistics.median(run[0] for run in runs) for runs in found.values())
    own = max(run[1] for run in found["cached"]) / 1e6
    sizes, error = CASES[case].sizes, found["cached"][0][2]
    return (
        f"{sizes}", f"{memory:.1f}", f"{cached:.1f}", f"{memory / cached:.0%}", f"{cold:.1f}",
        f"{own:.0f}", f"{error:.2f}",
    )  # fmt: skip


def page(count, cold, rows):
    """Return the text of bench/results/large.md; cold: seconds of read_whole."""
    size = 784 * count
    return (
        f"# A file larger than the memory that is allowed\n\n{count:,} deformed images, "
        f"{size / 1e9:.1f} GB, one epoch, float32. A program that only reads the file, which the "
        f"cache does not hold, takes {cold:.1f} s, {size / cold / 1e6:.0f} MB/s. Processes that "
        f"train from the file may have {LIMIT >> 20} MB of memory of their own. In memory the "
        f"order is the book's, in which neighbours are anywhere in {size / 1e9:.1f} GB; from the "
        f"file it is of shuffled blocks, which are read one window after the other, on a thread: "
        f"so it can be faster than 100 %.\n\n{tables.table(HEADER, rows)}\n"
        f"{tables.source('python -m bench.large FOLDER')}"
    )


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER")
    add("--count", type=int, default=8_100_000, help="images of an epoch (default: 8100000)")
    add("--rounds", type=int, default=2, help="(default: 2)")
    add("--worker", dest="where", help=argparse.SUPPRESS)
    add("--case", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.where:
        worker(options)
        return
    options.images = options.folder / generated_folder.TRAIN
    options.count = len(_arrays(options)[1])
    forget(options.images)
    cold = read_whole(options.images, options.count)
    text = page(options.count, cold, [compare(case, options) for case in range(len(CASES))])
    print(text)
    with files.write_atomically(RESULTS / "large.md") as file:
        file.write(text.encode())


if __name__ == "__main__":
    main()

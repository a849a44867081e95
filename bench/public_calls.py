"""Timed calls of the public interface, made by any interpreter that has a fastbp installed.

Imports nothing of this checkout, so that another version is timed by the same lines: against.py
starts a process of this file for each interpreter. A request is a line of JSON on standard input,
[name of a call, threads]; the answer is a line on standard output, [seconds, sum of |weights|].
"""

import contextlib
import io
import json
import random
import sys
import time

import numpy as np

import fastbp
from fastbp import network, network2


def epoch(sizes, m=10, dtype="float64", images=10_000, eta=0.5, **more):
    """Describe a call: an epoch, unless `more` says evaluate=True.

    more: calls, how many epochs one after the other, each an SGD of its own; stored, "uint8" for
    pixels as bytes; settings, of network2's SGD: without them it is network's.
    """
    return dict(sizes=sizes, m=m, dtype=dtype, images=images, eta=eta, **more)


SMALL, MEDIUM, WIDE, DEEP = [784, 30, 10], [784, 100, 10], [784, 800, 10], [784, 1024, 1024, 10]
CALLS = {
    f"{sizes}, {m}, {dtype}": epoch(sizes, m, dtype, images)
    for sizes, m, dtype, images in (
        (SMALL, 10, "float64", 25_000), (SMALL, 10, "float32", 25_000),
        (MEDIUM, 10, "float64", 10_000), (MEDIUM, 10, "float32", 10_000),
        (WIDE, 100, "float32", 20_000),
        (DEEP, 128, "float64", 3_200), (DEEP, 128, "float32", 6_400),
        (SMALL, 1, "float64", 10_000), (SMALL, 2, "float64", 10_000),
    )
} | {
    "bytes, [784, 30, 10], 10, float64": epoch(SMALL, stored="uint8"),
    "bytes, [784, 30, 10], 10, float32": epoch(SMALL, dtype="float32", stored="uint8"),
    "momentum, L2, dropout, [784, 100, 10]": epoch(
        MEDIUM, dtype="float32", eta=0.05, settings=dict(lmbda=5.0, momentum=0.9, dropout=0.2)
    ),
    "1,000 images, [784, 30, 10]": epoch(SMALL, images=1_000, calls=5),
    "evaluate 10,000, [784, 30, 10]": epoch(SMALL, evaluate=True),
    "evaluate 10,000, [784, 100, 10]": epoch(MEDIUM, evaluate=True),
} | {
    f"{name}, {WIDE}, {m}": epoch(WIDE, m, "float32", 5_000, 0.05, settings=settings)
    for m in (10, 50)
    for name, settings in {
        "plain network2": dict(l1=0.0), "momentum": dict(momentum=0.9), "L2": dict(lmbda=5.0),
        "input dropout": dict(dropout=[0.2, 0.0]),
    }.items()
}  # fmt: skip


def prepare(X, labels, threads, sizes, images, m, eta, dtype, **more):
    """Return (network, call); each call starts from the same weights."""
    np.random.seed(1)
    settings = more.get("settings")
    module = network if settings is None else network2
    net = module.Network(sizes, dtype=dtype, threads=threads)
    X, labels = X[:images], labels[:images]
    if more.get("stored") != "uint8":
        X = X.astype(np.float32) / 256
    elif hasattr(fastbp, "Pixels"):
        X = fastbp.Pixels(X)
    if more.get("evaluate"):
        return net, lambda: net.evaluate((X, labels))
    initial = [w.copy() for w in net.weights], [b.copy() for b in net.biases]

    def call():
        random.seed(1)
        net.weights, net.biases = ([p.copy() for p in part] for part in initial)
        with contextlib.redirect_stdout(io.StringIO()):
            for _ in range(more.get("calls", 1)):
                net.SGD((X, labels), 1, m, eta, **(settings or {}), progress=False)

    return net, call


def warm_up(call, seconds):
    """Call twice at least, and for so long: parallel code is compiled beside the first calls."""
    start, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - start < seconds:
        call()
        calls += 1


def main():
    images, labels = (np.load(path) for path in sys.argv[1:3])
    prepared = {}
    for line in sys.stdin:
        name, threads = json.loads(line)
        if (name, threads) not in prepared:
            prepared[name, threads] = prepare(images, labels, threads, **CALLS[name])
            warm_up(prepared[name, threads][1], 5.0 if threads > 1 else 0.0)
        net, call = prepared[name, threads]
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
        print(json.dumps([seconds, float(np.abs(net.weights[0]).sum())]), flush=True)


if __name__ == "__main__":
    main()

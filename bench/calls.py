"""Timed calls of the public interface, run by any interpreter that has a fastbp installed.

Imports nothing of this checkout, so that another version can be timed by the same lines: see
against.py, which starts one process of this file for each interpreter. A request is a line of JSON
on standard input, the answer a line on standard output.
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

EPOCH = dict(images=10_000, m=10, eta=0.5, dtype="float64", threads=1)
CALLS = {
    "[784, 30, 10], 10, float64": dict(EPOCH, sizes=[784, 30, 10], images=25_000),
    "[784, 30, 10], 10, float32": dict(EPOCH, sizes=[784, 30, 10], images=25_000, dtype="float32"),
    "[784, 100, 10], 10, float64": dict(EPOCH, sizes=[784, 100, 10]),
    "[784, 100, 10], 10, float32": dict(EPOCH, sizes=[784, 100, 10], dtype="float32"),
    "[784, 800, 10], 100, float32": dict(
        EPOCH, sizes=[784, 800, 10], m=100, images=20_000, dtype="float32"
    ),
    "[784, 1024, 1024, 10], 128, float64": dict(
        EPOCH, sizes=[784, 1024, 1024, 10], m=128, images=3_200
    ),
    "[784, 1024, 1024, 10], 128, float32": dict(
        EPOCH, sizes=[784, 1024, 1024, 10], m=128, images=6_400, dtype="float32"
    ),
    "[784, 30, 10], 1, float64": dict(EPOCH, sizes=[784, 30, 10], m=1),
    "[784, 30, 10], 2, float64": dict(EPOCH, sizes=[784, 30, 10], m=2),
    "bytes, [784, 30, 10], 10, float64": dict(EPOCH, sizes=[784, 30, 10], stored="uint8"),
    "bytes, [784, 30, 10], 10, float32": dict(
        EPOCH, sizes=[784, 30, 10], stored="uint8", dtype="float32"
    ),
    "momentum, L2, dropout, [784, 100, 10]": dict(
        EPOCH, sizes=[784, 100, 10], dtype="float32", eta=0.05,
        rules=dict(lmbda=5.0, momentum=0.9, dropout=0.2),
    ),
    "1,000 images, [784, 30, 10]": dict(EPOCH, sizes=[784, 30, 10], images=1_000, calls=5),
    "evaluate 10,000, [784, 30, 10]": dict(EPOCH, sizes=[784, 30, 10], evaluate=True),
    "evaluate 10,000, [784, 100, 10]": dict(EPOCH, sizes=[784, 100, 10], evaluate=True),
}  # fmt: skip
for _m in (10, 50):
    _plain = dict(EPOCH, sizes=[784, 800, 10], m=_m, images=5_000, dtype="float32", eta=0.05)
    for _name, _rules in {
        "no rule": dict(l1=0.0), "momentum": dict(momentum=0.9), "L2": dict(lmbda=5.0),
        "input dropout": dict(dropout=[0.2, 0.0]),
    }.items():  # fmt: skip
        CALLS[f"{_name}, [784, 800, 10], {_m}"] = dict(_plain, rules=_rules)


def prepared(X, labels, sizes, images, m, eta, dtype, threads, **more):
    """Return a function that makes the call once, on a network of its own."""
    np.random.seed(1)
    random.seed(1)
    rules = more.get("rules")
    module = network if rules is None else network2
    net = module.Network(sizes, dtype=dtype, threads=threads)
    X, labels = X[:images], labels[:images]
    if more.get("stored") != "uint8":
        X = X.astype(np.float32) / 256
    elif hasattr(fastbp, "Pixels"):
        X = fastbp.Pixels(X)
    if more.get("evaluate"):
        return net, lambda: net.evaluate((X, labels))
    start = [w.copy() for w in net.weights], [b.copy() for b in net.biases]

    def call():
        net.weights, net.biases = ([p.copy() for p in part] for part in start)
        with contextlib.redirect_stdout(io.StringIO()):
            for _ in range(more.get("calls", 1)):
                net.SGD((X, labels), 1, m, eta, **(rules or {}), progress=False)

    return net, call


def main():
    images, labels = (np.load(path) for path in sys.argv[1:3])
    held = {}
    for line in sys.stdin:
        name, threads = json.loads(line)
        if (name, threads) not in held:
            arguments = CALLS[name] | dict(threads=threads)
            held[name, threads] = prepared(images, labels, **arguments)
            for _ in range(4 if threads > 1 else 2):  # compile, find out how many threads pay
                held[name, threads][1]()
        net, call = held[name, threads]
        random.seed(1)
        began = time.perf_counter()
        call()
        seconds = time.perf_counter() - began
        print(json.dumps([seconds, float(np.abs(net.weights[0]).sum())]), flush=True)


if __name__ == "__main__":
    main()

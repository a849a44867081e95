"""What test_mpi.py has mpiexec start: cases on all ranks; rank 0 prints their results as JSON."""

import hashlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path

import numpy as np

from fastbp import History, cli, mnist_loader, mpi, network, network2
from fastbp.cli import data_options
from fastbp.data.file_rows import FileRows, holds_map
from fastbp.data.readers import image_sets
from fastbp.distributed import ranks as ranks_module
from fastbp.distributed.settings import RankSettings
from fastbp.training import run_state
from fastbp.training.epoch_data import orders, windows

warnings.simplefilter("error")
SIZES = [40, 33, 20, 10]
RULES = {
    "plain": {},
    "l2, nesterov": dict(lmbda=2.0, momentum=0.9, nesterov=True),
    "l1, momentum": dict(l1=0.5, momentum=0.5),
    "adam": dict(optimizer="adam", eta=0.002, lmbda=0.3),
    "dropout, max-norm": dict(dropout=[0.2, 0.5, 0.3], max_norm=1.0),
}  # fmt: skip


def data(n=500):
    """Return arrays (X, Y), most of X zero; the same in each process."""
    rng = np.random.default_rng(0)
    X = rng.random((n, 40)) * (rng.random((n, 40)) < 0.3)
    return X, np.eye(10)[X[:, :10].argmax(axis=1)]


def seed(number=1):
    random.seed(number)
    np.random.seed(number)


def digest(*nets):
    """Return what tells the parameters of networks from others."""
    arrays = [a for net in nets for a in net.weights + net.biases]
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


def train(dtype, rules, sgd=mpi.SGD, **how):
    """Return a network of chapter 3 trained for two epochs, and what SGD returns."""
    seed()
    net, rules = network2.Network(SIZES, dtype=dtype), dict(rules)
    eta = rules.pop("eta", 0.3)
    X, Y = data()
    options = dict(monitor_training_cost=True, verbose=False) | rules | how
    return net, sgd(net, (X, Y), 2, 60, eta, **options)


def case_rules(ranks):
    """The weights of each rule and type, chapter 1's network among them, and of plain SGD."""
    found = {}
    for name, rules in RULES.items():
        for dtype in (np.float64, np.float32):
            net, monitored = train(dtype, rules, comm=ranks)
            flat = net._parameters().tolist() if ranks.size == 1 else None
            same = len(set(ranks.comm.allgather(digest(net)))) == 1
            found[f"{name}, {np.dtype(dtype).name}"] = same, digest(net), monitored, flat
    return found


def case_last_batches(ranks):
    """The weights after mini-batches of which the last one is shorter by 1, 2, 3 or 4."""
    found, (X, Y) = {}, data()
    for m, short in itertools.product((10, 16, 27, 64), (1, 2, 3, 4)):
        seed()
        net, n = network2.Network(SIZES), 3 * m - short
        mpi.SGD(net, (X[:n], Y[:n]), 1, m, 0.3, comm=ranks, verbose=False)
        found[f"{m} less {short}"] = digest(net)
    return found


def case_chapter_1(ranks):
    seed()
    net, (X, Y) = network.Network([40, 30, 10]), data()
    lists = [(x[:, None], y[:, None]) for x, y in zip(X, Y)]
    mpi.SGD(net, lists, 2, 50, 3.0, test_data=(X, Y), comm=ranks, chunks=6)
    return digest(net), net.history, ranks.comm.allgather(net.history)


def case_blocks(ranks):
    """A memory map in windows of two mini-batches; the share of it that each rank reads."""
    count, copy = [0], windows._copy

    def counted(out, rows):
        count[0] += rows.nbytes if isinstance(rows, FileRows) else 0
        copy(out, rows)

    windows._copy, (X, Y) = counted, data()
    orders.BLOCK_BYTES, orders.WINDOW_BYTES = 7 * X[0].nbytes, 130 * X[0].nbytes
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "x.npy"), X)
        X = np.load(Path(folder, "x.npy"), mmap_mode="r")
        seed()
        net = network2.Network(SIZES)
        mpi.SGD(net, (X, Y), 2, 60, 0.3, comm=ranks, shuffle="blocks", dropout=[0.2, 0.5, 0.3],
                verbose=False)  # fmt: skip
        bad = np.array(X)
        bad[77, 3] = np.nan  # one rank finds it
        try:
            mpi.SGD(net, (bad, Y), 1, 60, 0.3, comm=ranks, shuffle="blocks", verbose=False)
            message = ""
        except ValueError as error:
            message = str(error)
    gather = ranks.comm.allgather
    return gather(digest(net)), gather(count[0] / (2 * X.nbytes)), gather(message)


def case_average(ranks):
    net, _ = train(np.float64, {}, comm=ranks, average_every=4)
    seed()
    one, (X, Y) = network.Network(SIZES), data()
    mpi.SGD(one, (X, Y), 1, 60, 3.0, comm=ranks, average_every=100, verbose=False)
    return ranks.comm.allgather(digest(net)), one._parameters().tolist()


def case_map(ranks):
    """What fastbp train reads on each rank of a file that it maps."""
    image_sets.MAP_BYTES = 0
    made = [tempfile.TemporaryDirectory()] if ranks.rank == 0 else []
    folder = Path(ranks.from_root(lambda: made[0].name))
    if ranks.rank == 0:
        images = np.random.default_rng(0).integers(0, 256, (60, 784), np.uint8)
        for name in ("train", "t10k"):
            mnist_loader.write(folder / f"{name}-images-idx3-ubyte", images, np.arange(60) % 10)
    options = types.SimpleNamespace(ranks=ranks, data=str(folder), transpose=False)
    sets = data_options.read_on_all_ranks(options)
    sums = [int(X.array.sum()) for X, _ in sets[:3]]
    return ranks.comm.allgather([holds_map(sets[0]), *sums])


def case_scaling(ranks):
    seed()
    net, (X, Y) = network.Network(SIZES), data()
    mpi.SGD(
        net,
        (X, Y),
        1,
        250,
        1.0,
        comm=ranks,
        base_mini_batch_size=50,
        scaling_epochs=1,
        verbose=False,
    )
    return net._parameters().tolist()


def case_scaling_by_blocks(ranks):
    """Return the learning rates of an epoch of 10 mini-batches, which are of several windows."""
    etas, eta_of = [], RankSettings.eta_of

    def noted(*arguments):
        etas.append(eta_of(*arguments))
        return etas[-1]

    X, Y = data()
    orders.BLOCK_BYTES, orders.WINDOW_BYTES, RankSettings.eta_of = 50 * X[0].nbytes, 1, noted
    seed()
    mpi.SGD(
        network.Network(SIZES), (X, Y), 1, 50, 1.0, comm=ranks, base_mini_batch_size=10,
        scaling_epochs=1, shuffle="blocks", verbose=False,
    )  # fmt: skip
    RankSettings.eta_of = eta_of
    return etas


def case_decisions(ranks):
    """Callbacks, early stopping and schedules are those of rank 0, wherever they are given."""
    history, X_Y = History(), data()

    def callback(figures):
        if ranks.rank:
            raise AssertionError("a callback of another rank was called")
        random.random()  # the generators of the ranks differ from here on
        net.weights[0][:] *= 0.5
        return figures["epoch"] == 2

    seed(ranks.rank)
    net = network.Network([40, 30, 10])
    mpi.SGD(net, X_Y, 9, 50, 3.0, test_data=X_Y, comm=ranks, callback=[history, callback],
            verbose=False)  # fmt: skip
    seed()
    other = network2.Network([40, 30, 10])
    figures = mpi.SGD(
        other, X_Y, 50, 50, 0.0, 0.0, X_Y, comm=ranks, early_stopping_n=3, verbose=False,
        schedule=lambda epoch: 0.01 if epoch < 2 else 0.0, monitor_evaluation_accuracy=True,
    )  # fmt: skip
    digests = ranks.comm.allgather(digest(net, other))
    return digests, len(history) if ranks.rank == 0 else 0, len(figures[1])


def case_errors(ranks):
    """What each wrong call raises on all ranks, and what it leaves."""
    X, Y = data()
    bad, other = X.copy(), X + 0.001 * ranks.rank
    bad[77, 3] = np.nan
    large = dict(mini_batch_size=5, eta=1e200)

    class Own(network.Network):
        def backprop(self, x, y):
            return super().backprop(x, y)

    def drawn(epoch):  # by generators that are in step no longer: rank 0 alone draws the order
        order = random.sample(range(len(X)), len(X))
        return X[order], Y[order]

    messages = {}
    for name, kind, inputs, how in (
        ("not finite", network.Network, bad, {}),
        ("diverges", lambda sizes: network2.Network(sizes, activation="relu"), X, large),
        ("chunks", network.Network, X, dict(chunks=1)),
        ("average", network.Network, X, dict(average_every=2, mini_batch_size=61)),
        ("own", Own, X, {}),
        ("epochs", network.Network, X, dict(epochs=1 + ranks.rank)),
        ("data", network.Network, other, {}),
        ("deform", network.Network, X, dict(deform={} if ranks.rank else None)),
        ("callback", network.Network, X, dict(callback=lambda figures: 1 / 0)),
        ("function", network.Network, None, dict(epochs=3)),
    ):
        seed()
        net = kind([40, 30, 10])
        before = digest(net)
        arguments = dict(epochs=1, mini_batch_size=60, eta=1.0) | how
        try:
            given = drawn if inputs is None else (inputs, Y)
            mpi.SGD(net, given, comm=ranks, verbose=False, **arguments)
            outcome = "none", ""
        except Exception as error:
            outcome = type(error).__name__, str(error)
        messages[name] = ranks.comm.allgather(outcome), before == digest(net)
    return messages


def case_slow_checkpoint(ranks):
    """An interrupt, whose checkpoint takes longer than errors of the ranks may be apart."""

    def write(*arguments):
        time.sleep(1.5)
        real_write(*arguments)

    def interrupt(figures):
        signal.raise_signal(signal.SIGINT)

    real_write, run_state.write, ranks_module.GRACE = run_state.write, write, 0.3
    path, outcome = Path(ranks.from_root(tempfile.mkdtemp), "run.npz"), "none"
    how = dict(comm=ranks, checkpoint=path, callback=interrupt, verbose=False)
    try:
        mpi.SGD(network.Network([40, 30, 10]), data(), 10**6, 60, 1.0, **how)
    except KeyboardInterrupt as error:
        outcome = type(error).__name__
    return ranks.comm.allgather(outcome), path.exists()


def case_one_fails(ranks):
    """An error of one rank alone: the job ends."""
    with ranks.failing_together():
        if ranks.rank == 1:
            raise ValueError("only here")
        mpi.SGD(network.Network([40, 30, 10]), data(), 10**6, 60, 1.0, comm=ranks, verbose=False)


def command(folder, *arguments):
    """Run the command line, after writing this rank's process number to a file."""
    rank = os.environ["OMPI_COMM_WORLD_RANK"]
    Path(folder, f"rank{rank}").write_text(str(os.getpid()))
    return cli.main(list(arguments))


if __name__ == "__main__":
    if sys.argv[1] == "command":
        sys.exit(command(*sys.argv[2:]))
    ranks = mpi.Ranks()
    results = {name: globals()[f"case_{name}"](ranks) for name in sys.argv[1:]}
    if ranks.rank == 0:
        print(json.dumps(results))

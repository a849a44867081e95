"""python -m bench.endurance TRIAL ...: kills, interrupts, hostile files, a soak test.

Each trial prints what was seen, and writes it into its section of bench/results/promises.md. All of
them but the soak test, which takes an hour, take about half an hour.
"""

import argparse
import contextlib
import functools
import io
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from bench import tables, timing
from bench.workload import RESULTS, ROOT, load_data, progress
from fastbp import network, network2
from fastbp.training import checkpoint

FORK = multiprocessing.get_context("fork")
NETS = [
    (sizes, m, dtype)
    for sizes, m in (
        ((784, 30, 10), 10), ((784, 100, 10), 10), ((784, 800, 10), 100),
        ((784, 1024, 1024, 10), 128),
    )
    for dtype in ("float32", "float64")
]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.endurance", description=__doc__)
    parser.add_argument(
        "trials", nargs="+", choices=TRIALS, metavar="TRIAL", help=", ".join(TRIALS)
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers (default: 1)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="another folder")
    options = parser.parse_args()
    data, command = load_data()[:3], " ".join(["python -m bench.endurance", *sys.argv[1:]])
    for name in options.trials:
        progress(f"{name} ...")
        trial, count = TRIALS[name]
        seen = trial(data, max(1, round(options.scale * count)))
        text = f"{seen}\n\n{tables.source(command)}"
        print(text, flush=True)
        tables.replace_section(options.results / "promises.md", name, text)


# ------------------------------------------------ kills

N_IMAGES, EPOCHS = 5_000, 600


def train(data, path, kind, threads=None):
    """Train, resuming from a checkpoint if there is one; return (all weights, what was printed)."""
    random.seed(1)
    np.random.seed(1)
    training, test = (tuple(part[:n] for part in data[k]) for k, n in ((0, N_IMAGES), (2, 500)))
    resuming = dict(checkpoint=path, checkpoint_every=0.02, resume=True) if path else {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if kind == "network":
            net = network.Network([784, 30, 10], threads=threads)
            net.SGD(training, EPOCHS, 10, 3.0, test, **resuming)
        else:
            net = network2.Network([784, 30, 10], dtype=np.float32, threads=threads)
            net.SGD(
                training, EPOCHS, 10, 0.5, 1.0, test, True, True, False, True,
                momentum=0.5, dropout=0.1, monitor_subset=500, schedule="halve",
                early_stopping_n=200, **resuming,
            )  # fmt: skip
    return np.concatenate([a.ravel() for a in (*net.weights, *net.biases)]), out.getvalue()


def _train_and_keep(data, path, kind, threads):
    weights, printed = train(data, path, kind, threads)
    np.save(f"{path}.weights.npy", weights)
    Path(f"{path}.printed").write_text(printed)


def kills(data, count):
    """Kill runs at random moments and resume them; they must end as runs that were not killed."""
    draw, seen = random.Random(2), dict(kills=0, runs=0, different=0, unreadable=0, writing=0)
    expected = {kind: train(data, None, kind) for kind in ("network", "network2")}
    while seen["kills"] < count:
        kind = ("network", "network2")[seen["runs"] % 2]
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/run.npz"
            while not os.path.exists(f"{path}.printed"):
                _run_and_kill(data, path, kind, draw, seen, count)
            weights, printed = np.load(f"{path}.weights.npy"), Path(f"{path}.printed").read_text()
        same = np.array_equal(weights, expected[kind][0]) and printed == expected[kind][1]
        seen["runs"] += 1
        seen["different"] += not same
        progress(f"  {seen}")
    return (
        f"**{seen['kills']} SIGKILLs** at random moments of {seen['runs']} runs, on 1 to 4 "
        f"threads, {seen['writing']} of them while a checkpoint was being written: "
        f"{seen['different']} runs ended otherwise than one that was not killed, "
        f"{seen['unreadable']} files were unreadable."
    )


def _run_and_kill(data, path, kind, draw, seen, count):
    """Train in a process, until it ends or is killed."""
    process = FORK.Process(target=_train_and_keep, args=(data, path, kind, draw.randint(1, 4)))
    process.start()
    if seen["kills"] < count:
        process.join(draw.uniform(0.02, 0.6))
        if process.is_alive():
            process.kill()
            seen["kills"] += 1
    process.join()
    seen["writing"] += any(name.startswith(".fastbp-") for name in os.listdir(Path(path).parent))
    try:
        checkpoint.read(path)
    except (OSError, ValueError):
        seen["unreadable"] += 1


# ------------------------------------------------ interrupts


def _train_until_interrupted(queue, data, sizes, m, dtype, path):
    training, _, test = data
    net = network2.Network(list(sizes), dtype=dtype)
    with contextlib.redirect_stdout(io.StringIO()):
        net.SGD((training[0][:1000], training[1][:1000]), 1, m, 0.1)
        queue.put(None)
        try:
            net.SGD(
                training, 1000, m, 0.1, 1.0, test, True, True, True, True, checkpoint=path,
                checkpoint_every=3600.0,
            )  # fmt: skip
        except KeyboardInterrupt:
            queue.put((time.monotonic(), all(np.isfinite(w).all() for w in net.weights)))


def interrupts(data, count):
    """Send Ctrl-C at random moments of training and monitoring; measure until SGD has ended."""
    draw, rows, slowest = random.Random(3), [], 0.0
    for net in NETS:
        seconds = [_interrupted(data, net, draw) for _ in range(count)]
        rows.append(
            (tables.network(*net), f"{max(seconds):.3f}", f"{statistics.median(seconds):.3f}")
        )
        slowest = max(slowest, *seconds)
        progress(f"  {rows[-1]}")
    return (
        f"**Ctrl-C** {count * len(NETS)} times, while training or monitoring: the slowest "
        f"took {slowest:.3f} s until SGD had ended.\n\n"
        + tables.table(("net", "most, s", "median, s"), rows)
    )


def _interrupted(data, net, draw):
    """Return the seconds that one interrupt takes."""
    with tempfile.TemporaryDirectory() as folder:
        queue, path = FORK.SimpleQueue(), f"{folder}/run.npz"
        process = FORK.Process(target=_train_until_interrupted, args=(queue, data, *net, path))
        process.start()
        queue.get()
        time.sleep(draw.uniform(0.5, 4))
        sent = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        ended, finite = queue.get()
        process.join()
        assert finite
        assert checkpoint.read(path)
    return ended - sent


# ------------------------------------------------ what the check for divergence costs


def cost(data, rounds):
    """Compare epochs with the check for weights that are not finite, and without it, in turns."""
    rows = []
    for sizes, m, dtype in NETS:
        net = network.Network(list(sizes), dtype=dtype, threads=1)
        training = tuple(part[: 20_000 if m == 10 else 10_000] for part in data[0])
        epoch = functools.partial(net.SGD, training, 1, m, 0.1, progress=False)
        ways = ("stop", "continue")
        calls = {way: functools.partial(epoch, on_divergence=way) for way in ways}
        with contextlib.redirect_stdout(io.StringIO()):
            epoch()
            seconds = timing.seconds_interleaved(calls, rounds)
        ratio = timing.paired_ratio(*(seconds[way] for way in ways))
        rows.append((tables.network(sizes, m, dtype), tables.quartiles(ratio)))
        progress(f"  {rows[-1]}")
    return (
        "**The check for divergence**: seconds of an epoch with it over those without "
        '(`on_divergence="continue"`), on one thread, in turns.\n\n'
        + tables.table(("net", "ratio, median (quartiles)"), rows)
    )


# ------------------------------------------------ files


def files(data, count):
    """Run the tests' fuzzer on every reader."""
    command = ["-m", "tests.fuzz", "--count", str(count)]
    run = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"tests.fuzz failed: {run.stdout}")
    return f"**Hostile files**, by `python {' '.join(command)}`:\n\n{run.stdout.strip()}"


# ------------------------------------------------ soak test


def soak(data, seconds):
    """Train, evaluate, save and load in a loop, on four Python threads; watch the memory."""
    pairs = [(x[:, None], int(y)) for x, y in zip(data[2][0][:500], data[2][1][:500])]
    training = tuple(part[:N_IMAGES] for part in data[0])
    errors, rounds, megabytes, end = [], [], [], time.monotonic() + seconds

    def work(seed):
        draw = random.Random(seed)
        with tempfile.TemporaryDirectory() as folder:
            while time.monotonic() < end and not errors:
                try:
                    _train_and_load(draw, folder, training, data[1], pairs)
                    rounds.append(seed)
                except BaseException as error:
                    errors.append(repr(error))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    with contextlib.redirect_stdout(io.TextIOWrapper(io.FileIO(os.devnull, "w"))):
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            time.sleep(min(10, seconds / 20))
            megabytes.append(_resident_megabytes())
            progress(f"  {len(rounds)} rounds, {megabytes[-1]:.1f} MB")
    tenth = max(1, len(megabytes) // 10)
    early = statistics.median(megabytes[2 * tenth : 4 * tenth])
    late = statistics.median(megabytes[-2 * tenth :])
    return (
        f"**A soak test of {seconds / 60:.0f} minutes**, 4 Python threads that train, "
        f"evaluate, save and load: {len(rounds):,} rounds, {len(errors)} errors{errors or ''}; "
        f"memory {early:.1f} MB early and {late:.1f} MB late: {late / early - 1:+.1%}."
    )


def _train_and_load(draw, folder, training, validation, pairs):
    dtype, path = draw.choice(("float32", "float64")), f"{folder}/model"
    if draw.random() < 0.5:
        net = network.Network([784, 30, 10], dtype=dtype, threads=4)
        net.SGD(training, 2, 10, 3.0, pairs, checkpoint=f"{folder}/run", checkpoint_every=1)
        net.save(path)
        assert network.load(path).evaluate(pairs) == net.evaluate(pairs)
    else:
        net = network2.Network([784, 100, 10], dtype=dtype, threads=4)
        net.SGD(
            training, 2, 100, 0.5, 1.0, validation, True, True, momentum=0.5, dropout=0.2,
            checkpoint=f"{folder}/run2", checkpoint_every=1,
        )  # fmt: skip
        net.save(path)
        assert network2.load(path).accuracy(pairs) == net.accuracy(pairs)
    for x, _ in pairs[:20]:
        net.feedforward(x)
    assert all(np.isfinite(w).all() for w in net.weights)


def _resident_megabytes():
    """Return the memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


TRIALS = {  # how many kills, interrupts of each net, rounds, files for each reader, seconds
    "kills": (kills, 200), "interrupts": (interrupts, 8), "cost": (cost, 31),
    "files": (files, 100_000), "soak": (soak, 3600),
}  # fmt: skip

if __name__ == "__main__":
    main()

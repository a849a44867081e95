"""python -m bench.endurance: kills, interrupts, files, a soak; what is promised, and what was seen.

Each trial writes its figures to bench/results/endurance.json, and the page of promises is made of
them: python -m bench.endurance kills interrupts cost files soak page. All of them but the
soak (an hour, --seconds) take about half an hour.
"""

import argparse
import contextlib
import io
import json
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

from bench import promises, report, work
from fastbp import network, network2
from fastbp.training import checkpoint, engine

RESULTS = work.ROOT / "bench" / "results"
FILE = RESULTS / "endurance.json"
FORK = multiprocessing.get_context("fork")


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.endurance", description=__doc__)
    parser.add_argument(
        "trials", nargs="+", choices=TRIALS, metavar="TRIAL", help=", ".join(TRIALS)
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3600, help="of the soak (default: 3600)")
    parser.add_argument("--count", type=int, default=100_000, help="of files for each reader")
    options = parser.parse_args()
    for name in options.trials:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures = TRIALS[name](options)
        if figures is not None:
            figures["date"] = report.machine()["date"]
            remember(name, figures)
            print(name, json.dumps(figures), flush=True)


def remember(name, figures):
    """Add a trial's figures to those of the others."""
    found = json.loads(FILE.read_text()) if FILE.exists() else {}
    found[name] = figures
    FILE.write_text(json.dumps(found, indent=1) + "\n")


# ------------------------------------------------ a run that can be killed


IMAGES, EPOCHS = 5_000, 600


def train(path, kind, threads=None, epochs=EPOCHS):
    """Train, going on from a checkpoint if there is one; return (all weights, what was printed)."""
    random.seed(1)
    np.random.seed(1)
    training, _, test, _ = DATA
    data, few = tuple(part[:IMAGES] for part in training), tuple(part[:500] for part in test)
    how = dict(checkpoint=path, checkpoint_every=0.02, resume=True) if path else {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if kind == "network":
            net = network.Network([784, 30, 10], threads=threads)
            net.SGD(data, epochs, 10, 3.0, few, **how)
        else:
            net = network2.Network([784, 30, 10], dtype=np.float32, threads=threads)
            net.SGD(
                data, epochs, 10, 0.5, 1.0, few, True, True, False, True,
                momentum=0.5, dropout=0.1, monitor_subset=500, schedule="halve",
                early_stopping_n=200, **how,
            )  # fmt: skip
    arrays = (*net.weights, *net.biases)
    return np.concatenate([array.ravel() for array in arrays]), out.getvalue()


DATA = None


def _life(path, kind, threads):
    weights, printed = train(path, kind, threads)
    np.save(f"{path}.weights.npy", weights)
    Path(f"{path}.printed").write_text(printed)


def kills(options):
    """Kill runs at random moments, go on each time; they must end as runs that were let alone."""
    chance = random.Random(2)
    done = dict(kills=0, runs=0, different_ends=0, unreadable=0, while_writing=0)
    wanted = {kind: train(None, kind) for kind in ("network", "network2")}
    while done["kills"] < options.kills:
        kind = ("network", "network2")[done["runs"] % 2]
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/run.npz"
            while not os.path.exists(f"{path}.printed"):
                life = FORK.Process(target=_life, args=(path, kind, chance.randint(1, 4)))
                life.start()
                if done["kills"] < options.kills:
                    life.join(chance.uniform(0.02, 0.6))
                    if life.is_alive():
                        life.kill()
                        done["kills"] += 1
                life.join()
                done["while_writing"] += any(n.startswith(".fastbp-") for n in os.listdir(folder))
                try:
                    checkpoint.read(path)
                except (OSError, ValueError):
                    done["unreadable"] += 1
            weights = np.load(f"{path}.weights.npy")
            printed = Path(f"{path}.printed").read_text()
            same = np.array_equal(weights, wanted[kind][0]) and printed == wanted[kind][1]
            done["runs"], done["different_ends"] = (
                done["runs"] + 1,
                done["different_ends"] + (not same),
            )
            print(f"  {done}", file=sys.stderr, flush=True)
    return done


# ------------------------------------------------ interrupts


NETS = {
    "[784, 30, 10], mini-batch 10": ((784, 30, 10), 10),
    "[784, 100, 10], mini-batch 10": ((784, 100, 10), 10),
    "[784, 800, 10], mini-batch 100": ((784, 800, 10), 100),
    "[784, 1024, 1024, 10], mini-batch 128": ((784, 1024, 1024, 10), 128),
}


def _until_interrupted(queue, sizes, m, dtype, path):
    training, _, test, _ = DATA
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


def interrupts(options):
    """Send Ctrl-C at random moments of training and monitoring; measure until SGD has ended."""
    chance, figures = random.Random(3), {}
    for name, (sizes, m) in NETS.items():
        for dtype in ("float32", "float64"):
            seconds = []
            for _ in range(8):
                with tempfile.TemporaryDirectory() as folder:
                    queue = FORK.SimpleQueue()
                    arguments = queue, sizes, m, dtype, f"{folder}/run.npz"
                    process = FORK.Process(target=_until_interrupted, args=arguments)
                    process.start()
                    queue.get()
                    time.sleep(chance.uniform(0.5, 4))
                    sent = time.monotonic()
                    os.kill(process.pid, signal.SIGINT)
                    ended, finite = queue.get()
                    process.join()
                    assert finite
                    assert checkpoint.read(f"{folder}/run.npz")
                    seconds.append(ended - sent)
            figures[f"{name}, {dtype}"] = dict(
                most=round(max(seconds), 3), median=round(statistics.median(seconds), 3)
            )
            print(f"  {name}, {dtype}: {figures[f'{name}, {dtype}']}", file=sys.stderr, flush=True)
    return dict(nets=figures, each=8, most=max(f["most"] for f in figures.values()))


# ------------------------------------------------ what the watch costs


def cost(options):
    """Measure what share of an epoch the look at the weights takes; and epochs without, in turns.

    The second is what a user pays, but on a noisy machine says less than the first.
    """
    figures, (X, labels), spent = {}, DATA[0], [0.0]

    class Timed(engine._Guard):
        def __init__(self, state):
            with self.clock():
                super().__init__(state)

        def passes(self, *arguments):
            with self.clock():
                return super().passes(*arguments)

        @contextlib.contextmanager
        def clock(self):
            began = time.perf_counter()
            yield
            spent[0] += time.perf_counter() - began

    engine._Guard = Timed
    for name, (sizes, m) in NETS.items():
        for dtype in ("float32", "float64"):
            n = len(X) if m == 10 else len(X) // 2
            plan, Y = engine.plan_of(sizes), np.eye(10, dtype=dtype)[labels[:n]]
            samples, order = engine.Samples(X[:n], Y), np.random.permutation(n)
            weights = (np.random.randn(plan.n_params) / 30).astype(dtype)
            seconds, spent[0] = {True: [], False: []}, 0.0
            for turn in range(15 if m == 10 else 5):
                for watch in (True, False) if turn % 2 else (False, True):
                    params = weights.copy()
                    began = time.perf_counter()
                    engine.train(params, plan, samples, order, m, 0.1, 1, watch=watch)
                    seconds[watch].append(time.perf_counter() - began)
            ratios = [a / b for a, b in zip(seconds[True][1:], seconds[False][1:])]
            figures[f"{name}, {dtype}"] = row = dict(
                share_percent=round(100 * spent[0] / sum(seconds[True]), 2),
                median_ratio=round(statistics.median(ratios), 3),
            )
            print(f"  {name}, {dtype}: {row}", file=sys.stderr, flush=True)
    return dict(nets=figures)


# ------------------------------------------------ files


def files(options):
    """Run the tests' fuzzer on every reader."""
    command = [sys.executable, "-m", "tests.fuzz", "--count", str(options.count)]
    run = subprocess.run(command, cwd=work.ROOT, capture_output=True, text=True, check=False)
    print(run.stdout, run.stderr, file=sys.stderr, flush=True)
    return dict(command=" ".join(["python", *command[1:]]), table=run.stdout, failed=run.returncode)


# ------------------------------------------------ the soak


def soak(options):
    """Train, evaluate, save and load in a loop, on four Python threads; watch the memory."""
    training, validation, test, _ = DATA
    data = tuple(part[:5000] for part in training)
    pairs = [(x[:, None], int(y)) for x, y in zip(test[0][:500], test[1][:500])]
    errors, rounds, stop = [], [0] * 4, time.monotonic() + options.seconds

    def one(number):
        chance = random.Random(number)
        with tempfile.TemporaryDirectory() as folder:
            while time.monotonic() < stop and not errors:
                try:
                    _soak_round(chance, folder, data, validation, pairs)
                    rounds[number] += 1
                except BaseException as error:
                    errors.append(repr(error))

    threads_ = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    memory = []
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        for thread in threads_:
            thread.start()
        while any(thread.is_alive() for thread in threads_):
            time.sleep(min(10, options.seconds / 20))
            memory.append(_resident())
            print(f"  {sum(rounds)} rounds, {memory[-1]:.1f} MB", file=sys.stderr, flush=True)
    tenth = max(1, len(memory) // 10)
    settled, last = memory[2 * tenth : 4 * tenth], memory[-2 * tenth :]
    growth = statistics.median(last) / statistics.median(settled) - 1
    return dict(
        seconds=options.seconds, rounds=sum(rounds), errors=errors,
        megabytes=[round(statistics.median(part), 1) for part in (settled, last)],
        growth_percent=round(100 * growth, 2),
    )  # fmt: skip


def _soak_round(chance, folder, data, validation, pairs):
    dtype, path = chance.choice(("float32", "float64")), f"{folder}/model"
    if chance.random() < 0.5:
        net = network.Network([784, 30, 10], dtype=dtype, threads=4)
        net.SGD(data, 2, 10, 3.0, pairs, checkpoint=f"{folder}/run", checkpoint_every=1)
        net.save(path)
        again = network.load(path)
        assert again.evaluate(pairs) == net.evaluate(pairs)
    else:
        net = network2.Network([784, 100, 10], dtype=dtype, threads=4)
        net.SGD(
            data, 2, 100, 0.5, 1.0, validation, True, True, momentum=0.5, dropout=0.2,
            checkpoint=f"{folder}/run2", checkpoint_every=1,
        )  # fmt: skip
        net.save(path)
        again = network2.load(path)
        assert again.accuracy(pairs) == net.accuracy(pairs)
    for x, _ in pairs[:20]:
        net.feedforward(x)
    assert all(np.isfinite(w).all() for w in net.weights)


def _resident():
    """Return the megabytes of memory that this process holds."""
    text = Path("/proc/self/statm").read_text().split()
    return int(text[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def page(options):
    """Write the page of promises."""
    figures = json.loads(FILE.read_text()) if FILE.exists() else {}
    (RESULTS / "promises.md").write_text(promises.page(figures))


TRIALS = dict(kills=kills, interrupts=interrupts, cost=cost, files=files, soak=soak, page=page)

if __name__ == "__main__":
    DATA = work.data()
    main()

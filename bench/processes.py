"""Worker processes, one for each library and number of threads.

Libraries fix their threads when they start, so the environment of a process says how many. A worker
waits between its turns: repetitions of all peers are interleaved in one run.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool


class WorkerError(RuntimeError):
    """A peer failed in its process: the first line of its error, or that the process ended."""


class Worker:
    """A process with an environment of its own, which calls functions of this module."""

    def __init__(self, environment):
        self.alive, before = True, dict(os.environ)
        ends_by_interrupt = signal.signal, (signal.SIGINT, signal.SIG_DFL)
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, spawn, *ends_by_interrupt)
        os.environ.update(environment)
        try:
            self(time.time)  # starts the process
        finally:
            os.environ.clear()
            os.environ.update(before)

    def __call__(self, function, *arguments):
        """Call a function there and return its result."""
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            self.alive = False
            raise WorkerError("its process ended") from None
        except Exception as error:
            line = str(error).strip().partition("\n")[0]
            raise WorkerError(f"{type(error).__name__}: {line}") from None

    def close(self):
        """End the process; it may still be compiling what a later one will use."""
        self._pool.shutdown()


class Workers(contextlib.ExitStack):
    """The workers of a measurement, by library and environment."""

    def __init__(self):
        super().__init__()
        self._workers = {}

    def get(self, peer, threads, arguments):
        """Return the worker for a peer and a number of threads, started when first needed."""
        environment = peer.environment(threads, arguments)
        key = peer.needs or peer.name, threads, tuple(sorted(environment.items()))
        if key not in self._workers or not self._workers[key].alive:
            self._workers[key] = self.enter_context(contextlib.closing(Worker(environment)))
        return self._workers[key]

    def release(self):
        """Free the memory of all peers."""
        for worker in self._workers.values():
            if worker.alive:
                worker(release)


# ------------------------------------------------ called in the worker

_peers = {}


def prepare(key, peer, workload, threads, arguments):
    """Make a peer of one of the classes of bench.peers; nothing is trained or compiled yet."""
    _peers[key] = peer(workload, threads, **arguments)


def first_steps(key, n, steps):
    return _peers[key].first_steps(n, steps)


def epoch_seconds(key, n, epochs):
    """Train on n images from the initial weights; return the seconds per epoch."""
    peer = _peers[key]
    peer.reset()
    orders = peer.workload.orders(n, epochs)
    start = time.perf_counter()
    peer.train(orders)
    return (time.perf_counter() - start) / epochs


def parameters(key):
    return _peers[key].parameters()


def release(key=None):
    """Free the memory of one peer or of all."""
    for name in [key] if key else list(_peers):
        _peers.pop(name, None)

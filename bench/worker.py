"""A process of its own for a peer family and a number of threads.

Libraries fix their threads when they start, so each pair of (peer, threads) gets a process whose
environment says how many. It waits on a pipe between its turns: repetitions of all contestants
interleave in one run, and whoever is not in turn takes no CPU time, which is measured.
"""

import contextlib
import multiprocessing
import os
import sys
import time
import traceback


class WorkerError(RuntimeError):
    """A peer failed in its process: the last line of its traceback, or how the process ended."""


class Worker:
    """Runs peers in another process, one command at a time."""

    def __init__(self, environment):
        before = dict(os.environ)
        os.environ.update(environment)
        try:
            spawn = multiprocessing.get_context("spawn")
            self._pipe, theirs = spawn.Pipe()
            self._process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def __call__(self, command, *arguments):
        """Run a method of _Contestants there and return its result."""
        try:
            self._pipe.send((command, arguments))
            ok, result = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise WorkerError(f"its process ended with code {self._process.exitcode}") from None
        if not ok:
            raise WorkerError(result)
        return result

    def alive(self):
        return self._process.is_alive()

    def close(self, seconds=5):
        """End the process, after so many seconds by force."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.terminate()


class _Contestants:
    """What a worker holds: peers by key."""

    def __init__(self):
        self.held = {}
        self.ended = None  # CPU time when the last command ended
        self.idle = 0.0

    def prepare(self, key, peer, work, threads, arguments):
        """Make a contestant of a class of peers.py; nothing is trained or compiled yet."""
        self.held[key] = peer(work, threads, **arguments)

    def first_steps(self, key, n, steps):
        return self.held[key].first_steps(n, steps)

    def repeat(self, key, n, epochs):
        """Train on n images from the initial weights; return (seconds, CPU seconds) per epoch."""
        peer = self.held[key]
        peer.reset()
        orders = peer.work.orders(n, epochs)
        cpu, began = time.process_time(), time.perf_counter()
        peer.train(orders)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        return wall / epochs, cpu / epochs

    def parameters(self, key):
        return self.held[key].parameters()

    def forget(self, key=None):
        """Free the memory of one peer or of all."""
        for name in [key] if key else list(self.held):
            self.held.pop(name, None)

    def idle_seconds(self):
        """Return the CPU seconds spent while waiting for a turn."""
        return self.idle


def _serve(pipe):
    contestants = _Contestants()
    while True:
        try:
            command, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            sys.exit()
        if contestants.ended is not None:
            contestants.idle += time.process_time() - contestants.ended
        try:
            reply = True, getattr(contestants, command)(*arguments)
        except Exception as error:
            reply = False, traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        contestants.ended = time.process_time()
        pipe.send(reply)

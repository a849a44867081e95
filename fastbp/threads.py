"""How many threads a call may use, whether two are faster than one, and the team that does it.

Law: no result ever depends on what is decided here.
"""

import functools
import os
import threading
from pathlib import Path

import numpy as np

from fastbp import kernels, vectors

TRIALS = 3  # calls on one thread and on all of them, in turns, before one way is chosen
CLEAR = 1.5  # so many times faster needs no second trial
mode = "auto"  # or "always", "never": for tests and measurements


def usable(threads=None):
    """Return how many threads a call may use: `threads`, or all that this process may run on."""
    available = min(_affinity(), _quota(), kernels.config.NUMBA_NUM_THREADS)
    return max(1, available if threads is None else min(threads, available))


def _affinity():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def _quota(root="/sys/fs/cgroup", own="/proc/self/cgroup"):
    """Return how many processors the control group may keep busy: containers are limited so."""
    least = float("inf")
    try:
        lines = Path(own).read_text().splitlines()
    except OSError:  # no Linux
        return least
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            base, read = Path(root), _quota_2
        elif "cpu" in controllers.split(","):
            base, read = Path(root) / controllers, _quota_1
        else:
            continue
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):  # a limit of any group above holds, too
            least = min(least, read(base.joinpath(*parts[:depth])))
    return least


def _quota_2(folder):
    return _processors(*_words(folder / "cpu.max", 2))


def _quota_1(folder):
    return _processors(*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us"))


def _words(path, count=1):
    """Return the words of a file, "max" for each if there is none such."""
    try:
        words = path.read_text().split()
    except OSError:
        words = []
    return words if len(words) == count else ["max"] * count


def _processors(quota, period):
    try:
        quota, period = int(quota), int(period)
    except ValueError:  # "max"
        return float("inf")
    return max(1, -(-quota // period)) if quota > 0 and period > 0 else float("inf")


# ------------------------------------------------ one thread or all


class Choice:
    """Whether some work is faster on one thread or on all, found out while it is being done.

    What a meeting of threads costs, and what it costs to move the weights between cores, differs
    from machine to machine and with what else is running: so both ways take their turns on the
    work itself, and the faster stays. Nothing is lost by it, since the results are the same.
    """

    def __init__(self):
        self.seconds = {False: [], True: []}  # per sample, serial and parallel

    @property
    def undecided(self):
        serial, parallel = self.seconds.values()
        if mode != "auto" or len(parallel) >= TRIALS:
            return False
        if len(parallel) < len(serial) or not parallel:
            return True
        return max(min(serial), min(parallel)) < CLEAR * min(min(serial), min(parallel))

    @property
    def parallel(self):
        """Tell whether the next call should run on all threads."""
        if mode != "auto":
            return mode == "always"
        serial, parallel = self.seconds.values()
        if self.undecided:
            return len(parallel) < len(serial)
        return min(parallel) < min(serial)

    def note(self, parallel, seconds, samples):
        """Remember how long a call took."""
        if self.undecided:
            self.seconds[parallel].append(seconds / samples)


_choices = {}


def choice(*work):
    """Return this process's Choice for a kind of work: shapes, type, number of threads."""
    return _choices.setdefault(work, Choice())


# ------------------------------------------------ teams


def in_team(shares, function, *arguments):
    """Call function(team, share, shares, *arguments) on `shares` threads at once.

    They may meet (kernels.meet), since each is a thread of the system, and all of them are there
    before any begins. If the system has no more threads, one does it all.
    """
    team = np.zeros(vectors.TEAM, np.int64)
    team[vectors.YIELD] = vectors.yield_address()
    if shares == 1:
        function(team, 0, 1, *arguments)
        return
    gate = threading.Barrier(shares)

    def member(share):
        try:
            gate.wait()
            function(team, share, shares, *arguments)
        except threading.BrokenBarrierError:
            pass
        except BaseException:
            team[vectors.ABANDONED] = 1
            raise

    others = []
    try:
        for share in range(1, shares):
            other = threading.Thread(target=member, args=(share,), daemon=True)
            other.start()
            others.append(other)
        member(0)
    except RuntimeError:
        if len(others) == shares - 1:
            raise
        gate.abort()  # can't start new thread
        function(np.zeros_like(team), 0, 1, *arguments)
    except BaseException:  # Ctrl-C before it had begun: whoever waits must not wait for ever
        gate.abort()
        raise
    finally:
        _join(others)
    if team[vectors.ABANDONED]:
        raise RuntimeError("a thread of the team failed before it began: nothing was done")


def _join(others):
    """Wait for threads, whatever comes in between: they work on arrays that are the caller's."""
    interrupt = None
    for other in others:
        while other.is_alive():
            try:
                other.join()
            except BaseException as error:  # Ctrl-C: later, when no one is at work any more
                interrupt = error
    if interrupt is not None:
        raise interrupt

"""How many threads a call may use, whether all are faster than one, and launches one at a time.

Invariant: no result ever depends on what is decided here.
"""

import collections
import contextlib
import functools
import os
import threading
from pathlib import Path

from fastbp.kernels import jit

TRIALS = 3  # calls on one thread and on all of them, in turns, before one way is chosen
CLEAR = 1.5  # so many times faster needs no second trial
PROBE_SECONDS = 0.01  # how long a trial takes
PROBE_COST = 0.008  # the most that trials may cost, as a share of all time
mode = "auto"  # or "always", "never": for tests and measurements


def usable(threads=None):
    """Return how many threads a call may use: `threads`, or all that this process may run on."""
    available = min(_affinity(), _quota(), jit.config.NUMBA_NUM_THREADS)
    return max(1, min(_default() if threads is None else threads, available))


def processors():
    """Return the numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _affinity():
    return len(processors())


def _default():
    """Return how many threads OMP_NUM_THREADS asks for: dask and batch systems set it."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else float("inf")


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


class Tuner:
    """Whether some work is faster on one thread or on all, found out while it is being done.

    What it costs to launch a parallel region, and to move the weights between cores, differs from
    machine to machine and with what else is running. So both ways take their turns on the work
    itself, and the faster one stays; from time to time the other one is tried again, so seldom that
    it costs PROBE_COST of the time at most. Nothing is lost by it: the results are the same.
    """

    def __init__(self):
        # Seconds per sample of the last calls, serial and parallel.
        self.rates = {
            False: collections.deque(maxlen=TRIALS),
            True: collections.deque(maxlen=TRIALS),
        }
        self.decided = False
        self.since_probe = 0.0  # seconds of work since the other way was last tried

    @property
    def faster(self):
        """Tell whether all threads were faster than one."""
        return min(self.rates[True]) < min(self.rates[False])

    @property
    def probing(self):
        """Tell whether the next call is a trial, which should be short."""
        if mode != "auto":
            return False
        if not self.decided:
            return True
        fast, slow = (min(self.rates[way]) for way in (self.faster, not self.faster))
        loss = PROBE_SECONDS * (1 - fast / slow)
        return self.since_probe * PROBE_COST > loss + PROBE_SECONDS * PROBE_COST

    @property
    def parallel(self):
        """Tell whether the next call should run on all threads."""
        if mode != "auto":
            return mode == "always"
        if not self.decided:
            return len(self.rates[True]) < len(self.rates[False])
        return self.faster is not self.probing

    def note(self, parallel, seconds, samples):
        """Remember how long a call took."""
        if self.decided:
            is_probe = parallel is not self.faster
            self.since_probe = 0.0 if is_probe else self.since_probe + seconds
        self.rates[parallel].append(seconds / samples)
        serial, both = self.rates.values()
        if serial and both:
            fast, slow = sorted((min(serial), min(both)))
            self.decided |= len(both) >= TRIALS or slow > CLEAR * fast


_tuners = {}


def tuner(*work):
    """Return this process's Tuner for a kind of work: shapes, type, number of threads."""
    return _tuners.setdefault(work, Tuner())


# ------------------------------------------------ launches

_in_forked_child = False


def _note_fork():
    global _in_forked_child, _launch_lock
    _in_forked_child, _launch_lock = True, threading.Lock()


def is_forked():
    """Tell whether this process was forked off another one, and may launch nothing."""
    return _in_forked_child


if hasattr(os, "register_at_fork"):  # OpenMP ends a forked child at its first parallel region
    os.register_at_fork(after_in_child=_note_fork)

# Numba's workqueue layer ends the process when two Python threads launch at once; with the others
# there is little to gain, since one launch takes all cores.
_launch_lock = threading.Lock()


@contextlib.contextmanager
def launching(n_threads):
    """Give True, with Numba held at n_threads threads; or False, if this thread may not launch.

    That is so in a forked child, and while another thread of this process has launched.
    """
    lock = _launch_lock
    if n_threads < 2 or _in_forked_child or not lock.acquire(blocking=False):
        yield False
        return
    try:
        before = jit.get_num_threads()
        jit.set_num_threads(n_threads)
        try:
            yield True
        finally:
            jit.set_num_threads(before)
    finally:
        lock.release()

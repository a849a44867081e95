"""Forks and exits of a process in which a thread compiles: they neither hang nor crash."""

import atexit
import functools
import os
import threading
import time

from llvmlite.binding import ffi
from numba.core.compiler_lock import global_compiler_lock

# A lock that another thread holds during a fork is never released in the child, whose first
# compilation would wait for ever. So both are taken before a fork; functions that are registered
# to run before it run in reverse order: Numba's lock is taken first, as in a compilation.
if hasattr(os, "register_at_fork"):
    for _lock in (ffi.lib._lock, global_compiler_lock):
        _release = functools.partial(_lock.__exit__, None, None, None)
        os.register_at_fork(
            before=_lock.__enter__, after_in_parent=_release, after_in_child=_release
        )


class CompilingThread(threading.Thread):
    """A daemon thread that compiles: the interpreter's exit does not wait for the end of it.

    seconds: how long it took; error: what it raised, or None.
    """

    def __init__(self, function, *arguments, **options):
        super().__init__(daemon=True)
        self._work = functools.partial(function, *arguments, **options)
        self.seconds, self.error = 0.0, None

    def run(self):
        began = time.perf_counter()
        try:
            self._work()
        except BaseException as error:  # for those who wait for it
            self.error = error
        self.seconds = time.perf_counter() - began


@atexit.register
def _stop_compiling():
    """Take LLVM's lock for good, so that no thread is in LLVM while its library is taken down.

    That crashes the process. A call into LLVM that is under way is waited for, some 0.1 s; before
    its next one the thread waits for this lock, and ends with the process.
    """
    if any(isinstance(thread, CompilingThread) for thread in threading.enumerate()):
        ffi.lib._lock.__enter__()

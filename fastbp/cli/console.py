"""What all commands share: lines on standard error, signals, compiling in the background."""

import contextlib
import signal
import sys
import threading

from fastbp.kernels.processes import CompilingThread
from fastbp.training import signals


def log(text):
    """Write a line to standard error, if it is open."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"fastbp: {text}", file=sys.stderr, flush=True)


class Terminated(BaseException):
    """The process has received SIGTERM or SIGHUP."""


def _terminate(number, frame):
    raise Terminated


@contextlib.contextmanager
def handle_signals():
    """Raise Terminated for SIGTERM and SIGHUP during the block, unless they are ignored."""
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in signals.NUMBERS[1:]:
            if signal.getsignal(number) == signal.SIG_DFL:
                previous[number] = signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class BackgroundCompilation(CompilingThread):
    """A thread that is started at once and calls a function that compiles."""

    logged = False

    def __init__(self, function, *arguments, **options):
        super().__init__(function, *arguments, **options)
        self.start()

    def wait(self):
        """Wait for the end and return self; log a line if that takes more than a second."""
        self.join(1.0)
        if self.is_alive() and not BackgroundCompilation.logged:
            log("compiling (only the first time on a machine; then it is read from a cache) ...")
            BackgroundCompilation.logged = True
        self.join()
        if self.error is not None:
            raise self.error
        return self

"""What all commands share: lines on standard error, signals that end them, compiling meanwhile."""

import contextlib
import signal
import sys
import threading

from fastbp.kernels.processes import CompilingThread
from fastbp.training import signals


def say(text):
    """Write a line to standard error, if there is one that takes it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"fastbp: {text}", file=sys.stderr, flush=True)


class Terminated(BaseException):
    """SIGTERM has come."""


def _terminate(number, frame):
    raise Terminated


@contextlib.contextmanager
def handle_signals():
    """Have SIGTERM, and SIGHUP unless it is ignored, raise Terminated meanwhile."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in signals.NUMBERS[1:]:
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Compiling(CompilingThread):
    """Calls a function that compiles, at once, on a thread of its own."""

    said = False

    def __init__(self, function, *arguments, **options):
        super().__init__(function, *arguments, **options)
        self.start()

    def wait(self):
        """Wait for the end; say what is going on, once, if that takes more than a second."""
        self.join(1.0)
        if self.is_alive() and not Compiling.said:
            say("compiling (only the first time on a machine; then it is read from a cache) ...")
            Compiling.said = True
        self.join()
        if self.error is not None:
            raise self.error
        return self

"""Signals that wait for a moment that suits: a run is interrupted between mini-batches only.

Law: only while a run asks for it, only in the main thread, and whatever handled a signal before
handles it in the end. Whoever asks a second time does not wait.
"""

import contextlib
import signal
import threading

_current = None  # the Held of the main thread


class Held:
    """A context in which Ctrl-C and SIGTERM wait for deliver(), or for open().

    SIGTERM, too, only if someone handles it in Python. pending: one is waiting. delivered: an
    exception that is under way comes from a handler, called at a moment that suits.
    """

    def __init__(self):
        self.pending, self.delivered = None, False
        self._open, self._before, self._outer = False, {}, None

    def __enter__(self):
        global _current
        if threading.current_thread() is threading.main_thread():
            try:
                for number in (signal.SIGINT, signal.SIGTERM):
                    handler = signal.getsignal(number)
                    if callable(handler):
                        signal.signal(number, self._note)
                        self._before[number] = handler
            except ValueError:  # not the main interpreter: no signal ever comes here
                pass
            self._outer, _current = _current, self
        return self

    def __exit__(self, *error):
        global _current
        if _current is self:
            _current = self._outer
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.deliver()

    def _note(self, number, frame):
        asked_twice, self.pending = self.pending is not None, (number, frame)
        if self._open:
            self.deliver()
        elif asked_twice:
            self.pending = None
            self._before[number](number, frame)

    def deliver(self):
        """Hand what is waiting, if anything is, to the handler that was there before."""
        if self.pending is not None:
            (number, frame), self.pending = self.pending, None
            self.delivered = True
            self._before[number](number, frame)
            self.delivered = False


@contextlib.contextmanager
def welcome():
    """Let signals through at once meanwhile: compiling and evaluating may end anywhere."""
    held = _current if threading.current_thread() is threading.main_thread() else None
    if held is None or held._open:
        yield
        return
    held._open = True
    try:
        held.deliver()
        yield
    finally:
        held._open = False

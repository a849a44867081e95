"""Signals that wait for a moment that suits: a run is interrupted between mini-batches only.

Law: only while a run asks for it, only in the main thread, and whatever handled a signal before
handles it in the end. Whoever asks a second time does not wait.
"""

import contextlib
import os
import signal
import threading

NUMBERS = signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])
_current = None  # the Held of the main thread


class Held:
    """A context in which Ctrl-C and SIGTERM wait for deliver(), or for welcome().

    SIGTERM and SIGHUP, too, only if someone handles them in Python. pending: those that wait, by
    number. delivered: an exception that is under way comes from a handler, called at a moment that
    suits.
    """

    def __init__(self):
        self.pending, self.delivered = {}, False
        self._open = self._closed = False
        self._before, self._outer = {}, None

    def __enter__(self):
        global _current
        if threading.current_thread() is threading.main_thread():
            try:
                for number in NUMBERS:
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
        self.restore()
        self.deliver()

    def restore(self):
        """Put the handlers back, unless somebody has set others meanwhile."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)

    def _note(self, number, frame):
        asked_twice = number in self.pending
        self.pending[number] = frame
        if self._open and not self._closed:
            self.deliver()
        elif asked_twice:
            del self.pending[number]
            self._before[number](number, frame)

    def deliver(self):
        """Hand what is waiting, if anything is, to the handlers that were there before."""
        while self.pending:
            number = next(iter(self.pending))
            frame = self.pending.pop(number)
            self.delivered = True
            self._before[number](number, frame)
        self.delivered = False

    @contextlib.contextmanager
    def closed(self):
        """Let no signal through meanwhile, welcome or not: somebody's own step is half done."""
        before, self._closed = self._closed, True
        try:
            yield
        finally:
            self._closed = before


@contextlib.contextmanager
def welcome():
    """Let signals through at once meanwhile: compiling and evaluating may end anywhere."""
    held = _current if threading.current_thread() is threading.main_thread() else None
    if held is None or held._open or held._closed:
        yield
        return
    held._open = True
    try:
        held.deliver()
        yield
        held.delivered = False  # if one was, somebody has caught what it raised
    finally:
        held._open = False


def _let_go():
    """In a forked child nobody will deliver anything."""
    global _current
    while _current is not None:
        _current.restore()
        _current = _current._outer


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

"""Signals that are deferred: a run is interrupted between two mini-batches only.

Invariants: only during a run, and only in the main thread; each signal is handled in the end by the
handler that was there before; a second signal of the same number is handled at once.
"""

import contextlib
import os
import signal
import threading

NUMBERS = signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])
_current = None  # the DeferredSignals of the main thread


class DeferredSignals:
    """A context in which Ctrl-C and SIGTERM wait for deliver(), or for allow_signals().

    SIGTERM and SIGHUP only if there is a handler in Python. pending: the deferred signals, by
    number. delivered: True while an exception is under way that a handler has raised in deliver().
    """

    def __init__(self):
        self.pending, self.delivered = {}, False
        self._allowed = self._blocked = False
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
        """Put the handlers back, unless others have been set meanwhile."""
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)

    def _note(self, number, frame):
        is_second = number in self.pending
        self.pending[number] = frame
        if self._allowed and not self._blocked:
            self.deliver()
        elif is_second:
            del self.pending[number]
            self._before[number](number, frame)

    def add(self, numbers):
        """Note signals that other processes have received, as if they had come here."""
        for number in numbers:
            if number in self._before:
                self.pending.setdefault(number, None)

    def deliver(self, numbers=NUMBERS):
        """Call the handlers that were there before for what is pending, if it is of `numbers`."""
        while ready := [number for number in self.pending if number in numbers]:
            number = ready[0]
            frame = self.pending.pop(number)
            self.delivered = True
            self._before[number](number, frame)
        self.delivered = False

    @contextlib.contextmanager
    def blocked(self):
        """Defer signals meanwhile, allowed or not: a step of an overridden method is half done."""
        before, self._blocked = self._blocked, True
        try:
            yield
        finally:
            self._blocked = before


@contextlib.contextmanager
def allow_signals():
    """Handle signals at once meanwhile: compiling and evaluating may end anywhere."""
    deferred = _current if threading.current_thread() is threading.main_thread() else None
    if deferred is None or deferred._allowed or deferred._blocked:
        yield
        return
    deferred._allowed = True
    try:
        deferred.deliver()
        yield
        deferred.delivered = False  # if one was, what its handler raised has been caught
    finally:
        deferred._allowed = False


def _restore_all():
    """Put the handlers back in a forked child, where no run goes on."""
    global _current
    while _current is not None:
        _current.restore()
        _current = _current._outer


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restore_all)

"""A function of the epoch that is called on a thread, while the epoch before trains.

Invariants: at most one call is under way, and at most one epoch ahead; what a call raises is raised
where its result is taken. No two calls of the same function of the user's are under way, not even
of two runs: one that was interrupted leaves a call behind, which may still fill its arrays.
"""

import contextvars
import threading

from fastbp.training import signals

POLL_SECONDS = 0.1  # how often a thread that waits looks for signals: not all joins see them

_under_way: list["_Call"] = []  # of all runs
_lock = threading.Lock()


class EpochPrefetcher:
    """Calls function(epoch) on a thread, for the epochs below `epochs`.

    users: the function of the user's that it calls, or None. The interpreter's exit does not wait
    for such a function, which may never return; it waits for one of fastbp's alone, whose compiled
    code must not run while libraries are taken down.
    """

    def __init__(self, function, epochs, users=None):
        self.function, self.epochs = function, epochs
        self.users, self.call = users, None

    def prefetch(self, epoch):
        """Begin with the call for an epoch, if the run has it and it is not under way."""
        if epoch < self.epochs:
            self._start(epoch)

    def _start(self, epoch):
        if self.call is None or self.call.epoch != epoch:
            self.call = _Call(self.function, epoch, self.users)
            try:
                self.call.start()
            except RuntimeError:  # the system has no more threads
                self.call.run()

    def result(self, epoch):
        """Return what the function returns for an epoch, or raise what it raises."""
        self._start(epoch)
        with signals.allow_signals():
            self.call.wait()
        call, self.call = self.call, None
        if call.error is not None:
            call.error.add_note(f"while the training data of epoch {epoch} were made")
            raise call.error
        return call.value

    def wait(self):
        """Wait for the end of a call whose result nobody takes."""
        if self.call is not None:
            with signals.allow_signals():
                self.call.wait()
            self.call = None


class _Call(threading.Thread):
    """A thread that calls function(epoch), after the calls of the same function of the user's."""

    def __init__(self, function, epoch, users):
        super().__init__(name=f"fastbp data of epoch {epoch}", daemon=users is not None)
        self.function, self.epoch, self.users = function, epoch, users
        self.value, self.error, self.earlier = None, None, []
        self.context = contextvars.copy_context()  # the group of processes, NumPy's errstate

    def start(self):
        with _lock:
            if self.users is not None:
                self.earlier = [call for call in _under_way if call.users == self.users]
            _under_way.append(self)
            super().start()  # within the lock: a thread that has not started cannot be waited for

    def run(self):
        try:
            while self.earlier:
                self.earlier.pop().join()
            self.value = self.context.run(self.function, self.epoch)
        except BaseException as error:  # for the one who takes the result
            self.error = error
        finally:
            with _lock:
                _under_way.remove(self)

    def wait(self):
        while self.is_alive():
            self.join(POLL_SECONDS)

"""A function of the epoch that is called on a thread, while the epoch before trains.

Invariants: at most one call is under way, and at most one epoch ahead; what a call raises is raised
where its result is taken.
"""

import contextvars
import threading

from fastbp.training import signals

POLL_SECONDS = 0.1  # how often a thread that waits looks for signals: not all joins see them


class EpochPrefetcher:
    """Calls function(epoch) on a thread, for the epochs below `epochs`.

    is_user_code: the interpreter's exit does not wait for a function of the user's, which may never
    return; it waits for one of fastbp's, whose compiled code must not run while libraries are taken
    down.
    """

    def __init__(self, function, epochs, is_user_code):
        self.function, self.epochs = function, epochs
        self.is_user_code, self.call = is_user_code, None

    def prefetch(self, epoch):
        """Begin with the call for an epoch, if the run has it and it is not under way."""
        if epoch < self.epochs:
            self._start(epoch)

    def _start(self, epoch):
        if self.call is None or self.call.epoch != epoch:
            self.call = _Call(self.function, epoch, daemon=self.is_user_code)
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
    """A thread that calls function(epoch)."""

    def __init__(self, function, epoch, daemon):
        super().__init__(name=f"fastbp data of epoch {epoch}", daemon=daemon)
        self.function, self.epoch, self.value, self.error = function, epoch, None, None
        self.context = contextvars.copy_context()  # the group of processes, NumPy's errstate

    def run(self):
        try:
            self.value = self.context.run(self.function, self.epoch)
        except BaseException as error:  # for the one who takes the result
            self.error = error

    def wait(self):
        while self.is_alive():
            self.join(POLL_SECONDS)

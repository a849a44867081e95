"""The processes that train one network together: this one alone, unless others have joined.

Invariant: what a run decides (the order of samples, whether it ends, what was measured) comes from
the root, rank 0, so that all ranks decide the same.
"""

import contextlib
import contextvars

from fastbp.training.compute import engine


class SingleProcess:
    """A group of one process; distributed.ranks.Ranks has the same methods for several."""

    rank, size = 0, 1
    chunks, own_chunks = 1, (0, 1)  # of a mini-batch; those of this process: (first, last)
    config = {"chunks": None, "average_every": None}  # what must be the same in a resumed run

    def note_epoch_size(self, n):
        """Note that a run begins whose epochs are of n samples."""

    def descent(self, *arguments):
        """Return the descent of a call: engine.Descent, or one like it on several processes."""
        return engine.Descent(*arguments)

    def from_root(self, function):
        """Return what function() returns on the root, which alone calls it, or raise its error."""
        return function()

    def together(self, function):
        """Return what function() returns on this rank; raise on all ranks if it raises on one."""
        return function()

    def any(self, flag):
        """Tell whether the flag is true on any rank."""
        return flag

    def check_same(self, config):
        """Raise ValueError on all ranks unless config is the same on all of them."""

    def agree_on_signals(self, deferred):
        """Return the numbers of the signals that all ranks deliver now, from DeferredSignals."""
        return deferred.pending

    def await_failures(self, error):
        """Wait until all ranks have an error, as this one has; end the job if one has none."""


ALONE = SingleProcess()
_current = contextvars.ContextVar("group", default=ALONE)


def current():
    """Return the group in which runs train that begin now."""
    return _current.get()


@contextlib.contextmanager
def joined(group):
    """Within this context runs train in a group of processes."""
    token = _current.set(group)
    try:
        yield group
    finally:
        _current.reset(token)

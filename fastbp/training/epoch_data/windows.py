"""Samples that are trained on window by window, the next one read meanwhile by a thread.

Invariant: the window that is trained on and the one that is being read have buffers of their own.
"""

from concurrent.futures import CancelledError, wait

import numpy as np

from fastbp.data.datasets import one_hot
from fastbp.data.file_rows import FileRows
from fastbp.data.pixels import Pixels
from fastbp.data.read_ahead import ReadAhead
from fastbp.kernels import layout
from fastbp.training import signals
from fastbp.training.compute.samples import Samples

AHEAD = 8  # so many blocks are asked for before they are read


class Windows:
    """The samples of a BlockOrder, a window at a time.

    X: FileRows, an array (n, n_in) or Pixels; Y: labels (n,), or targets (n, n_out), an array or
    FileRows; n_out, dtype: of the network; deform(first, X, Y): changes the rows from number
    `first` of all on in place, or None; chunks: (first, last) of the order's, whose samples are
    read. A context: the thread ends with it.
    """

    def __init__(self, X, Y, n_out, dtype, name, deform=None, chunks=(0, 1)):
        self.X, self.Y, self.n_out, self.dtype, self.name = X, Y, n_out, dtype, name
        self.deform, self.chunks = deform, chunks
        self.current = self.coming = None  # (key, w, Samples, order); (key, w, future)
        self.buffers, self.reader, self.ended = [], None, False

    def __enter__(self):
        self.reader, self.ended = ReadAhead().__enter__(), False
        return self

    def __exit__(self, *error):
        self.ended = True
        self.reader.__exit__(*error)
        self.current = self.coming = None
        self.buffers.clear()

    def window(self, order, w):
        """Return (Samples, their order (size,)) of window w of an order.

        Raises ReadError, and then has changed nothing. While it waits signals are handled at once.
        """
        if self.current is None or self.current[:2] != (order.key, w):
            if self.coming is None or self.coming[:2] != (order.key, w):
                self._begin_reading(order, w)
            _, _, future = self.coming
            self.coming = None
            with signals.allow_signals():
                found = future.result()
            self.current = order.key, w, *found
            self.buffers.reverse()  # the first is free again
            if w + 1 < order.n_windows:
                self._begin_reading(order, w + 1)
        return self.current[2:]

    def _begin_reading(self, order, w):
        """Have window w read into the buffer that is free."""
        if self.coming is not None:  # of an epoch that has ended
            wait([self.coming[2]])
        if not self.buffers:
            self.buffers = [self._new_buffer(min(order.window, order.n)) for _ in range(2)]
        self.coming = order.key, w, self.reader.submit(self.read, self.buffers[0], order, w)

    def _new_buffer(self, n):
        """Return arrays for the inputs and the targets of n samples."""
        X = np.zeros((n, self.X.shape[1]), self.X.dtype)  # rows of other processes stay untouched
        return X, layout.zeros(n * self.n_out, self.dtype).reshape(n, self.n_out)

    def read(self, buffer, order, w):
        """Read window w into a buffer; return what `window` does."""
        n = order.size_of(w)
        X, Y = (array[:n] for array in buffer)
        mine = order.rows_of(w, self.chunks)
        start, pieces = mine[0], order.pieces(w, mine)
        for i, (first, count) in enumerate(pieces):
            if self.ended:  # nobody waits for it, but for the end of the thread
                raise CancelledError
            self._prefetch(pieces[i + AHEAD : i + AHEAD + 1] if i else pieces[: AHEAD + 1])
            rows, source = slice(start, start + count), slice(first, first + count)
            _copy(X[rows], _stored(self.X)[source])
            _copy(Y[rows], self._targets(source))
            if self.deform is not None:
                self.deform(first, X[rows], Y[rows])
            start += count
        scale = self.X.scale if isinstance(self.X, (Pixels, FileRows)) else None
        inputs = X if scale is None else Pixels(X, scale)
        return Samples(inputs, Y, self.name, slice(*mine)), order.within(w)

    def _prefetch(self, pieces):
        """Have the inputs of pieces read from the disk: several at a time are faster than one."""
        if isinstance(self.X, FileRows):
            for first, count in pieces:
                self.X[first : first + count].prefetch()

    def _targets(self, rows):
        """Return the targets of some rows, FileRows if they are in a file."""
        part = self.Y[rows]
        return part if self.Y.ndim == 2 else one_hot(part, self.n_out, self.dtype)


def _stored(X):
    return X.array if isinstance(X, Pixels) else X


def _copy(out, rows):
    """Copy rows of an array or of a file into an array, which may be of another type."""
    if not isinstance(rows, FileRows):
        with np.errstate(all="ignore"):
            out[...] = rows
    elif rows.dtype == out.dtype:
        rows.read_into(out)
    else:
        _copy(out, rows.read())

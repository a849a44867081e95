"""What a run trains on: samples for the kernels, or pairs for the network's own methods.

Invariant: a list that the caller passes is shuffled in place before each epoch, as in the book.
"""

import math

from fastbp.data import containers, datasets, file_rows, messages, numeric_arrays
from fastbp.training.orders import BlockOrder, BookOrder
from fastbp.training.samples import Samples
from fastbp.training.windows import Windows


class TrainingSet:
    """The training data of a run.

    samples: for the kernels, or None; windows: these, a window at a time, or None; pairs: for the
    reference path, or None; arrays: (X, Y), or None where overridden methods take data of their
    own; n: how many samples. settings: RunSettings; own_data: whether data may be of any kind, so
    that no arrays are made. A context, in which the windows are read.
    """

    def __init__(self, data, net, reference, settings, own_data=False):
        self.net, self.reference, self.own_data = net, reference, own_data
        self.settings, self.windows = settings, None
        self.callers_list = data if isinstance(data, list) else None
        self.was_replaced = False  # the caller's list holds other pairs than at the beginning
        self._read(data)

    def _read(self, data):
        net, self.samples, self.pairs, self.arrays = self.net, None, None, None
        streams = self._check_streams(data)
        if not self.own_data:
            X, Y = datasets.training_arrays(data, net._plan, net.dtype, streams=streams)
            self.arrays = X, Y
            if self.reference:
                numeric_arrays.check_finite_samples(X, Y, net.dtype, "training_data")
            elif streams == "always" or isinstance(X, file_rows.FileRows):
                self.windows = Windows(X, Y, net._plan.sizes[-1], net.dtype, "training_data")
            else:
                self.samples = Samples(X, Y, "training_data")
        if self.reference:
            self.pairs = datasets.training_pairs(data, net._plan, net.dtype)
        self.n = len(self.pairs if self.reference else self.arrays[0])

    def _check_streams(self, data):
        """Return which data are read in windows, or raise ValueError for what cannot be."""
        streams, has_arrays = self.settings.streams, containers.is_array_form(data)
        if self.reference and streams == "auto":
            if has_arrays:
                self._check_in_memory(data[0])
            return None
        if streams == "always" and (self.reference or not has_arrays):
            why = f"training_data is a {type(data).__name__} of pairs"
            if self.reference:
                why = "a method, the cost or the sigmoid is overridden"
            raise ValueError(
                f"shuffle is 'blocks', expected 'book' or None where {why}; 'blocks' goes with "
                f"arrays (X, Y) and the compiled path"
            )
        return streams

    def _check_in_memory(self, X):
        """Raise ValueError for data that pairs would be made of, and that do not fit in memory."""
        rows = file_rows.streamed_rows(X, "auto", "training_data")
        if rows is not None:
            path = messages.shorten(rows.file.path)
            raise ValueError(
                f"training_data: X has {rows.nbytes:,} bytes in {path}, more "
                f"than the free memory, and a method, the cost or the sigmoid is overridden: that "
                f"path has all samples in memory; take fewer, (X[:n], Y[:n])"
            )

    def __enter__(self):
        return self if self.windows is None else self.windows.__enter__()

    def __exit__(self, *error):
        if self.windows is not None:
            self.windows.__exit__(*error)

    def new_order(self):
        """Return an order of the samples, before its first shuffle."""
        if self.windows is None:
            return BookOrder(self.n)
        X = self.arrays[0]
        row_bytes = math.prod(X.shape[1:]) * X.dtype.itemsize
        return BlockOrder(self.n, row_bytes, self.settings.mini_batch_size)

    def config(self, order):
        """Return what must be the same when the run is resumed, a dictionary for JSON."""
        if self.windows is None:
            return {"shuffle": "book"}
        return {"shuffle": f"blocks of {order.block}, windows of {order.window}"}

    def part(self, order, start, end):
        """Return (Samples, the order of those from `start` on, number of the window).

        They are up to `end`, or to the end of the window; without windows the number is 0.
        """
        if self.windows is None:
            return self.samples, order.samples[start:end], 0
        w = start // order.window
        samples, within = self.windows.window(order, w)
        first = w * order.window
        return samples, within[start - first : end - first], w

    def start(self):
        """Note the caller's pairs in the order in which they are given."""
        self.given = None if self.callers_list is None else list(self.callers_list)

    def shuffle_list(self, order):
        """Bring the caller's list into the order of an epoch."""
        if self.callers_list is not None:
            self.callers_list[:] = [self.given[i] for i in order.samples.tolist()]

    def restore_list(self):
        """Bring the caller's list into the order in which it was given."""
        if self.callers_list is not None:
            self.callers_list[:] = self.given

    def read_again(self, order):
        """Read the caller's list anew: overridden methods may have changed it, or its pairs.

        order: the one that it was brought into. Returns whether it holds other pairs now.
        """
        if self.callers_list is None:
            return False
        theirs = self.callers_list
        changed = len(self.given) != len(theirs) or any(
            self.given[i] is not pair for i, pair in zip(order.samples.tolist(), theirs)
        )
        if changed:
            self.given, self.was_replaced = list(theirs), True
        self._read(self.given)
        return changed

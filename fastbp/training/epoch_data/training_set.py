"""What a run trains on: samples for the kernels, or pairs for the network's own methods.

Invariants: a list that the caller passes is shuffled in place before each epoch, as in the book.
Data that are new in each epoch are read and checked before any weight of that epoch changes, and
stand in the order of the epoch: equal data in all epochs give the bits of data that are passed.
"""

import math
from typing import NamedTuple

import numpy as np

from fastbp.data import containers, datasets, file_rows, messages, numeric_arrays
from fastbp.data.pixels import Pixels
from fastbp.training import checkpoint, group
from fastbp.training.compute import engine
from fastbp.training.compute.samples import NonFiniteInput, Samples
from fastbp.training.epoch_data.callers_list import CallersList
from fastbp.training.epoch_data.new_data import labels_of
from fastbp.training.epoch_data.orders import BlockOrder, BookOrder
from fastbp.training.epoch_data.prefetcher import EpochPrefetcher
from fastbp.training.epoch_data.windows import Windows


class Loaded(NamedTuple):
    """Training data of an epoch.

    data: in one of the forms that materialise returns; given: (X, Y) before they were deformed, or
    None where overridden methods take data of their own; arrays: after it, but with windows, whose
    images are deformed as they are read; samples: for the
    kernels, or None; windows: these, a window at a time, or None; pairs: for the reference path, or
    None.
    """

    data: object
    given: tuple | None
    arrays: tuple | None
    samples: object
    windows: object
    pairs: list | None


class TrainingSet:
    """The training data of a run.

    data: what was passed to SGD; settings: RunSettings; own_data: whether they may be of any kind,
    so that no arrays are made; new_data: NewData, or None if they are the same in each epoch. The
    fields of Loaded are attributes. callers_list: CallersList; n: how many samples; name: what
    errors call the data; epoch: whose data they are, None for those of all. A context, in which
    windows are read.
    """

    def __init__(self, data, net, reference, settings, own_data=False, new_data=None):
        self.net, self.reference, self.own_data = net, reference, own_data
        self.settings = settings
        self.new_data, self.epoch, self.name = new_data, None, "training_data"
        self.is_fixed = new_data is None or new_data.function is None
        self.fixed = containers.materialise(data, self.name) if self.is_fixed else None
        is_list = isinstance(self.fixed, list)
        self.callers_list = CallersList(self.fixed if is_list else None)
        if is_list and self.deforms:  # pairs are made arrays once, not in each epoch
            streams = self._check_streams(self.fixed)
            self.fixed = self._check_arrays(self.fixed, streams, self.name)
        if new_data is None:
            self._use(self._load(None))
            self.prefetcher = None
        else:
            self.prefetcher = EpochPrefetcher(self._load, new_data.epochs, new_data.function)
            self._use(self.prefetcher.result(new_data.first), new_data.first)
        if self.windows is not None:
            self.prefetcher = None  # images are deformed as their window is read
        self.n = self._count(self)

    def __enter__(self):
        if self.windows is not None:
            self.windows.__enter__()
        return self

    def __exit__(self, *error):
        self.prefetcher = None  # its method is this object's: else both would stay for a while
        if self.windows is not None:
            self.windows.__exit__(*error)

    def _count(self, loaded):
        """Return how many samples a Loaded has, or this set, which has its fields."""
        return len(loaded.pairs if self.reference else loaded.arrays[0])

    def _load(self, epoch):
        """Return the Loaded of an epoch; None: of all. May run on a thread of its own."""
        name, data = self._name_of(epoch), self.fixed
        if not self.is_fixed:
            data = containers.materialise(self.new_data.function(epoch), name)
        streams = self._check_streams(data)
        if self.own_data and not self.deforms:
            return Loaded(data, None, None, None, None, self._make_pairs(data, name))
        given = self._check_arrays(data, streams, name)
        if not self.is_fixed and not self.reference:  # the function may refill its arrays
            data = given = tuple(map(_copy, given))
        is_file = isinstance(given[0], file_rows.FileRows)
        if not self.reference and (streams == "always" or is_file):
            return Loaded(data, given, given, None, self._open_windows(given), None)
        arrays = given
        if self.deforms:
            X, Y = given
            data = arrays = self.new_data.deform(X, labels_of(Y), epoch), Y
        if self.reference:
            return Loaded(data, given, arrays, None, None, self._make_pairs(data, name))
        return Loaded(data, given, arrays, Samples(*arrays, "training_data"), None, None)

    @property
    def deforms(self):
        """Tell whether images are deformed anew in each epoch."""
        return self.new_data is not None and self.new_data.deformation is not None

    def _check_arrays(self, data, streams, name):
        """Return data as arrays (X, Y), or raise for what they cannot be."""
        net = self.net
        given = datasets.training_arrays(data, net._plan, net.dtype, name, streams=streams)
        if self.reference or not self.is_fixed:
            numeric_arrays.check_finite_samples(*given, net.dtype, name)
        return given

    def _open_windows(self, given):
        """Return the Windows of arrays (X, Y), which are read a window at a time."""
        deform, chunks = self._deform_rows if self.deforms else None, group.current().own_chunks
        n_out, dtype = self.net._plan.sizes[-1], self.net.dtype
        return Windows(*given, n_out, dtype, "training_data", deform, chunks)

    def _make_pairs(self, data, name):
        return datasets.training_pairs(data, self.net._plan, self.net.dtype, name)

    def _name_of(self, epoch):
        return "training_data" if self.is_fixed else f"training_data({epoch})"

    def _use(self, loaded, epoch=None):
        self.epoch, self.name, self._fingerprint = epoch, self._name_of(epoch), None
        self.data, self.given, self.arrays, self.samples, self.windows, self.pairs = loaded

    # ------------------------------------------------ windows

    def _check_streams(self, data):
        """Return which data are read in windows, or raise ValueError for what cannot be."""
        streams = self.settings.streams
        has_arrays = self.is_fixed and containers.is_array_form(data)
        if self.reference and streams == "auto":
            if has_arrays:
                self._check_in_memory(data[0])
            return None
        if streams == "always" and (self.reference or not has_arrays):
            why = f"training_data is a {type(data).__name__} of pairs"
            if not self.is_fixed:
                why = "training_data is a function of the epoch"
            if self.reference:
                why = "a method, the cost or the sigmoid is overridden"
            raise ValueError(
                f"shuffle is 'blocks', expected 'book' or None where {why}; 'blocks' goes with "
                f"arrays (X, Y) and the compiled path"
            )
        return streams if self.is_fixed else None

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

    def new_order(self):
        """Return an order of the samples, before its first shuffle."""
        if self.windows is None:
            return BookOrder(self.n)
        X = self.arrays[0]
        row_bytes = math.prod(X.shape[1:]) * X.dtype.itemsize
        chunks = group.current().chunks
        return BlockOrder(self.n, row_bytes, self.settings.mini_batch_size, chunks)

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

    def _deform_rows(self, first, X, Y):
        """Deform rows X of inputs, from number `first` on, in place; Y: their targets."""
        new = self.new_data
        try:
            X[...] = new.deformation.apply_from(
                first, X, labels_of(Y), new.seed, self.epoch, threads=new.threads
            )
        except ValueError:
            if not np.isfinite(X).all():
                raise NonFiniteInput from None  # the run finds out which sample it is
            raise

    # ------------------------------------------------ new data in each epoch

    def start_epoch(self, epoch):
        """Use the data of an epoch; return whether they are others than before.

        Raises what the function of the epoch raises, and ValueError for another number of samples.
        """
        if self.prefetcher is None or epoch == self.epoch:
            self.epoch = None if self.new_data is None else epoch
            return False
        loaded = self.prefetcher.result(epoch)
        n = self._count(loaded)
        if n != self.n:
            raise ValueError(
                f"{self._name_of(epoch)} has {n} samples, expected {self.n}, as in the epochs "
                f"before: the order of the samples, and what lmbda is divided by, go on"
            )
        self._use(loaded, epoch)
        return True

    def prefetch(self, epoch):
        """Begin to make the data of an epoch on a thread, if there are new ones in each.

        Not where it has to wait: the reference path trains on the very arrays that a function
        returns. Nor where there is nothing to gain: training uses all processors, and so do
        deformations, which between two epochs do not disturb it.
        """
        if self.prefetcher is None or (self.reference and not self.is_fixed):
            return
        if self.is_fixed and not self.reference and self._uses_all_processors():
            return
        self.prefetcher.prefetch(epoch)

    def _uses_all_processors(self):
        net, m = self.net, min(self.settings.mini_batch_size, self.n)
        return engine.uses_all_processors(net._plan, m, net.dtype, net.threads)

    def wait_for_prefetch(self):
        """Wait for data that are being made and that nobody needs."""
        if self.prefetcher is not None:
            self.prefetcher.wait()

    @property
    def deformation(self):
        """Return the text that describes how images are deformed, or None."""
        return repr(self.new_data.deformation) if self.deforms else None

    def fingerprint(self):
        """Return what tells the data of this epoch from others, before they were deformed."""
        if self._fingerprint is None:
            self._fingerprint = checkpoint.fingerprint(*self.given)
        return self._fingerprint

    def read_again(self, order):
        """Read the caller's list anew: overridden methods may have changed it, or its pairs.

        order: the one that it was brought into. Returns whether it holds other pairs now. Lists
        whose images are deformed are read once.
        """
        if self.callers_list.pairs is None or self.new_data is not None:
            return False
        changed = self.callers_list.note_changes(order)
        self.fixed = self.callers_list.given
        self._use(self._load(None))
        self.n = self._count(self)
        return changed


def _copy(rows):
    """Return a copy of an array or of Pixels."""
    return Pixels(rows.array.copy(), rows.scale) if isinstance(rows, Pixels) else rows.copy()

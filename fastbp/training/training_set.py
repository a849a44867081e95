"""What a run trains on: samples for the kernels, or pairs for the network's own methods.

Invariants: a list that the caller passes is shuffled in place before each epoch, as in the book.
Data that are new in each epoch are read and checked before any weight of that epoch changes, and
stand in the order of the epoch: equal data in all epochs give the bits of data that are passed.
"""

from typing import NamedTuple

from fastbp.data import containers, datasets, numeric_arrays
from fastbp.training import checkpoint
from fastbp.training.ahead import Ahead
from fastbp.training.new_data import labels_of
from fastbp.training.samples import Samples


class Loaded(NamedTuple):
    """Training data of an epoch.

    data: in one of the forms that materialise returns; given: (X, Y) before they were deformed, or
    None where overridden methods take data of their own; arrays: after it; samples: for the
    kernels, or None; pairs: for the reference path, or None.
    """

    data: object
    given: tuple | None
    arrays: tuple | None
    samples: object
    pairs: list | None


class TrainingSet:
    """The training data of a run.

    data: what was passed to SGD; own_data: whether they may be of any kind, so that no arrays are
    made; new_data: NewData, or None if they are the same in each epoch. The fields of Loaded are
    attributes. n: how many samples; name: what errors call the data; epoch: whose data they are,
    None for those of all.
    """

    def __init__(self, data, net, reference, own_data=False, new_data=None):
        self.net, self.reference, self.own_data = net, reference, own_data
        self.new_data, self.epoch, self.name = new_data, None, "training_data"
        self.was_replaced = False  # the caller's list holds other pairs than at the beginning
        self.is_fixed = new_data is None or new_data.function is None
        self.fixed = containers.materialise(data, self.name) if self.is_fixed else None
        self.callers_list = self.fixed if isinstance(self.fixed, list) else None
        if new_data is None:
            self._use(self._load(None))
            self.ahead = None
        else:
            self.ahead = Ahead(self._load, new_data.epochs, is_users=not self.is_fixed)
            self._use(self.ahead.take(new_data.first), new_data.first)
        self.n = len(self.pairs if self.reference else self.samples)

    def _load(self, epoch):
        """Return the Loaded of an epoch; None: of all. May run on a thread of its own."""
        net, name = self.net, self._name_of(epoch)
        data = self.fixed
        if not self.is_fixed:
            data = containers.materialise(self.new_data.function(epoch), name)
        given = arrays = None
        deforms = self.new_data is not None and self.new_data.deformation is not None
        if deforms or not self.own_data:
            given = arrays = datasets.training_arrays(data, net._plan, net.dtype, name)
            if self.reference or not self.is_fixed:
                numeric_arrays.check_finite_samples(*given, net.dtype, name)
        if deforms:
            X, Y = given
            data = arrays = self.new_data.deform(X, labels_of(Y), epoch), Y
            self.fixed = given if self.is_fixed else None  # it is read once
        samples = None if self.reference else Samples(*arrays, "training_data")
        pairs = None
        if self.reference:
            pairs = datasets.training_pairs(data, net._plan, net.dtype, name)
        return Loaded(data, given, arrays, samples, pairs)

    def _name_of(self, epoch):
        return "training_data" if self.is_fixed else f"training_data({epoch})"

    def _use(self, loaded, epoch=None):
        self.epoch, self.name, self._fingerprint = epoch, self._name_of(epoch), None
        self.data, self.given, self.arrays, self.samples, self.pairs = loaded

    # ------------------------------------------------ new data in each epoch

    def start_epoch(self, epoch):
        """Use the data of an epoch; return whether they are others than before.

        Raises what the function of the epoch raises, and ValueError for another number of samples.
        """
        if self.ahead is None or epoch == self.epoch:
            return False
        loaded = self.ahead.take(epoch)
        n = len(loaded.pairs if self.reference else loaded.samples)
        if n != self.n:
            raise ValueError(
                f"{self._name_of(epoch)} has {n} samples, expected {self.n}, as in the epochs "
                f"before: the order of the samples, and what lmbda is divided by, go on"
            )
        self._use(loaded, epoch)
        return True

    def begin(self, epoch):
        """Begin to make the data of an epoch on a thread, if there are new ones in each."""
        if self.ahead is not None:
            self.ahead.begin(epoch)

    def finish(self):
        """Wait for data that are being made and that nobody needs."""
        if self.ahead is not None:
            self.ahead.wait()

    @property
    def deformation(self):
        """Return the text that describes how images are deformed, or None."""
        deforms = self.new_data is not None and self.new_data.deformation is not None
        return repr(self.new_data.deformation) if deforms else None

    def fingerprint(self):
        """Return what tells the data of this epoch from others, before they were deformed."""
        if self._fingerprint is None:
            self._fingerprint = checkpoint.fingerprint(*self.given)
        return self._fingerprint

    # ------------------------------------------------ the caller's list

    def start(self):
        """Note the caller's pairs in the order in which they are given."""
        self.pairs_given = None if self.callers_list is None else list(self.callers_list)

    def shuffle_list(self, order):
        """Bring the caller's list into the order of an epoch."""
        if self.callers_list is not None:
            self.callers_list[:] = [self.pairs_given[i] for i in order.tolist()]

    def restore_list(self):
        """Bring the caller's list into the order in which it was given."""
        if self.callers_list is not None:
            self.callers_list[:] = self.pairs_given

    def read_again(self, order):
        """Read the caller's list anew: overridden methods may have changed it, or its pairs.

        order: the one that it was brought into. Returns whether it holds other pairs now. Lists
        whose images are deformed are read once.
        """
        if self.callers_list is None or self.new_data is not None:
            return False
        theirs, given = self.callers_list, self.pairs_given
        changed = len(given) != len(theirs) or any(
            given[i] is not pair for i, pair in zip(order.tolist(), theirs)
        )
        if changed:
            self.pairs_given, self.was_replaced = list(theirs), True
        self.fixed = self.pairs_given
        self._use(self._load(None))
        self.n = len(self.pairs if self.reference else self.samples)
        return changed

"""What a run trains on: samples for the kernels, or pairs for the network's own methods.

Invariant: a list that the caller passes is shuffled in place before each epoch, as in the book.
"""

from fastbp.data import datasets, numeric_arrays
from fastbp.training.samples import Samples


class TrainingSet:
    """The training data of a run.

    samples: for the kernels, or None; pairs: for the reference path, or None; arrays: (X, Y), or
    None where overridden methods take data of their own; n: how many samples. own_data: whether
    they may be of any kind, so that no arrays are made.
    """

    def __init__(self, data, net, reference, own_data=False):
        self.net, self.reference, self.own_data = net, reference, own_data
        self.callers_list = data if isinstance(data, list) else None
        self.was_replaced = False  # the caller's list holds other pairs than at the beginning
        self._read(data)

    def _read(self, data):
        net, self.samples, self.pairs, self.arrays = self.net, None, None, None
        if not self.own_data:
            X, Y = self.arrays = datasets.training_arrays(data, net._plan, net.dtype)
            if self.reference:
                numeric_arrays.check_finite_samples(X, Y, net.dtype, "training_data")
            else:
                self.samples = Samples(X, Y, "training_data")
        if self.reference:
            self.pairs = datasets.training_pairs(data, net._plan, net.dtype)
        self.n = len(self.pairs if self.reference else self.samples)

    def start(self):
        """Note the caller's pairs in the order in which they are given."""
        self.given = None if self.callers_list is None else list(self.callers_list)

    def shuffle_list(self, order):
        """Bring the caller's list into the order of an epoch."""
        if self.callers_list is not None:
            self.callers_list[:] = [self.given[i] for i in order.tolist()]

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
            self.given[i] is not pair for i, pair in zip(order.tolist(), theirs)
        )
        if changed:
            self.given, self.was_replaced = list(theirs), True
        self._read(self.given)
        return changed

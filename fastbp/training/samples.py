"""A data set as the kernels read it: bytes or floats, dense or mostly zeros."""

import numpy as np

from fastbp.data import warn
from fastbp.data.pixels import Pixels
from fastbp.kernels import layout

SAMPLED_ROWS = 32  # that tell how many pixels of the others are zero
# With more nonzero pixels than this in a sample, nearly all inputs of a group are listed.
MOST_NONZERO = 0.4


class NonFiniteInput(Exception):
    """An input is NaN or infinite, or beyond the network's type."""


def read_only(array):
    """Return a flat, read-only view, whatever the array's flags: one type, one compilation."""
    array = array.reshape(-1).view()
    array.flags.writeable = False
    return array


def _is_sparse(X):
    """Tell whether lists of the nonzero pixels pay, by what some rows of X hold."""
    some = X[:: -(-len(X) // SAMPLED_ROWS)]
    return np.count_nonzero(some) < MOST_NONZERO * some.size


def check_inputs(X, dtype, name):
    """Raise NonFiniteInput if inputs are not finite in this type; warn if they are large."""
    if not isinstance(X, Pixels):
        with np.errstate(over="ignore"):
            if not np.isfinite(X.astype(dtype, copy=False)).all():
                raise NonFiniteInput
    warn.warn_about_large_inputs(X, name)


class Samples:
    """A data set as the kernels read it.

    X (n, n_in), contiguous: uint8, float32 or float64, or Pixels; Y (n, n_out); name: what a
    warning calls the inputs. Where most of X is zero the first layer leaves these numbers out:
    fewer operations, the same bits.
    """

    def __init__(self, X, Y, name="X"):
        stored, scale = (X.array, X.scale) if isinstance(X, Pixels) else (X, 1.0)
        self.sparse = _is_sparse(stored)
        self.X, self.n_in, self.n, self.Y, self.name = X, X.shape[1], len(X), Y, name
        numbers = read_only(stored.reshape(-1).view(np.uint8))
        self.stored = numbers, layout.STORED.index(stored.dtype), scale, read_only(Y)
        self.checked = False  # whether all inputs are finite, and how large they are

    def range_factor(self, dtype):
        """Return by what the kernels find inputs that are not finite, or larger than warn.LARGE.

        See sparse.all_in_range; 0 if there can be none.
        """
        _, kind, scale, _ = self.stored
        bytes_in_range = layout.STORED[kind] == np.uint8 and 255 * abs(scale) <= warn.LARGE
        return dtype.type(0 if self.checked or bytes_in_range else np.finfo(dtype).max / warn.LARGE)

    def check(self, dtype):
        """Find out what is out of range: raise NonFiniteInput, or warn of large inputs."""
        check_inputs(self.X, dtype, self.name)
        self.checked = True

    def note_checked(self, count):
        """Note that so many samples of an epoch were read by the kernels, in one call of SGD.

        Once that were all of them, the next calls need not look at the inputs.
        """
        self.checked |= count == self.n

    def __len__(self):
        return self.n

"""A data set as the kernels read it: bytes or floats, dense or mostly zeros."""

import collections

import numpy as np

from fastbp.data import numeric_arrays, warn
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
    some = X[:: max(1, -(-len(X) // SAMPLED_ROWS))]
    return np.count_nonzero(some) < MOST_NONZERO * some.size


def check_inputs(X, dtype, name):
    """Raise NonFiniteInput if inputs are not finite in this type; warn if they are large."""
    X = X.data if is_csr(X) else X
    if not isinstance(X, Pixels) and not numeric_arrays.all_finite(X, dtype):
        raise NonFiniteInput
    warn.warn_about_large_inputs(X, name)


# What the kernels read: the bytes of the inputs, how these are stored (see layout.py), what
# multiplies them, the targets, and the indices and row starts of compressed sparse rows.
Stored = collections.namedtuple("Stored", "numbers kind scale Y indices indptr")


def is_csr(X):
    """Tell whether X is a SciPy array or matrix in compressed sparse rows."""
    return getattr(X, "format", None) == "csr"


class Samples:
    """A data set as the kernels read it.

    X (n, n_in): contiguous, of uint8, float32 or float64; or Pixels; or compressed sparse rows with
    sorted indices, of float32 or float64. Y (n, n_out); name: what a warning calls the inputs.
    rows: a slice of those that this process trains on; the others are not looked at.
    Where most of X is zero the first layer leaves these numbers out: fewer operations, the same
    bits.
    """

    def __init__(self, X, Y, name="X", rows=slice(None)):
        stored, scale = (X.array, X.scale) if isinstance(X, Pixels) else (X, 1.0)
        self.n, self.n_in = X.shape
        self.X, self.Y, self.name, self.rows = X, Y, name, rows
        indices, indptr = np.zeros(1, np.int32), np.zeros(1, np.int64)
        if is_csr(X):
            self.sparse, stored, kind = True, X.data.astype(np.float64), layout.CSR
            indices = np.append(X.indices, 0).astype(np.int32)  # never empty
            indptr = X.indptr.astype(np.int64)
        else:
            self.sparse, kind = _is_sparse(stored[rows]), layout.STORED.index(stored.dtype)
        numbers = read_only(stored.reshape(-1).view(np.uint8))
        Y, indices, indptr = map(read_only, (Y, indices, indptr))
        self.stored = Stored(numbers, kind, scale, Y, indices, indptr)
        self.checked = False  # whether all inputs are finite, and how large they are

    def range_factor(self, dtype):
        """Return by what the kernels find inputs that are not finite, or larger than warn.LARGE.

        See sparse.all_in_range; 0 if there can be none.
        """
        kind, scale = self.stored.kind, self.stored.scale
        bytes_in_range = kind == layout.UINT8 and 255 * abs(scale) <= warn.LARGE
        return dtype.type(0 if self.checked or bytes_in_range else np.finfo(dtype).max / warn.LARGE)

    def check(self, dtype):
        """Find out what is out of range: raise NonFiniteInput, or warn of large inputs."""
        check_inputs(self.X if is_csr(self.X) else self.X[self.rows], dtype, self.name)
        self.checked = True

    def note_checked(self, count):
        """Note that the kernels have read so many samples, each once, and found them finite.

        Once one Descent has read all of them, the next ones need not look at the inputs.
        """
        self.checked |= count == self.n

    def __len__(self):
        return self.n

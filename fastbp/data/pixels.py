"""Pixels: images stored as bytes, marked with what one unit of a byte means.

Invariants: the bytes are never copied or changed here; a pixel's value is byte * scale.
"""

import sys

import numpy as np


class Pixels:
    """Images stored as bytes, whose pixels mean ``byte * scale``.

    Stands wherever the array form takes X: ``net.SGD((Pixels(X), y), ...)``, test data,
    ``evaluate``, ``accuracy``, ``total_cost``, ``backprop_batch``, ``gradient_norms``,
    ``fastbp.gradient_check``. The kernels scale as they read, so an image takes one byte a pixel
    in memory, and training on ``Pixels(X)`` gives the same bits as training on ``X / 256`` in
    float32.

    Parameters
    ----------
    X : array_like of uint8, shape (n, n_in)
        One image a row; an array or a memory map, of which no copy is made.
    scale : float, default 1/256
        What a byte is multiplied by. 1/256 is the scale of the book's loader; its largest value
        is 0.99609375.

    Attributes
    ----------
    array : ndarray of uint8, shape (n, n_in)
    scale : float
    shape : (n, n_in); ndim : 2; size : n * n_in
    dtype : dtype of the stored bytes, uint8

    Raises
    ------
    TypeError
        If X is not of uint8, or scale is not a number.
    ValueError
        If X does not have two dimensions, or scale is not finite or is 0.

    Notes
    -----
    ``pixels[i]`` with an integer is the column (n_in, 1), float32, that the book's lists hold;
    with a slice or an array of indices it is Pixels.
    """

    def __init__(self, X, scale=1 / 256):
        if isinstance(X, Pixels):
            raise TypeError("X is Pixels already, expected an array of bytes; use X.array")
        array = X if isinstance(X, np.ndarray) and type(X) is not np.matrix else np.asarray(X)
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError("X is a masked array, expected plain bytes; use X.filled(0)")
        if array.dtype != np.uint8:
            raise TypeError(
                f"X has dtype {array.dtype}, expected uint8 (numbers of other types mean what they "
                f"say and need no Pixels); for whole numbers 0..255 use X.astype(np.uint8)"
            )
        if array.ndim != 2:
            hint = "X[None]" if array.ndim == 1 else "X.reshape(len(X), -1)"
            raise ValueError(
                f"X has shape {array.shape}, expected (n, n_in), one image a row"
                + (f"; use {hint}" if array.ndim else "")
            )
        if isinstance(scale, (str, bytes)) or not np.isscalar(scale):
            raise TypeError(f"scale is {scale!r}, expected a number, e.g. 1/256")
        if not abs(scale) <= sys.float_info.max or scale == 0:
            raise ValueError(f"scale is {scale}, expected a finite number that is not 0")
        self.array, self.scale = array, float(scale)

    @property
    def shape(self):
        return self.array.shape

    @property
    def ndim(self):
        return self.array.ndim

    @property
    def size(self):
        return self.array.size

    @property
    def dtype(self):
        return self.array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        part = self.array[index]
        if part.ndim == 2:
            return Pixels(part, self.scale)
        if part.ndim == 1 and not isinstance(index, tuple):
            return Pixels(part[None], self.scale).values(np.dtype(np.float32)).T
        raise IndexError(f"Pixels take one index, for images; use X.array[{index!r}] for bytes")

    def values(self, dtype):
        """Return the pixels as numbers (n, n_in) of `dtype`, as the kernels read them."""
        dtype = np.dtype(dtype)
        with np.errstate(all="ignore"):  # what is beyond dtype becomes infinite, and is found later
            return self.array.astype(dtype) * dtype.type(self.scale)

    def __repr__(self):
        return f"Pixels(shape={self.shape}, scale={self.scale:g})"

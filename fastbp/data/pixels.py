"""Pixels: images stored as bytes, with the factor that scales a byte to a pixel's value.

Invariants: the bytes are not changed, and not copied by the constructor; a pixel's value is
byte * scale.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


class Pixels:
    """Images stored as bytes, whose pixels mean ``byte * scale``.

    They are accepted wherever the array form takes X: ``net.SGD((Pixels(X), y), ...)``, test data,
    ``evaluate``, ``accuracy``, ``total_cost``, ``backprop_batch``, ``gradient_norms``,
    ``fastbp.gradient_check``. The kernels scale the bytes as they read them, so an image takes one
    byte per pixel in memory.

    Parameters
    ----------
    X : array_like of uint8, shape (n, n_in)
        One image per row. An array or a memory map is not copied.
    scale : float, default 1/256
        The factor from bytes to pixel values. With 1/256, the scale of the book's loader, pixels
        are 0..0.99609375.

    Attributes
    ----------
    array : ndarray of uint8, shape (n, n_in)
        The bytes.
    scale : float
    shape : tuple (n, n_in)
    ndim : int
        2.
    size : int
        n * n_in.
    dtype : dtype
        That of the bytes, uint8.

    Raises
    ------
    TypeError
        If the dtype of X is not uint8, or scale is not a number.
    ValueError
        If X does not have two dimensions, or scale is 0 or not finite.

    Notes
    -----
    Training on ``Pixels(X)`` gives the same bits as training on ``X / 256`` in float32.
    ``pixels[i]`` with an integer is the column (n_in, 1), float32, that the book's lists hold; with
    a slice or an array of indices it is Pixels.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp
    >>> images = np.array([[0, 128, 255]], np.uint8)
    >>> fastbp.Pixels(images)
    Pixels(shape=(1, 3), scale=0.00390625)
    >>> fastbp.Pixels(images).values(np.float64)
    array([[0.        , 0.5       , 0.99609375]])
    >>> net = fastbp.Network([3, 10])
    >>> net.evaluate((fastbp.Pixels(images), [7])) in (0, 1)
    True
    """

    # The public import path: a pickle names it, and must not depend on the internal layout.
    __module__ = "fastbp"

    array: NDArray[np.uint8]
    scale: float

    def __init__(self, X: ArrayLike, scale: float = 1 / 256) -> None:
        if isinstance(X, Pixels):
            raise TypeError("X is Pixels already, expected an array of bytes; use X.array")
        array = X if isinstance(X, np.ndarray) and type(X) is not np.matrix else np.asarray(X)
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError("X is a masked array, expected plain bytes; use X.filled(0)")
        if array.dtype != np.uint8:
            raise TypeError(
                f"X has dtype {array.dtype}, expected uint8 (numbers of other types are not scaled "
                f"and need no Pixels); for integers 0..255 use X.astype(np.uint8)"
            )
        if array.ndim != 2:
            hint = "X[None]" if array.ndim == 1 else "X.reshape(len(X), -1)"
            raise ValueError(
                f"X has shape {array.shape}, expected (n, n_in), one image a row"
                + (f"; use {hint}" if array.ndim else "")
            )
        if not _is_number(scale):
            raise TypeError(f"scale is {scale!r}, expected a number, e.g. 1/256")
        if not abs(scale) <= sys.float_info.max or scale == 0:
            raise ValueError(f"scale is {scale}, expected a finite number that is not 0")
        self.array, self.scale = array, float(scale)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the bytes, (n, n_in)."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """The number of dimensions, 2."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """The number of bytes, n * n_in."""
        return self.array.size

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """The dtype of the bytes, uint8."""
        return self.array.dtype

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.array)

    def __getitem__(self, index: Any) -> Any:
        """Return an image as a column (n_in, 1), float32; for several indices, Pixels."""
        part = self.array[index]
        if part.ndim == 2:
            return Pixels(part, self.scale)
        if part.ndim == 1 and not isinstance(index, tuple):
            return Pixels(part[None], self.scale).values(np.dtype(np.float32)).T
        raise IndexError(f"Pixels take one index, for images; use X.array[{index!r}] for bytes")

    def values(self, dtype: DTypeLike) -> NDArray[Any]:
        """Return the pixel values, byte * scale, as an array.

        Parameters
        ----------
        dtype : dtype
            float64 or float32, the type in which the product is computed, as in the kernels.

        Returns
        -------
        ndarray of dtype, shape (n, n_in)
            Values beyond the range of dtype are infinite; there is no warning.
        """
        number: type[Any] = np.dtype(dtype).type
        with np.errstate(all="ignore"):
            return self.array.astype(number) * number(self.scale)

    def __repr__(self) -> str:
        return f"Pixels(shape={self.shape}, scale={self.scale:g})"


def _is_number(value):
    return np.isscalar(value) and not isinstance(value, (str, bytes))

"""The book's expand_mnist: more training data, by displacing images or deforming them."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import ArrayLike

from fastbp.data import containers, numeric_arrays
from fastbp.data.pixels import Pixels
from fastbp.data.warn import public
from fastbp.training.epoch_data.deformation import Deformation, check_images
from fastbp.typing import Data, Inputs, NumericArray

__all__ = ["DISPLACEMENTS", "Deformation", "deform", "expand"]

# In the order of the book's script: rows down and up, columns right and left.
DISPLACEMENTS = (1, 0), (-1, 0), (0, 1), (0, -1)


@public
def expand(data: Data) -> tuple[NumericArray | Pixels, NumericArray]:
    """Return each image and its four copies displaced by one pixel: down, up, right, left.

    Parameters
    ----------
    data : list of tuples (x, y), or tuple of arrays (X, Y)
        Square images in any form that SGD takes: the book's pairs, x (side * side, 1), y a column
        or a label; arrays X (n, side * side), one image a row, or fastbp.Pixels, with Y (n, ...).

    Returns
    -------
    X : ndarray (5 n, side * side) of uint8, float32 or float64, or Pixels
        What is moved out of an image is lost, what is moved in is 0. Rows 5 i to 5 i + 4 come from
        image i.
    Y : ndarray (5 n, ...)
        The label or target of each row: (5 n,) for labels, (5 n, n_out) for columns.

    Raises
    ------
    ValueError, TypeError
        If images are not square, or data are in no form that SGD takes.

    Notes
    -----
    Source: book, chapter 3, expand_mnist.py, whose 250,000 images these are, in its order before it
    shuffles them. (X, Y) can be passed to SGD, which shuffles.
    """
    X, Y = _as_arrays(containers.materialise(data, "data"))
    pixels, side = check_images(X, "data: X")
    pixels = pixels.reshape(-1, side, side)
    expanded = np.zeros((len(pixels), 5, side, side), pixels.dtype)
    expanded[:, 0] = pixels
    for k, (down, right) in enumerate(DISPLACEMENTS, 1):
        to_rows, from_rows = _overlap(down)
        to_columns, from_columns = _overlap(right)
        expanded[:, k, to_rows, to_columns] = pixels[:, from_rows, from_columns]
    expanded = expanded.reshape(-1, side * side)
    made = Pixels(expanded, X.scale) if isinstance(X, Pixels) else expanded
    return made, np.repeat(Y, 5, axis=0)


def _overlap(step):
    """Return the slices of an axis that move by a step of -1, 0 or 1: to, from."""
    slices = slice(1, None), slice(None, -1)
    return slices[::step] if step else (slice(None), slice(None))


def _as_arrays(data):
    """Return (X, Y) of materialised data, Y (n,) of labels or (n, n_out), or raise."""
    if containers.is_array_form(data):
        X, Y = data
        if Y.ndim and len(X) == len(Y):
            return X, Y
        raise ValueError(
            f"data: X has {len(X)} rows and Y has shape {Y.shape}, expected as many rows"
        )
    n_in, n_out = _sizes_of(data)
    convert = functools.partial(_target, n_out)
    X, Y = containers.stack_pairs(data, n_in, "data", convert, n_out)
    X = containers.to_stored_type(X, np.dtype(np.float64))
    return X, Y[:, 0] if n_out == 1 else Y


def _sizes_of(pairs):
    """Return (inputs, numbers of a target) of the first pair, whose form all others must have."""
    if not len(pairs):
        raise containers.empty_error("data")
    x, y = containers.unpack_pair(pairs[0], "data[0]", 784)
    return np.size(x), np.size(y)


def _target(n_out, y, where):
    """Return a target or a label as an array (n_out,), or raise."""
    if n_out == 1 and np.size(y) == 1:
        return numeric_arrays.as_numeric(y, f"{where}: y").reshape(1)
    return numeric_arrays.as_target_column(y, n_out, np.dtype(np.float64), f"{where}: y")[:, 0]


def deform(
    X: Inputs, labels: ArrayLike | None = None, *, seed: int, epoch: int = 0, first: int = 0,
    elastic: tuple[float, float] | None = Deformation.elastic,
    rotation: float = Deformation.rotation, shear: float = Deformation.shear,
    scale: float = Deformation.scale, shift: float = Deformation.shift,
    halved: tuple[int, ...] = Deformation.halved, out: NumericArray | None = None,
    threads: int | None = None,
) -> NumericArray | Pixels:  # fmt: skip
    """Return images, each deformed at random: Simard's elastic fields and Ciresan's affine maps.

    Parameters
    ----------
    X : array (n, side * side) or (n, side, side), or fastbp.Pixels
        Square images, of uint8, float32 or float64; 0 is the background.
    labels : array_like of int (n,), optional
        Their classes, for `halved`; without them all images rotate and lean in full.
    seed : int
        0..2**64 - 1. The global random generators are neither read nor changed.
    epoch : int, default 0
        0..2**32 - 1. Another epoch gives other images.
    first : int, default 0
        The number of X[0] in the epoch: image i depends on X[i], labels[i], seed, epoch and
        first + i alone.
    elastic, rotation, shear, scale, shift, halved
        As in `Deformation`; 0, or None for elastic, leaves a part out.
    out : array like X, optional
        C-contiguous; the deformed images are written here. Default: a new array.
    threads : int, optional
        At most so many threads. The images are the same to the bit for any number.

    Returns
    -------
    array like X, or Pixels
        Bytes are rounded.

    Raises
    ------
    ValueError, TypeError
        If an argument has another shape or type or is outside its range, or X is not finite.

    Notes
    -----
    Sources: see `Deformation`.
    """
    deformation = Deformation(elastic, rotation, shear, scale, shift, halved)
    return deformation.apply_from(first, X, labels, seed, epoch, out, threads)

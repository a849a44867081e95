"""Checks of arrays of numbers: type, shape, finite values.

Invariant: numbers are never scaled, whatever their type; an error names the array, says what was
seen and what was expected, and gives the expression that converts it.
"""

import math
import numbers

import numpy as np

from fastbp.data import file_rows, warn
from fastbp.data.messages import one_line

BLOCK_BYTES = 1 << 22  # of an array that are looked at at a time


def as_columns(a, n, dtype, name, m=None):
    """Return m columns (n, m) as an array of `dtype`, or raise; m: None for any number of them.

    Warns about large numbers; raises ValueError for numbers that are not finite.
    """
    array = a if type(a) is np.ndarray and a.dtype is dtype else as_numeric(a, name)
    if array.ndim != 2 or array.shape[0] != n or (m is not None and array.shape[1] != m):
        letter = name.split()[-1]
        wanted = f"({n}, 1)" if m == 1 else f"({n}, 1), or ({n}, m) for m samples"
        raise ValueError(
            f"{name} has shape {array.shape}, expected {wanted}{reshape_hint(a, n, letter)}"
        )
    array = array if array.dtype is dtype else cast(array, dtype)
    if not np.vdot(array, array) <= warn.LARGE**2:  # one product rules out large and non-finite
        check_finite(array, name, "correct it")
        warn.warn_about_large_inputs(array, name)
    return array


def as_target_column(y, n_out, dtype, name):
    """Return the target of one sample as a column (n_out, 1) of `dtype`, or raise.

    With one output neuron it may also be a scalar or (1,). Otherwise an integer label is an error,
    as in the book.
    """
    array = as_numeric(y, name)
    letter = name.split()[-1]
    if n_out == 1 and array.size == 1 and array.ndim <= 2:
        return cast(array.reshape(1, 1), dtype)
    if array.shape == (n_out, 1):
        return cast(array, dtype)
    if array.size == 1 and array.dtype.kind != "b" and array.item() in range(n_out):
        value = letter if array.ndim == 0 else f"np.ravel({letter})[0]"
        value = value if array.dtype.kind in "iu" else f"int({value})"
        hint = f"; use fastbp.mnist_loader.vectorized_result({value}, {n_out})"
    elif array.size == 1:
        hint = f": the network was built for {n_out}"
    else:
        hint = reshape_hint(y, n_out, letter)
    if array.ndim == 0:
        raise ValueError(f"{name} is the label {array}, expected a column ({n_out}, 1){hint}")
    raise ValueError(f"{name} has shape {array.shape}, expected ({n_out}, 1){hint}")


def reshape_hint(value, n, name):
    """Return the end of an error message: the expression that makes a column (n, 1) of a value."""
    array = np.asarray(value)
    is_array = hasattr(value, "reshape")  # a list has no such methods
    if array.shape == (1, n):
        return f"; use {name}.T" if is_array else f"; use np.transpose({name})"
    if array.size == n:
        return f"; use {name}.reshape(-1, 1)" if is_array else f"; use np.reshape({name}, (-1, 1))"
    if array.ndim == 2 and array.shape[1] == n:
        return f"; use {name}.T"
    return f": the network was built for {n}"


def as_numeric(value, what):
    """Return a value as an array of real numbers, or raise; `what` ends with the variable name."""
    try:
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(
                f"{what} is a masked array, expected plain numbers; use "
                f"{what.split()[-1]}.filled(0)"
            )
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{what} is ragged, expected an array of numbers") from None
    except RuntimeError as error:  # e.g. a tensor that records its gradient
        raise TypeError(f"{what} can't be read as an array: {one_line(error)}") from None
    if array.dtype.kind not in "fiub":
        hint = ""
        if array.dtype == object and all(isinstance(v, numbers.Real) for v in array.flat):
            letter = what.split()[-1]
            hint = f"; use np.asarray({letter}, float)"
        raise TypeError(f"{what} has dtype {array.dtype}, expected real numbers{hint}")
    return array


def cast(array, dtype):
    """Return an array in another type; numbers beyond its range become infinite, without a warning.

    The checks that follow report them.
    """
    if array.dtype == dtype:
        return array
    with np.errstate(all="ignore"):
        return array.astype(dtype)


def check_finite_samples(X, Y, dtype, name):
    """Raise ValueError for the first sample whose x or y is NaN, infinite, or beyond `dtype`.

    X (n, n_in) and Y (n, n_out), or None.
    """
    for part, array in (("x", X), ("y", Y)):
        if array is None or array.dtype.kind != "f":
            continue
        for first, block in _blocks(array):
            non_finite = ~np.isfinite(cast(block, dtype)).all(axis=1)
            for i in np.flatnonzero(non_finite)[:1]:
                where = f"{name}[{first + i}]: {part}"
                check_finite(block[i], where, "correct or leave out the sample", dtype)


def all_finite(X, dtype):
    """Tell whether all numbers of an array (n, ...) are finite in this type."""
    if X.dtype.kind != "f":
        return True
    return all(np.isfinite(cast(block, dtype)).all() for _, block in _blocks(X))


def _blocks(X):
    """Yield (first row, rows in memory) of an array or FileRows: so few that a copy is small."""
    count = max(1, BLOCK_BYTES // max(1, math.prod(X.shape[1:]) * X.dtype.itemsize))
    for rows, part in file_rows.parts(X):
        for start in range(0, len(part), count):
            yield rows.start + start, part[start : start + count]


def check_finite(array, what, advice, dtype=None):
    """Raise ValueError for the first number that is NaN, infinite, or beyond `dtype`."""
    non_finite = np.argwhere(~np.isfinite(cast(array, dtype or array.dtype)))
    if len(non_finite):
        index = tuple(non_finite[0].tolist())
        raise ValueError(
            f"{what} is {array[index]} at {list(index)}, expected finite numbers"
            f"{f' in {dtype}' if dtype else ''}; {advice}"
        )

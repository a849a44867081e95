"""Containers of samples (pairs, arrays, data frames), and the inputs in them as arrays.

Invariants: only `Pixels` are scaled, other numbers never, whatever their type. Every error names
the sample, says what was seen and what was expected, and is raised before any weight changes.
"""

import itertools

import numpy as np

from fastbp.data import file_rows, messages, numeric_arrays
from fastbp.data.pixels import Pixels
from fastbp.kernels import layout

# ------------------------------------------------ containers


def is_array_form(data):
    """Tell whether data is a tuple of arrays (X, Y), the array form that materialise returns."""
    return (
        isinstance(data, tuple)
        and len(data) == 2
        and isinstance(data[0], (np.ndarray, Pixels))
        and isinstance(data[1], np.ndarray)
    )


def materialise(data, name):
    """Return data in a form that can be read twice: (X, Y) of arrays, a list or a tuple of pairs.

    Raises TypeError or ValueError for other containers, with the conversion to use.
    """
    if isinstance(data, tuple) and len(data) == 2 and _is_table(data[0]):
        if is_array_form(data) and not any(isinstance(part, np.matrix) for part in data):
            return data
        return as_arrays(*data, name)
    if isinstance(data, (list, tuple)):
        return data
    kind = type(data).__name__
    if isinstance(data, Pixels) or hasattr(data, "toarray"):
        raise TypeError(f"{name} is {kind} alone, expected a tuple of inputs and targets (X, Y)")
    if hasattr(data, "to_numpy"):
        raise TypeError(
            f"{name} is a {kind}, expected a tuple (X, Y); use "
            f"(data.drop(columns='label').to_numpy(), data['label'].to_numpy()), with the name of "
            f"your column of targets"
        )
    if isinstance(data, np.ndarray) and data.dtype != object:
        raise TypeError(
            f"{name} is one array of shape {data.shape}, expected a tuple of two (X, Y), or pairs "
            f"(x, y)"
        )
    try:
        counts = hasattr(data, "__len__") and not hasattr(data, "__iter__")  # and may never end
        pairs = list(itertools.islice(data, len(data) if counts else None))
    except TypeError:
        raise TypeError(
            f"{name} is {messages.describe(data)}, expected pairs (x, y) or a tuple of two arrays "
            f"(X, Y)"
        ) from None
    if not pairs:
        raise empty_error(name)
    return pairs


def as_arrays(X, Y, name):
    """Return (X, Y) as arrays or Pixels, or raise TypeError or ValueError."""
    return _as_array(X, f"{name}: X"), _as_array(Y, f"{name}: Y")


def _is_table(X):
    """Tell whether the first of two values is a table (n, n_in), and not a pair (x, y)."""
    if isinstance(X, (np.ndarray, Pixels)):
        return True
    if any(hasattr(X, method) for method in ("to_numpy", "toarray", "__array__")):
        return True
    try:
        return isinstance(X, list) and len(X) > 0 and np.ndim(X[0]) == 1
    except ValueError:  # ragged, so it is a pair
        return False


def _as_array(table, name):
    """Return a table as an array, Pixels as they are, or raise TypeError or ValueError."""
    if isinstance(table, np.matrix):
        return np.asarray(table)
    if isinstance(table, (np.ndarray, Pixels)):
        return table
    letter = name[-1]
    if hasattr(table, "toarray"):
        raise TypeError(
            f"{name} is a sparse {type(table).__name__}, expected a dense array; use "
            f"{letter}.toarray()"
        )
    if isinstance(table, list) and any(isinstance(row, np.ma.MaskedArray) for row in table):
        raise TypeError(
            f"{name} holds masked arrays, expected plain numbers; use "
            f"[row.filled(0) for row in {letter}]"
        )
    try:
        return table.to_numpy() if hasattr(table, "to_numpy") else np.asarray(table)
    except ValueError:
        raise ValueError(f"{name} is ragged, expected an array of numbers") from None
    except (TypeError, RuntimeError) as error:  # e.g. a tensor that records its gradient
        raise TypeError(f"{name} can't be read as an array: {messages.one_line(error)}") from None


def empty_error(name):
    """Return the error that reports an empty data set or a used-up iterator."""
    return ValueError(
        f"{name} is empty, expected at least one sample; an iterator (zip, map, a generator) is "
        f"used up after one pass: pass list({name})"
    )


# ------------------------------------------------ inputs


def check_inputs(X, n_in, dtype, name, streams=None):
    """Return X (n, n_in) as `to_stored_type` does, or raise for other shapes and types.

    streams: which memory maps become FileRows instead, see file_rows.streamed_rows.
    """
    if not isinstance(X, Pixels):
        X = numeric_arrays.as_numeric(X, f"{name}: X")
    if X.ndim != 2 or X.shape[1] != n_in:
        hint = ""
        if X.ndim > 2 and X[0].size == n_in:
            hint = "; use np.reshape(X, (len(X), -1))"
        elif X.ndim == 1 and X.size == n_in:
            hint = "; use np.reshape(X, (1, -1)) for one sample"
        elif X.shape == (n_in, 1):
            hint = "; use np.transpose(X) for one sample"
        elif X.ndim == 1 and n_in == 1:
            hint = "; use np.reshape(X, (-1, 1))"
        raise ValueError(
            f"{name}: X has shape {X.shape}, expected (n, {n_in}), one sample a row{hint}"
        )
    if not len(X):
        raise empty_error(name)
    rows = file_rows.streamed_rows(X, streams, name)
    return to_stored_type(X, dtype) if rows is None else rows


def to_stored_type(X, dtype):
    """Return inputs C-contiguous and of a type that the kernels read, if need be of `dtype`."""
    if isinstance(X, Pixels):
        return X if X.array.flags.c_contiguous else Pixels(X.array.copy(), X.scale)
    kind = X.dtype if X.dtype in layout.STORED else dtype
    return np.ascontiguousarray(numeric_arrays.cast(X, kind.newbyteorder("=")))


def as_values(X, dtype):
    """Return inputs (n, n_in) as an array of `dtype`, with Pixels scaled."""
    return X.values(dtype) if isinstance(X, Pixels) else numeric_arrays.cast(X, dtype)


def stack_pairs(data, n_in, name, convert, width):
    """Return arrays (X, Y) of pairs: X (n, n_in); Y (n, width) of what convert(y, where) returns.

    Most pairs are stacked in one call of NumPy; where that fails, they are converted one by one.
    """
    if not len(data):
        raise empty_error(name)
    n = len(data)
    try:
        types = {type(x) for x, _ in data} | {type(y) for _, y in data}
        if any(issubclass(kind, np.ma.MaskedArray) for kind in types):
            raise TypeError("np.array would drop the masks")
        X = np.array([x for x, _ in data])
        Y = np.array([y for _, y in data])
    except (TypeError, ValueError, RuntimeError):
        return _stack_one_by_one(data, n_in, name, convert)
    X_fits = X.shape == (n, n_in, 1) and X.dtype.kind in "fiub"
    Y_fits = Y.shape == (n, width, 1) if width > 1 else Y.size == n and Y.ndim <= 3
    if not (X_fits and Y_fits and Y.dtype.kind in ("fiub" if width > 1 else "fiu")):
        return _stack_one_by_one(data, n_in, name, convert)
    return X.reshape(n, n_in), Y.reshape(n, width)


def _stack_one_by_one(data, n_in, name, convert):
    """Return what stack_pairs does, or raise the error that names the first wrong pair."""
    if len(data) == 2 and all(isinstance(part, np.ndarray) for part in data):
        raise TypeError(f"{name} is a list of two arrays, expected a tuple; use tuple({name})")
    xs, ys = [], []
    for i, pair in enumerate(data):
        where = f"{name}[{i}]"
        x, y = unpack_pair(pair, where, n_in)
        array = numeric_arrays.as_numeric(x, f"{where}: x")
        if array.shape != (n_in, 1):
            hint = numeric_arrays.reshape_hint(x, n_in, "x")
            if array.ndim == 2 and array.shape[1] == n_in and len(array) > 1:
                hint = f"; a batch of {len(array)} samples belongs in the array form, (X, Y)"
            raise ValueError(f"{where}: x has shape {array.shape}, expected ({n_in}, 1){hint}")
        xs.append(array)
        ys.append(np.atleast_1d(convert(y, where)))
    return np.array(xs).reshape(len(data), n_in), np.array(ys).reshape(len(data), -1)


def unpack_pair(pair, where, n_in):
    """Return the x and the y of a pair, or raise ValueError; their shapes are not checked."""
    try:
        x, y = pair
    except (TypeError, ValueError):
        raise ValueError(
            f"{where} is {messages.describe(pair)}, expected a pair (x, y) with x of shape "
            f"({n_in}, 1)"
        ) from None
    return x, y

"""The containers that people have, such as pairs, arrays and data frames, and the inputs in them.

Invariants: numbers mean what they say, whatever their type; only `Pixels` are scaled. Every error
names the sample, says what was seen and what was expected, and is raised before any weight changes.
"""

import numpy as np

from fastbp.data import arguments, numeric_arrays
from fastbp.data.pixels import Pixels
from fastbp.kernels import layout

# ------------------------------------------------ containers


def is_arrays(data):
    """Tell whether data is the array form: a tuple of arrays X and Y, as materialise gives it."""
    return (
        isinstance(data, tuple)
        and len(data) == 2
        and isinstance(data[0], (np.ndarray, Pixels))
        and isinstance(data[1], np.ndarray)
    )


def materialise(data, name):
    """Return data in a form that can be read twice: (X, Y) of arrays, a list or a tuple of pairs.

    Raises TypeError or ValueError for what is neither, with the conversion that makes it so.
    """
    if isinstance(data, tuple) and len(data) == 2 and _is_table(data[0]):
        if is_arrays(data) and not any(isinstance(part, np.matrix) for part in data):
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
        pairs = list(data)
    except TypeError:
        raise TypeError(
            f"{name} is {arguments.brief(data)}, expected pairs (x, y) or a tuple of two arrays "
            f"(X, Y)"
        ) from None
    if not pairs:
        raise empty(name)
    return pairs


def as_arrays(X, Y, name):
    """Return (X, Y) as arrays, or as Pixels; raise TypeError or ValueError for what is neither."""
    return _as_array(X, f"{name}: X"), _as_array(Y, f"{name}: Y")


def _is_table(X):
    """Tell whether X is meant as (n, n_in), not as a pair (x, y)."""
    if isinstance(X, (np.ndarray, Pixels)):
        return True
    if any(hasattr(X, method) for method in ("to_numpy", "toarray", "__array__")):
        return True
    try:
        return isinstance(X, list) and len(X) > 0 and np.ndim(X[0]) == 1
    except ValueError:  # it is ragged: a pair
        return False


def _as_array(table, name):
    """Return a table as an array, or as it is where it is one or is Pixels."""
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
        raise TypeError(f"{name} can't be read as an array: {arguments.one_line(error)}") from None


def empty(name):
    return ValueError(
        f"{name} is empty, expected at least one sample; an iterator (zip, map, a generator) is "
        f"used up after one pass: pass list({name})"
    )


# ------------------------------------------------ inputs


def inputs(X, n_in, dtype, name):
    """Return X (n, n_in) contiguous: Pixels, or an array of float64, float32 or else `dtype`."""
    if not isinstance(X, Pixels):
        X = numeric_arrays.numeric(X, f"{name}: X")
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
        raise empty(name)
    return stored(X, dtype)


def stored(X, dtype):
    """Return inputs contiguous in a type that the kernels read; anything else is cast here."""
    if isinstance(X, Pixels):
        return X if X.array.flags.c_contiguous else Pixels(X.array.copy(), X.scale)
    kind = X.dtype if X.dtype in layout.STORED else dtype
    return np.ascontiguousarray(numeric_arrays.cast(X, kind.newbyteorder("=")))


def as_values(X, dtype):
    """Return inputs (n, n_in) as an array of `dtype`, Pixels scaled."""
    return X.values(dtype) if isinstance(X, Pixels) else numeric_arrays.cast(X, dtype)


def stacked(data, n_in, name, convert, width):
    """Return (X, Y) of pairs: X (n, n_in); Y (n, width), what convert(y, where) returns of each y.

    The usual pairs become arrays at once; only where that fails, each is converted by itself.
    """
    if not len(data):
        raise empty(name)
    n = len(data)
    try:
        kinds = {type(x) for x, _ in data} | {type(y) for _, y in data}
        if any(issubclass(kind, np.ma.MaskedArray) for kind in kinds):
            raise TypeError("NumPy would forget the masks")
        X = np.array([x for x, _ in data])
        Y = np.array([y for _, y in data])
    except (TypeError, ValueError, RuntimeError):
        X = Y = None
    else:
        X = X if X is not None and X.shape == (n, n_in, 1) and X.dtype.kind in "fiub" else None
        usual = Y.shape == (n, width, 1) if width > 1 else Y.size == n and Y.ndim <= 3
        Y = Y if usual and Y.dtype.kind in ("fiub" if width > 1 else "fiu") else None
    if X is None or Y is None:
        return _one_by_one(data, n_in, name, convert)
    return X.reshape(n, n_in), Y.reshape(n, width)


def _one_by_one(data, n_in, name, convert):
    """The same, pair by pair, with the error that names the first that does not fit."""
    if len(data) == 2 and all(isinstance(part, np.ndarray) for part in data):
        raise TypeError(f"{name} is a list of two arrays, expected a tuple; use tuple({name})")
    xs, ys = [], []
    for i, pair in enumerate(data):
        where = f"{name}[{i}]"
        x, y = pair_of(pair, where, n_in)
        given, x = x, numeric_arrays.numeric(x, f"{where}: x")
        if x.shape != (n_in, 1):
            hint = numeric_arrays.reshape_hint(given, n_in, "x")
            if x.ndim == 2 and x.shape[1] == n_in and len(x) > 1:
                hint = f"; a batch of {len(x)} samples belongs in the array form, (X, Y)"
            raise ValueError(f"{where}: x has shape {x.shape}, expected ({n_in}, 1){hint}")
        xs.append(x)
        ys.append(np.atleast_1d(convert(y, where)))
    return np.array(xs).reshape(len(data), n_in), np.array(ys).reshape(len(data), -1)


def pair_of(pair, where, n_in):
    try:
        x, y = pair
    except (TypeError, ValueError):
        raise ValueError(
            f"{where} is {arguments.brief(pair)}, expected a pair (x, y) with x of shape "
            f"({n_in}, 1)"
        ) from None
    return x, y

"""Arrays of numbers: one value brought to a type and a shape, and found to be finite.

Invariant: numbers mean what they say, whatever their type; an error names the array, says what was
seen and what was expected, and gives the expression that mends it.
"""

import numbers

import numpy as np

from fastbp.data import warn
from fastbp.data.arguments import one_line


def columns(a, n, dtype, name, m=None):
    """Return m columns (n, m) as an array of `dtype`; m: the number wanted, None for any.

    Warns of numbers that are larger than usual, and raises ValueError for what is not finite.
    Raises ValueError for any other shape; a 1-D vector is the most common mistake.
    """
    array = a if type(a) is np.ndarray and a.dtype is dtype else numeric(a, name)
    if array.ndim != 2 or array.shape[0] != n or (m is not None and array.shape[1] != m):
        letter = name.split()[-1]
        wanted = f"({n}, 1)" if m == 1 else f"({n}, 1), or ({n}, m) for m samples"
        raise ValueError(
            f"{name} has shape {array.shape}, expected {wanted}{reshape_hint(a, n, letter)}"
        )
    array = array if array.dtype is dtype else cast(array, dtype)
    if not np.vdot(array, array) <= warn.USUAL**2:  # else none is larger
        refuse_strange_numbers(array, name, "mend it")
        warn.of_large_inputs(array, name)
    return array


def target_column(y, n_out, dtype, name):
    """Return the target of one sample as a column (n_out, 1) of `dtype`.

    With one output neuron it is a number: a scalar, (1,) or (1, 1). Else an integer label is an
    error, as in the book.
    """
    array = numeric(y, name)
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
    """Return what brings a value to a column (n, 1), as the end of an error message."""
    array = np.asarray(value)
    own = hasattr(value, "reshape")  # a list has no methods of arrays
    if array.shape == (1, n):
        return f"; use {name}.T" if own else f"; use np.transpose({name})"
    if array.size == n:
        return f"; use {name}.reshape(-1, 1)" if own else f"; use np.reshape({name}, (-1, 1))"
    if array.ndim == 2 and array.shape[1] == n:
        return f"; use {name}.T"
    return f": the network was built for {n}"


def numeric(value, what):
    """Return value as an array of real numbers in native byte order, or raise."""
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
    """Return numbers in another type; what is beyond it becomes infinite, and is found later."""
    if array.dtype == dtype:
        return array
    with np.errstate(all="ignore"):
        return array.astype(dtype)


def refuse_strange(X, Y, dtype, name):
    """Raise ValueError for the first sample whose x or y is NaN, infinite, or beyond `dtype`.

    X (n, n_in); Y (n, n_out) or None.
    """
    for part, array in (("x", X), ("y", Y)):
        if array is None or array.dtype.kind != "f":
            continue
        strange = ~np.isfinite(cast(array, dtype)).all(axis=1)
        for i in np.flatnonzero(strange)[:1]:
            refuse_strange_numbers(
                array[i], f"{name}[{i}]: {part}", "mend or leave out the sample", dtype
            )


def refuse_strange_numbers(array, what, remedy, dtype=None):
    """Raise ValueError for the first number that is NaN, infinite, or beyond `dtype`."""
    strange = np.argwhere(~np.isfinite(cast(array, dtype or array.dtype)))
    if len(strange):
        place = tuple(strange[0].tolist())
        raise ValueError(
            f"{what} is {array[place]} at {list(place)}, expected finite numbers"
            f"{f' in {dtype}' if dtype else ''}; {remedy}"
        )

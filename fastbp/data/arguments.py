"""Checks of arguments: each returns the value in the type that is used from then on, or raises.

Invariant: an error says what was seen, what was expected and what to do, and is raised before any
weight changes.
"""

import itertools
import numbers
import operator
import os

import numpy as np

from fastbp.data.free_memory import free_memory
from fastbp.data.messages import describe

SMALL = 1 << 28  # bytes that fit: to find out how many are free takes a millisecond
MAX_WEIGHTS = 2**40  # of a network; larger sizes are taken for a mistake


def check_sizes(sizes):
    """Return the layer sizes as a tuple of ints, or raise ValueError or TypeError."""
    try:
        checked = tuple(operator.index(sizes[l]) for l in range(len(sizes)))
    except (TypeError, KeyError):
        raise TypeError(
            f"sizes is {describe(sizes)}, expected a list of integers, e.g. [784, 30, 10]"
        ) from None
    if len(checked) < 2:
        raise ValueError(
            f"sizes has {len(checked)} layer(s), expected at least 2: an input and an output layer"
        )
    for l, n in enumerate(checked):
        if n < 1:
            raise ValueError(f"sizes[{l}] is {n}, expected at least 1 neuron")
    weights = _count_weights(checked)
    if weights > MAX_WEIGHTS:
        raise ValueError(
            f"sizes is {describe(sizes)}, a network of {weights} weights; expected at most "
            f"{MAX_WEIGHTS}"
        )
    return checked


def _count_weights(sizes):
    """Return how many weights and biases a network has."""
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))


def check_memory(sizes, dtype):
    """Raise ValueError if the weights and biases of checked sizes, and a copy, do not fit."""
    n = _count_weights(sizes)
    needed = 2 * n * dtype.itemsize
    if needed > SMALL and needed > (free := free_memory()):
        raise ValueError(
            f"sizes is {describe(list(sizes))}: {n:,} weights and biases, and a copy of them, take "
            f"{needed:,} bytes, more than the free memory ({free:,}); expected fewer neurons"
        )


def check_network_unchanged(plan, dtype, n_in, Y=None):
    """Raise ValueError if samples do not fit the network that they were read for any more.

    n_in: numbers per sample; Y: the targets (n, n_out) of the network's dtype, or None. A callback
    may have assigned to sizes or dtype during training.
    """
    seen = (n_in, *(() if Y is None else (Y.shape[1], Y.dtype)))
    wanted = (plan.sizes[0], *(() if Y is None else (plan.sizes[-1], dtype)))
    if seen != wanted:
        raise ValueError(
            f"the network has changed since its data were read: they are for (inputs, outputs, "
            f"dtype) {seen}, it now has {wanted}; call SGD anew"
        )


def check_dtype(dtype):
    """Return float64 or float32 as a dtype, or raise."""
    try:
        name = np.dtype(dtype).name
    except (TypeError, ValueError, SyntaxError):  # NumPy parses some strings as Python
        name = None
    if name not in ("float64", "float32"):
        raise ValueError(f"dtype is {describe(dtype)}, expected numpy.float64 or numpy.float32")
    return np.dtype(name)  # in native byte order


def check_count(name, value, minimum):
    """Return an integer argument that is at least `minimum`, or raise."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value}, expected an integer")
    try:
        count = operator.index(value)
    except TypeError:
        hint = f"; use int({name})" if _is_integral(value) else ""
        raise TypeError(f"{name} is {describe(value)}, expected an integer{hint}") from None
    if count < minimum:
        raise ValueError(f"{name} is {count}, expected at least {minimum}")
    return count


def _is_integral(value):
    """Tell whether a number, or the number in a string, is an integer."""
    if not isinstance(value, (numbers.Real, str)):
        return False
    try:
        return int(value) == float(value)
    except (ValueError, OverflowError):  # NaN or another string; infinity
        return False


def check_rate(name, value, dtype):
    """Return a real number that is finite in `dtype` as a float, or raise."""
    try:
        rate = float(value)
    except OverflowError:
        rate = np.inf
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {describe(value)}, expected a number") from None
    if isinstance(value, (str, bytes, bytearray)):
        raise TypeError(f"{name} is {describe(value)}, expected a number; use float({name})")
    if not abs(rate) <= float(np.finfo(dtype).max):
        raise ValueError(f"{name} is {rate}, expected a finite number in {dtype}")
    return rate


def check_range(name, value, dtype, minimum, upper_bound=None):
    """Return a number as check_rate does, minimum <= number < upper_bound, or raise."""
    number = check_rate(name, value, dtype)
    if number < minimum or (upper_bound is not None and number >= upper_bound):
        upper = "" if upper_bound is None else f" and less than {upper_bound}"
        raise ValueError(f"{name} is {number}, expected at least {minimum}{upper}")
    return number


def check_path(name, value):
    """Return the path of a file or folder as a str, or raise."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} is {describe(value)}, expected the path of a file")
    path = os.fsdecode(value)
    if "\0" in path:
        raise ValueError(f"{name} is {describe(path)}, expected a path without a null character")
    return path


def check_choice(name, value, *choices):
    """Return an argument that is one of these strings, or raise."""
    if not isinstance(value, str) or value not in choices:
        wanted = " or ".join(map(repr, choices))
        raise ValueError(f"{name} is {describe(value)}, expected {wanted}")
    return value


def check_flag(name, value):
    """Return an argument that is True or False as a bool, or raise."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {describe(value)}, expected True or False")
    return bool(value)

"""Checks of arguments: each returns the value in the type that is used from then on, or raises.

Invariant: an error says what is wrong, what was seen, what was expected and what to do, and is
raised before any weight changes.
"""

import itertools
import numbers
import operator

import numpy as np

MOST_WEIGHTS = 2**40  # of a network: beyond it sizes are a mistake


def check_sizes(sizes):
    """Return the layer sizes as a tuple of ints, or raise."""
    try:
        checked = tuple(operator.index(sizes[l]) for l in range(len(sizes)))
    except (TypeError, KeyError):
        raise TypeError(
            f"sizes is {brief(sizes)}, expected a list of integers, e.g. [784, 30, 10]"
        ) from None
    if len(checked) < 2:
        raise ValueError(
            f"sizes has {len(checked)} layer(s), expected at least 2: an input and an output layer"
        )
    for l, n in enumerate(checked):
        if n < 1:
            raise ValueError(f"sizes[{l}] is {n}, expected at least 1 neuron")
    weights = sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(checked))
    if weights > MOST_WEIGHTS:
        raise ValueError(
            f"sizes is {brief(sizes)}, a network of {weights} weights; expected at most "
            f"{MOST_WEIGHTS}"
        )
    return checked


def check_fits(plan, dtype, n_in, Y=None):
    """Raise ValueError if samples no longer fit the network that they were read for.

    Y: their targets (n, n_out), in the network's dtype. Someone may have assigned to sizes or dtype
    while it is being trained.
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
    except (TypeError, ValueError, SyntaxError):  # NumPy reads some texts as Python
        name = None
    if name not in ("float64", "float32"):
        raise ValueError(f"dtype is {brief(dtype)}, expected numpy.float64 or numpy.float32")
    return np.dtype(name)  # in native byte order


def check_count(name, value, least):
    """Return an integer argument that is at least `least`, or raise."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value}, expected an integer")
    try:
        count = operator.index(value)
    except TypeError:
        hint = f"; use int({name})" if _is_whole(value) else ""
        raise TypeError(f"{name} is {brief(value)}, expected an integer{hint}") from None
    if count < least:
        raise ValueError(f"{name} is {count}, expected at least {least}")
    return count


def _is_whole(value):
    """Tell whether int(value) is what is meant."""
    if not isinstance(value, (numbers.Real, str)):
        return False
    try:
        return int(value) == float(value)
    except (ValueError, OverflowError):  # infinity, NaN, a word
        return False


def check_rate(name, value, dtype):
    """Return a real number that is finite in `dtype` as a float, or raise."""
    try:
        rate = float(value)
    except OverflowError:
        rate = np.inf
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {brief(value)}, expected a number") from None
    if isinstance(value, (str, bytes, bytearray)):
        raise TypeError(f"{name} is {brief(value)}, expected a number; use float({name})")
    if not abs(rate) <= float(np.finfo(dtype).max):
        raise ValueError(f"{name} is {rate}, expected a finite number in {dtype}")
    return rate


def check_range(name, value, dtype, least, below=None):
    """Return a number as check_rate does, at least `least` and less than `below`, or raise."""
    number = check_rate(name, value, dtype)
    if number < least or (below is not None and number >= below):
        most = "" if below is None else f" and less than {below}"
        raise ValueError(f"{name} is {number}, expected at least {least}{most}")
    return number


def check_choice(name, value, *choices):
    """Return an argument that is one of these texts, or raise."""
    if not isinstance(value, str) or value not in choices:
        wanted = " or ".join(map(repr, choices))
        raise ValueError(f"{name} is {brief(value)}, expected {wanted}")
    return value


def brief(value):
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def one_line(error):
    return " ".join(str(error).split()) or type(error).__name__

"""What users have called after each epoch: checking it, and calling it.

Invariant: each callback gets a dictionary of its own, and all of them are called, whatever one of
them returns.
"""

import numpy as np

from fastbp.data import messages


def check_callbacks(callback):
    """Return the argument `callback` of SGD as a tuple of callables, or raise TypeError."""
    if callback is None:
        return ()
    if callable(callback):
        return (callback,)
    expected = "expected a function of a dictionary, or a list of such functions"
    if not isinstance(callback, (list, tuple)):
        raise TypeError(f"callback is {messages.describe(callback)}, {expected}")
    for i, function in enumerate(callback):
        if not callable(function):
            raise TypeError(f"callback[{i}] is {messages.describe(function)}, {expected}")
    return tuple(callback)


def call(callbacks, figures):
    """Call each with a copy of figures; tell whether one of them returns True.

    Other values that count as true end no run: file.write returns the number of characters, and
    asynchronous loggers return an object.
    """
    answers = [callback(dict(figures)) for callback in callbacks]
    return any(isinstance(answer, (bool, np.bool_)) and bool(answer) for answer in answers)

"""What every public call shares: floating-point underflow is no error, and a warning comes once.

A warning is shown at the user's own line.
"""

import functools
import pathlib
import sys
import threading
import warnings

import numpy as np

from fastbp.data.pixels import Pixels

USUAL = 16  # inputs that are larger than this are pixels that nobody has scaled, most often
_PACKAGES = tuple(f"{pathlib.Path(m.__file__).parent}/" for m in (np, sys.modules["fastbp"]))


class _Call(threading.local):
    """What is known of the public call that this thread is in."""

    depth = 0  # of public calls, one in another
    warned = False  # of large inputs


_call = _Call()


def public(function=None, *, ignore=("under",)):
    """Decorate a public function or method.

    What underflows in it is 0, which is right, also for users who have set np.seterr(all="raise").
    ignore: these kinds of floating-point errors, where the outcome is looked at.
    """
    if function is None:
        return functools.partial(public, ignore=ignore)
    quiet = np.errstate(**dict.fromkeys(ignore, "ignore"))(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        if _call.depth:
            return quiet(*args, **kwargs)
        _call.depth, _call.warned = 1, False
        try:
            return quiet(*args, **kwargs)
        finally:
            _call.depth = 0

    return call


def runtime_warning(message):
    """Issue a RuntimeWarning for the first line on the stack outside of fastbp and NumPy."""
    frame, level = sys._getframe(1), 2
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGES):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)


def of_large_inputs(X, name):
    """Warn if an array of inputs, or Pixels, holds numbers that are larger than usual."""
    stored, scale = (X.array, X.scale) if isinstance(X, Pixels) else (X, 1.0)
    if not stored.size or stored.dtype.kind == "b":
        return
    largest = max(float(stored.max()), -float(stored.min())) * abs(scale)
    if not USUAL < largest < np.inf:  # what is not finite is an error, found elsewhere
        return
    if _call.depth:
        if _call.warned:
            return
        _call.warned = True
    runtime_warning(
        f"{name}: inputs reach {largest:g} in size; a sigmoid of such sums is 0 or 1, so its "
        f"neurons hardly learn. Pixels stored as bytes: use fastbp.Pixels(X); else divide, e.g. "
        f"X / 255"
    )

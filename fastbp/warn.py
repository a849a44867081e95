"""Warnings, shown at the user's own line."""

import pathlib
import sys
import warnings

import numpy as np

from fastbp.pixels import Pixels

USUAL = 16  # inputs that are larger than this are pixels that nobody has scaled, most often
_PACKAGES = tuple(f"{pathlib.Path(m.__file__).parent}/" for m in (np, sys.modules["fastbp"]))


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
    runtime_warning(
        f"{name}: inputs reach {largest:g} in size; a sigmoid of such sums is 0 or 1, so its "
        f"neurons hardly learn. Pixels stored as bytes: use fastbp.Pixels(X); else divide, e.g. "
        f"X / 255"
    )

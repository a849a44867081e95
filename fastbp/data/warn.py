"""What all public calls share: they ignore underflow, and warn once, at the user's line."""

import contextlib
import functools
import pathlib
import sys
import threading
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar, overload

import numpy as np

from fastbp.data.pixels import Pixels

P = ParamSpec("P")
R = TypeVar("R")
LARGE = 16  # inputs above this are most often pixels 0..255 that have not been scaled
_PACKAGES = tuple(f"{pathlib.Path(m.__path__[0])}/" for m in (np, sys.modules["fastbp"]))


class _CallState(threading.local):
    """State of the public call that this thread is in, if it is in one."""

    active = False
    warned = False  # about large inputs


_call_state = _CallState()


@overload
def public(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def public(*, ignore: tuple[str, ...]) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def public(function=None, *, ignore=("under",)):
    """Decorate a public function or method: ignore these kinds of floating-point errors in it.

    An underflow to 0 is harmless, also for users who have set np.seterr(all="raise"). Functions
    that check their results for non-finite numbers ignore "over" and "invalid", too.
    """
    if function is None:
        return functools.partial(public, ignore=ignore)
    quiet = np.errstate(**dict.fromkeys(ignore, "ignore"))(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        if _call_state.active:
            return quiet(*args, **kwargs)
        _call_state.active, _call_state.warned = True, False
        try:
            return quiet(*args, **kwargs)
        finally:
            _call_state.active = False

    return call


@contextlib.contextmanager
def no_large_input_warnings():
    """Issue no warnings of large inputs in this thread meanwhile."""
    before = _call_state.active, _call_state.warned
    _call_state.active = _call_state.warned = True
    try:
        with np.errstate(under="ignore"):
            yield
    finally:
        _call_state.active, _call_state.warned = before


def runtime_warning(message):
    """Issue a RuntimeWarning for the first line on the stack outside of fastbp and NumPy."""
    frame, level = sys._getframe(1), 2
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGES):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)


def warn_about_large_inputs(X, name):
    """Warn if an array of inputs, or Pixels, holds numbers beyond +-LARGE."""
    stored, scale = (X.array, X.scale) if isinstance(X, Pixels) else (X, 1.0)
    if not stored.size or stored.dtype.kind == "b":
        return
    largest = max(float(stored.max()), -float(stored.min())) * abs(scale)
    if not LARGE < largest < np.inf:  # check_finite reports the others
        return
    if _call_state.active:
        if _call_state.warned:
            return
        _call_state.warned = True
    runtime_warning(
        f"{name}: inputs reach {largest:g} in size; a sigmoid of such sums is 0 or 1, so its "
        f"neurons hardly learn. Pixels stored as bytes: use fastbp.Pixels(X); else divide, e.g. "
        f"X / 255"
    )

"""The layers of a fitted perceptron in scikit-learn's form, `coefs_` and `intercepts_`, checked."""

from typing import NamedTuple

import numpy as np

from fastbp.data.messages import describe
from fastbp.data.numeric_arrays import as_numeric, check_finite


class FittedLayers(NamedTuple):
    """The layers of a perceptron, which fit each other and hold finite numbers."""

    sizes: tuple
    dtype: np.dtype  # float32 if the first layer's weights are, else float64
    coefs: list  # (n_in, n_out) each, of any real type
    intercepts: list  # (n_out,) each


def fitted_layers(model, prefix=""):
    """Return the FittedLayers of a model, or raise ValueError or TypeError.

    prefix: what is before the names of attributes in messages.
    """
    coefs, intercepts = (
        _arrays(getattr(model, name, None), f"{prefix}{name}") for name in ("coefs_", "intercepts_")
    )
    if len(coefs) != len(intercepts):
        raise ValueError(
            f"{prefix}coefs_ has {len(coefs)} arrays, {prefix}intercepts_ has {len(intercepts)}; "
            f"expected one of each per layer"
        )
    dtype = np.dtype(np.float32 if coefs[0].dtype == np.float32 else np.float64)
    sizes = [*coefs[0].shape[:1]]
    for l, (w, b) in enumerate(zip(coefs, intercepts)):
        w_name, b_name = f"{prefix}coefs_[{l}]", f"{prefix}intercepts_[{l}]"
        if w.ndim != 2 or not w.size:
            raise ValueError(f"{w_name} has shape {w.shape}, expected (n_in, n_out), both above 0")
        if len(w) != sizes[-1]:
            raise ValueError(
                f"{w_name} has shape {w.shape}, expected {(sizes[-1], w.shape[1])}: the layer "
                f"before it has {sizes[-1]} neurons"
            )
        sizes.append(w.shape[1])
        if b.shape != (sizes[-1],):
            raise ValueError(
                f"{b_name} has shape {b.shape}, expected {(sizes[-1],)}: {w_name} has {sizes[-1]} "
                f"columns"
            )
        for name, array in ((w_name, w), (b_name, b)):
            check_finite(array, name, "assign finite ones, or fit anew", dtype)
    return FittedLayers(tuple(sizes), dtype, coefs, intercepts)


def _arrays(arrays, name):
    if not isinstance(arrays, (list, tuple)) or not len(arrays):
        raise ValueError(f"{name} is {describe(arrays)}, expected a list of arrays, one per layer")
    return [as_numeric(array, f"{name}[{l}]") for l, array in enumerate(arrays)]

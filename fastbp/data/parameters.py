"""Weights and biases: checks of the lists of arrays, and conversion to one flat vector and back.

Invariant: a flat vector holds w1 b1 w2 b2 ..., each w (n_out, n_in) row-major, b (n_out,); errors
about shapes, types and values are raised before any weight changes.
"""

import contextlib

import numpy as np

from fastbp.data.messages import describe
from fastbp.data.numeric_arrays import as_numeric, cast, check_finite


def layer_views(flat, plan):
    """Return [(w, b), ...]: each layer's views (n_out, n_in) and (n_out,) into a flat vector."""
    return [
        (flat[w_start:b_start].reshape(n_out, n_in), flat[b_start : b_start + n_out])
        for (n_out, n_in), (w_start, b_start) in zip(plan.shapes, plan.offsets)
    ]


def unflatten(flat, plan):
    """Return (weights, biases): lists of new arrays, each with memory of its own."""
    return tuple([array.copy() for array in part] for part in views(flat, plan))


def views(flat, plan):
    """Return (weights, biases): lists of views (n_out, n_in) and (n_out, 1) into `flat`."""
    layers = layer_views(flat, plan)
    return [w for w, _ in layers], [b.reshape(-1, 1) for _, b in layers]


def by_name(weights, biases):
    """Return {"weights_0": ..., "biases_0": ...}: the names that arrays have in files."""
    return {f"weights_{l}": w for l, w in enumerate(weights)} | {
        f"biases_{l}": b for l, b in enumerate(biases)
    }


def check_layers(weights, biases, plan):
    """Return (weights, biases) as lists of arrays that fit the network.

    They may be lists, tuples, arrays of objects, or the 3-D array of layers of equal shape.
    Raises ValueError or TypeError for another container, or where an array's shape or type is
    wrong.
    """
    if _are_float_arrays(weights, biases, plan.shapes):
        return weights, biases
    return (
        _check_arrays("weights", weights, plan.shapes),
        _check_arrays("biases", biases, [(n_out, 1) for n_out, _ in plan.shapes]),
    )


def _check_arrays(name, arrays, shapes):
    """Return weights or biases as a list of arrays of these shapes, or raise."""
    if not isinstance(arrays, (list, tuple, np.ndarray)) or getattr(arrays, "ndim", 1) < 1:
        raise TypeError(f"{name} is {describe(arrays)}, expected a list of arrays, one per layer")
    if isinstance(arrays, np.ndarray):  # np.load returns a list of arrays as 3-D, or as objects
        arrays = [
            np.array(array.tolist()) if getattr(array, "dtype", None) == np.object_ else array
            for array in arrays
        ]
    if len(arrays) != len(shapes):
        raise ValueError(
            f"{name} has {len(arrays)} arrays, expected {len(shapes)}: one per layer after the "
            f"input layer"
        )
    checked = [as_numeric(array, f"{name}[{l}]") for l, array in enumerate(arrays)]
    for l, (array, shape) in enumerate(zip(checked, shapes)):
        if array.shape != tuple(shape):
            raise ValueError(f"{name}[{l}] has shape {array.shape}, expected {tuple(shape)}")
    return checked


def _are_float_arrays(weights, biases, shapes):
    """Tell, in a microsecond, whether these are lists of float arrays of the right shapes."""
    if not (type(weights) is type(biases) is list and len(weights) == len(biases) == len(shapes)):
        return False
    for w, b, (n_out, n_in) in zip(weights, biases, shapes):
        if not (type(w) is type(b) is np.ndarray and w.dtype.kind == b.dtype.kind == "f"):
            return False
        if w.shape != (n_out, n_in) or b.shape != (n_out, 1):
            return False
    return True


def flatten(weights, biases, plan, dtype):
    """Return a new flat vector with the values of weights and biases; raise as check_layers."""
    checked = check_layers(weights, biases, plan)
    flat = np.empty(plan.n_params, dtype)
    for targets, arrays in zip(views(flat, plan), checked):
        for target, array in zip(targets, arrays):
            target[...] = cast(array, dtype)
    return flat


def read_flat(plan, dtype, read):
    """Return a new flat vector of the arrays that read(name, l) returns for the layers of a file.

    name: "weights" or "biases". The shapes have to fit. Raises ValueError for a number that is not
    finite in `dtype`.
    """
    flat = np.empty(plan.n_params, dtype)
    for name, targets in zip(("weights", "biases"), views(flat, plan)):
        for l, target in enumerate(targets):
            array = read(name, l)
            with np.errstate(all="ignore"):
                target[...] = array
            if not np.isfinite(target).all():
                check_finite(array, f"{name}[{l}]", "correct the file", dtype)
    return flat


def all_finite(*lists, dtype=None):
    """Tell whether all arrays in these lists are finite; values of other types count as finite."""
    try:
        arrays = [np.asarray(array) for arrays in lists for array in arrays]
    except (TypeError, ValueError):
        return True
    real = (array for array in arrays if array.dtype.kind in "fiub")
    return all(np.isfinite(cast(array, dtype or array.dtype)).all() for array in real)


def check_finite_parameters(net):
    """Raise ValueError for the first weight or bias that is NaN or infinite."""
    lists = net.weights, net.biases
    with contextlib.suppress(TypeError, ValueError):  # a subclass may use other shapes
        lists = check_layers(*lists, net._plan)
    if all_finite(*lists, dtype=net.dtype):
        return
    for name, arrays in zip(("weights", "biases"), lists):
        for l, array in enumerate(arrays):
            array = np.asarray(array)
            if array.dtype.kind in "fiub":
                check_finite(array, f"{name}[{l}]", "assign finite ones", net.dtype)

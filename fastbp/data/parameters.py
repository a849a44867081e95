"""Weights and biases: lists of arrays checked, and brought to one flat vector and back.

Invariant: a flat vector holds w1 b1 w2 b2 ..., each w (n_out, n_in) row-major, b (n_out,); errors
about shapes, types and values are raised before any weight changes.
"""

import contextlib
import itertools

import numpy as np

from fastbp.data.arguments import brief
from fastbp.data.numeric_arrays import cast, numeric, refuse_strange_numbers


def layers_of(flat, plan):
    """Return [(w, b), ...]: each layer's views (n_out, n_in) and (n_out,) into a flat vector."""
    layers = []
    for (n_in, n_out), (w_at, b_at) in zip(itertools.pairwise(plan.sizes), plan.offsets):
        w, b = flat[w_at:b_at].reshape(n_out, n_in), flat[b_at : b_at + n_out]
        layers.append((w, b))
    return layers


def separate(flat, plan):
    """Return (weights, biases): lists of new arrays, each with memory of its own."""
    return tuple([array.copy() for array in part] for part in views(flat, plan))


def views(flat, plan):
    """Return (weights, biases): lists of views (n_out, n_in) and (n_out, 1) into `flat`."""
    both = layers_of(flat, plan)
    return [w for w, _ in both], [b.reshape(-1, 1) for _, b in both]


def layers(weights, biases, plan):
    """Return (weights, biases) as lists of arrays that fit the network.

    They may be lists, tuples, arrays of objects, or the 3-D array of layers of equal shape.
    Raises ValueError or TypeError where a list, an array's shape or its type does not.
    """
    if _are_usual(weights, biases, plan.shapes):
        return weights, biases
    lists = []
    for name, given, column in (("weights", weights, False), ("biases", biases, True)):
        if not isinstance(given, (list, tuple, np.ndarray)) or getattr(given, "ndim", 1) < 1:
            raise TypeError(f"{name} is {brief(given)}, expected a list of arrays, one per layer")
        if isinstance(given, np.ndarray):  # as np.load gives it: 3-D, or of objects
            given = [
                np.array(layer.tolist()) if getattr(layer, "dtype", None) == np.object_ else layer
                for layer in given
            ]
        if len(given) != len(plan.sizes) - 1:
            raise ValueError(
                f"{name} has {len(given)} arrays, expected {len(plan.sizes) - 1}: one per layer "
                f"after the input layer"
            )
        arrays = [numeric(array, f"{name}[{l}]") for l, array in enumerate(given)]
        for l, (n_in, n_out) in enumerate(itertools.pairwise(plan.sizes)):
            wanted = (n_out, 1 if column else n_in)
            if arrays[l].shape != wanted:
                raise ValueError(f"{name}[{l}] has shape {arrays[l].shape}, expected {wanted}")
        lists.append(arrays)
    return lists


def _are_usual(weights, biases, shapes):
    """Tell, in a microsecond, whether these are lists of arrays of floats of the right shapes."""
    if not (type(weights) is type(biases) is list and len(weights) == len(biases) == len(shapes)):
        return False
    for w, b, (n_out, n_in) in zip(weights, biases, shapes):
        if not (type(w) is type(b) is np.ndarray and w.dtype.kind == b.dtype.kind == "f"):
            return False
        if w.shape != (n_out, n_in) or b.shape != (n_out, 1):
            return False
    return True


def flatten(weights, biases, plan, dtype):
    """Return a new flat vector with the values of weights and biases. Raises as layers does."""
    checked = layers(weights, biases, plan)
    flat = np.empty(plan.n_params, dtype)
    for slots, given in zip(views(flat, plan), checked):
        for slot, array in zip(slots, given):
            slot[...] = cast(array, dtype)
    return flat


def filled(plan, dtype, read):
    """Return a new flat vector with what read(name, l) returns for the layers of a file.

    name: "weights" or "biases"; the shapes have to fit. Raises ValueError that says where a number
    is not finite.
    """
    flat = np.empty(plan.n_params, dtype)
    for name, slots in zip(("weights", "biases"), views(flat, plan)):
        for l, slot in enumerate(slots):
            _put(slot, read(name, l), f"{name}[{l}]")
    return flat


def _put(slot, numbers, name):
    """Write an array of numbers into `slot`, an array of floats, which has to be finite then.

    Raises ValueError that says where in `name` a number is not.
    """
    with np.errstate(all="ignore"):
        slot[...] = numbers
        finite = np.isfinite(slot)
    if not finite.all():
        at = np.unravel_index(finite.argmin(), slot.shape)
        raise ValueError(
            f"{name} holds {numbers[at]} at {[int(i) for i in at]}, expected numbers that are "
            f"finite in {slot.dtype}"
        )


def all_finite(*lists, dtype=None):
    """Tell whether all arrays in these lists are; what is no list of numbers counts as finite."""
    try:
        every = (np.asarray(array) for arrays in lists for array in arrays)
        real = (array for array in every if array.dtype.kind in "fiub")
        return all(np.isfinite(cast(array, dtype or array.dtype)).all() for array in real)
    except (TypeError, ValueError):
        return True


def refuse_strange_weights(net):
    """Raise ValueError for the first weight or bias that is NaN or infinite."""
    lists = net.weights, net.biases
    with contextlib.suppress(TypeError, ValueError):  # those of somebody's own need not fit
        lists = layers(*lists, net._plan)
    if all_finite(*lists, dtype=net.dtype):
        return
    for name, given in zip(("weights", "biases"), lists):
        for l, array in enumerate(given):
            array = np.asarray(array)
            if array.dtype.kind in "fiub":
                refuse_strange_numbers(array, f"{name}[{l}]", "assign finite ones", net.dtype)

"""Arguments, columns and parameters: checked, and parameters brought to one flat vector.

Invariant: every error about a shape, a type or a value is raised before any weight changes, and
says what is wrong, where, what was seen, what was expected and what to do. Data sets: datasets.py.
"""

import contextlib
import itertools
import numbers
import operator

import numpy as np

from fastbp import engine
from fastbp.data import warn

MOST_WEIGHTS = 2**40  # of a network: beyond it sizes are a mistake

# ------------------------------------------------ arguments


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


# ------------------------------------------------ parameters


def separate(flat, plan):
    """Return (weights, biases): lists of new arrays, each with memory of its own."""
    return tuple([array.copy() for array in part] for part in views(flat, plan))


def views(flat, plan):
    """Return (weights, biases): lists of views (n_out, n_in) and (n_out, 1) into `flat`."""
    both = engine.layers_of(flat, plan)
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
                _refuse_strange(array, f"{name}[{l}]", "assign finite ones", net.dtype)


# ------------------------------------------------ data


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
        _refuse_strange(array, name, "mend it")
        warn.of_large_inputs(array, name)
    return array


def refuse_strange(X, Y, dtype, name):
    """Raise ValueError for the first sample whose x or y is NaN, infinite, or beyond `dtype`.

    X (n, n_in); Y (n, n_out) or None.
    """
    for part, array in (("x", X), ("y", Y)):
        if array is None or array.dtype.kind != "f":
            continue
        strange = ~np.isfinite(cast(array, dtype)).all(axis=1)
        for i in np.flatnonzero(strange)[:1]:
            _refuse_strange(array[i], f"{name}[{i}]: {part}", "mend or leave out the sample", dtype)


def _refuse_strange(array, what, remedy, dtype=None):
    strange = np.argwhere(~np.isfinite(cast(array, dtype or array.dtype)))
    if len(strange):
        place = tuple(strange[0].tolist())
        raise ValueError(
            f"{what} is {array[place]} at {list(place)}, expected finite numbers"
            f"{f' in {dtype}' if dtype else ''}; {remedy}"
        )


# ------------------------------------------------ how it is done


def brief(value):
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


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


def one_line(error):
    return " ".join(str(error).split()) or type(error).__name__

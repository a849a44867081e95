"""The boundary: the book's lists of (x, y) to contiguous arrays, parameters to one flat vector.

Law: every error about a shape, a type or a value is raised here, before any weight changes, and
says what is wrong, where, what was seen, what was wanted and what to do. Inputs x of type uint8 are
pixels, and mean value/256, as the book's loader scales them; all other types mean what they say.
"""

import itertools
import operator

import numpy as np

from fastbp import engine

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
        raise TypeError(f"{name} is {brief(value)}, expected an integer; use int({name})") from None
    if count < least:
        raise ValueError(f"{name} is {count}, expected at least {least}")
    return count


def check_rate(name, value, dtype):
    """Return a real number that is finite in `dtype` as a float, or raise."""
    try:
        rate = float(value)
    except OverflowError:
        rate = np.inf
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {brief(value)}, expected a number") from None
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


def views(flat, plan):
    """Return (weights, biases): lists of views (n_out, n_in) and (n_out, 1) into `flat`."""
    both = engine.layers_of(flat, plan)
    return [w for w, _ in both], [b.reshape(-1, 1) for _, b in both]


def layers(weights, biases, plan):
    """Return (weights, biases) as lists of arrays that fit the network.

    Raises ValueError or TypeError where a list, an array's shape or its type does not.
    """
    lists = []
    for name, given, column in (("weights", weights, False), ("biases", biases, True)):
        if not isinstance(given, (list, tuple)):
            raise TypeError(f"{name} is {brief(given)}, expected a list of arrays, one per layer")
        if len(given) != len(plan.sizes) - 1:
            raise ValueError(
                f"{name} has {len(given)} arrays, expected {len(plan.sizes) - 1}: one per layer "
                f"after the input layer"
            )
        arrays = [_numeric(array, f"{name}[{l}]") for l, array in enumerate(given)]
        for l, (n_in, n_out) in enumerate(itertools.pairwise(plan.sizes)):
            wanted = (n_out, 1 if column else n_in)
            if arrays[l].shape != wanted:
                raise ValueError(f"{name}[{l}] has shape {arrays[l].shape}, expected {wanted}")
        lists.append(arrays)
    return lists


def flatten(weights, biases, plan, dtype):
    """Return a new flat vector with the values of weights and biases. Raises as layers does."""
    checked = layers(weights, biases, plan)
    flat = np.empty(plan.n_params, dtype)
    for slots, given in zip(views(flat, plan), checked):
        for slot, array in zip(slots, given):
            slot[...] = _cast(array, dtype)
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
        return all(np.isfinite(_cast(array, dtype or array.dtype)).all() for array in real)
    except (TypeError, ValueError):
        return True


def refuse_strange_weights(net):
    """Raise ValueError for the first weight or bias that is NaN or infinite."""
    if net._is_published():
        if engine.is_finite(net._flat):
            return
    elif all_finite(net.weights, net.biases, dtype=net.dtype):
        return
    for name in ("weights", "biases"):
        for l, array in enumerate(getattr(net, name)):
            array = np.asarray(array)
            if array.dtype.kind in "fiub":
                _refuse_strange(array, f"{name}[{l}]", "assign finite ones", net.dtype)


# ------------------------------------------------ data


def is_arrays(data):
    """Tell whether data is the array form: a tuple of exactly two ndarrays (X, Y)."""
    return (
        isinstance(data, tuple)
        and len(data) == 2
        and isinstance(data[0], np.ndarray)
        and isinstance(data[1], np.ndarray)
    )


def materialise(data, name):
    """Return data itself if it can be read twice (arrays, list, tuple), else a list of it."""
    if is_arrays(data) or isinstance(data, (list, tuple)):
        return data
    try:
        pairs = list(data)
    except TypeError:
        raise TypeError(
            f"{name} is {brief(data)}, expected pairs (x, y) or a tuple of two arrays (X, Y)"
        ) from None
    if not pairs:
        raise _empty(name)
    return pairs


def training_arrays(data, plan, dtype, name="training_data"):
    """Return (X, Y): X (n, n_in) float64, float32 or uint8, Y (n, n_out) of `dtype`, C-contiguous.

    data: the book's pairs, x (n_in, 1) and y (n_out, 1), or arrays (X, Y) with Y of one-hot rows
    or of integer labels (n,). No copy is made of arrays that already fit.
    """
    n_in, n_out = plan.sizes[0], plan.sizes[-1]
    if is_arrays(data):
        X, Y = _rows(data[0], n_in, dtype, name), data[1]
        _same_length(X, Y, name)
        if Y.ndim == 1:
            return X, one_hot(_labels(Y, n_out, name), n_out, dtype)
        _check_row_shape(Y, n_out, f"{name}: Y", "or labels (n,)")
        return X, np.ascontiguousarray(_cast(_numeric(Y, f"{name}: Y"), dtype))
    X, Y = _stacked(data, n_in, (n_out, 1), name)
    X, Y = X.reshape(len(data), n_in), Y.reshape(len(data), n_out)
    return _stored(X, dtype), np.ascontiguousarray(_cast(Y, dtype))


def labelled_arrays(data, plan, dtype, name="test_data"):
    """Return (X, labels): X (n, n_in) as training_arrays gives it, labels (n,) int64.

    data: the book's pairs of x (n_in, 1) and an integer label, or arrays (X, labels) or (X, Y)
    with Y of one-hot rows (n, n_out).
    """
    n_in, n_out = plan.sizes[0], plan.sizes[-1]
    if is_arrays(data):
        X, Y = _rows(data[0], n_in, dtype, name), data[1]
        _same_length(X, Y, name)
        if Y.ndim == 1:
            return X, _labels(Y, n_out, name)
        _check_row_shape(Y, n_out, f"{name}: Y", "or labels (n,)")
        return X, _numeric(Y, f"{name}: Y").argmax(axis=1)
    X, labels = _stacked(data, n_in, (), name)
    return _stored(X.reshape(len(data), n_in), dtype), _labels(labels, n_out, name)


def pairs(data, plan, dtype, name="training_data"):
    """Return training data as the book's list of pairs (x, y), for the general path."""
    if not is_arrays(data):
        if not len(data):
            raise _empty(name)
        return list(data)
    X, Y = training_arrays(data, plan, dtype, name)
    return list(zip(as_values(X, dtype)[:, :, None], Y[:, :, None]))


def labelled_pairs(data, plan, dtype, check_x, name="test_data"):
    """Return test data as the book's list of pairs (x, label), for the general path.

    check_x: hold x to the shape (n_in, 1), too; whoever writes their own feedforward need not.
    Raises ValueError or TypeError where a label is not an integer 0..n_out-1.
    """
    if is_arrays(data):
        X, labels = labelled_arrays(data, plan, dtype, name)
        return list(zip(as_values(X, dtype)[:, :, None], labels.tolist()))
    if not len(data):
        raise _empty(name)
    checked = []
    for i, pair in enumerate(data):
        x, y = _pair(pair, f"{name}[{i}]", plan.sizes[0])
        if check_x:
            x = columns(x, plan.sizes[0], dtype, f"{name}[{i}]: x", 1)
        checked.append((x, _label(y, plan.sizes[-1], f"{name}[{i}]")))
    return checked


def columns(a, n, dtype, name, m=None):
    """Return m columns (n, m) as an array of `dtype`; m: the number wanted, None for any.

    Raises ValueError for any other shape; a 1-D vector is the most common mistake.
    """
    array = _numeric(a, name)
    if array.ndim != 2 or array.shape[0] != n or (m is not None and array.shape[1] != m):
        wanted = f"({n}, 1)" if m == 1 else f"({n}, 1), or ({n}, m) for m samples"
        raise ValueError(
            f"{name} has shape {array.shape}, expected {wanted}{_reshape_hint(array, n, name)}"
        )
    return as_values(array, dtype)


def refuse_strange_column(a, name):
    """Raise ValueError for the first number in an array that is not finite."""
    _refuse_strange(a, name, "mend it")


def refuse_strange(X, Y, dtype, name):
    """Raise ValueError for the first sample whose x or y is NaN, infinite, or beyond `dtype`.

    X (n, n_in); Y (n, n_out) or None.
    """
    for part, array in (("x", X), ("y", Y)):
        if array is None or array.dtype.kind != "f":
            continue
        strange = ~np.isfinite(_cast(array, dtype)).all(axis=1)
        for i in np.flatnonzero(strange)[:1]:
            _refuse_strange(array[i], f"{name}[{i}]: {part}", "mend or leave out the sample", dtype)


def _refuse_strange(array, what, remedy, dtype=None):
    strange = np.argwhere(~np.isfinite(_cast(array, dtype or array.dtype)))
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


def _empty(name):
    return ValueError(
        f"{name} is empty, expected at least one sample; an iterator (zip, map, a generator) is "
        f"used up after one pass: pass list({name})"
    )


def _numeric(value, what):
    """Return value as an array of real numbers in native byte order, or raise."""
    try:
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"{what} is a masked array, expected plain numbers; use .filled(0)")
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{what} is ragged, expected an array of numbers") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} has dtype {array.dtype}, expected real numbers")
    return array


def as_values(x, dtype):
    """Return inputs as values of `dtype`: pixels of uint8 become value/256."""
    values = _cast(x, dtype)
    return values / dtype.type(256) if x.dtype == np.uint8 else values


def _cast(array, dtype):
    """Return numbers in another type; what is beyond it becomes infinite, and is found later."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _stored(X, dtype):
    """Return X C-contiguous in a type that the gather reads: anything else is cast once, here."""
    kind = X.dtype if X.dtype in engine.STORED else dtype
    return np.ascontiguousarray(_cast(X, kind.newbyteorder("=")))


def _rows(X, n_in, dtype, name):
    X = _numeric(X, f"{name}: X")
    _check_row_shape(X, n_in, f"{name}: X")
    if not len(X):
        raise _empty(name)
    return _stored(X, dtype)


def _check_row_shape(array, n, what, alternative=""):
    if array.ndim != 2 or array.shape[1] != n:
        hint = ""
        if array.ndim == 2 and array.shape[1] == 1 and what[-1] == "Y":
            hint = "; use Y.ravel() for labels"
        elif array.ndim > 2 and array[0].size == n:
            hint = f"; use {what[-1]}.reshape(len({what[-1]}), -1)"
        raise ValueError(
            f"{what} has shape {array.shape}, expected (n, {n}), one sample a row"
            f"{' ' + alternative if alternative else ''}{hint}"
        )


def _same_length(X, Y, name):
    if not Y.ndim or len(X) != len(Y):
        raise ValueError(
            f"{name}: X has {len(X)} rows and Y has shape {Y.shape}, expected as many rows"
        )


def _labels(labels, n_out, name):
    """Return integer labels 0..n_out-1 as int64, or raise naming the first that is not one."""
    labels = _numeric(labels, f"{name}: labels")
    if labels.dtype.kind == "f" and (np.abs(labels) < 2**53).all():
        whole = labels.astype(np.int64)
        labels = whole if (whole == labels).all() else labels
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: labels have dtype {labels.dtype}, expected integers 0..{n_out - 1}"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= n_out))
    if wrong.size:
        raise ValueError(
            f"{name}[{wrong[0]}]: label {labels[wrong[0]]} is outside 0..{n_out - 1}, the "
            f"network has {n_out} output neurons"
        )
    return labels.astype(np.int64, copy=False)


def one_hot(labels, n_out, dtype):
    """Return rows (n, n_out) with a 1 in the place of each label."""
    Y = np.zeros((len(labels), n_out), dtype)
    Y[np.arange(len(labels)), labels] = 1
    return Y


def _stacked(data, n_in, y_shape, name):
    """Return the pairs (x, y) of the book's list as two arrays (n, n_in, 1) and (n, *y_shape)."""
    if not len(data):
        raise _empty(name)
    try:
        X = np.array([x for x, _ in data])
        Y = np.array([y for _, y in data])
    except (TypeError, ValueError):
        X = Y = None
    fits = (
        X is not None
        and X.shape == (len(data), n_in, 1)
        and Y.shape == (len(data), *y_shape)
        and X.dtype.kind in "fiub"
        and Y.dtype.kind in "fiub"
    )
    if not fits:
        _explain(data, n_in, y_shape, name)
    return X, Y


def _explain(data, n_in, y_shape, name):
    """Raise the error that names the first pair that does not fit."""
    if len(data) == 2 and all(isinstance(part, np.ndarray) for part in data):
        raise TypeError(f"{name} is a list of two arrays, expected a tuple: ({name}[0], {name}[1])")
    for i, pair in enumerate(data):
        where = f"{name}[{i}]"
        x, y = _pair(pair, where, n_in)
        x = _numeric(x, f"{where}: x")
        if x.shape != (n_in, 1):
            hint = _reshape_hint(x, n_in, "x")
            raise ValueError(f"{where}: x has shape {x.shape}, expected ({n_in}, 1){hint}")
        if y_shape == ():
            _label(y, None, where)
            continue
        y = _numeric(y, f"{where}: y")
        if y.shape == ():
            hint = _reshape_hint(y, y_shape[0], "y")
            raise ValueError(f"{where}: y is the label {y}, expected a column {y_shape}{hint}")
        if y.shape != y_shape:
            hint = _reshape_hint(y, y_shape[0], "y")
            raise ValueError(f"{where}: y has shape {y.shape}, expected {y_shape}{hint}")
    raise ValueError(f"{name}: the samples do not form arrays of numbers; give x and y one type")


def _pair(pair, where, n_in):
    try:
        x, y = pair
    except (TypeError, ValueError):
        raise ValueError(
            f"{where} is {brief(pair)}, expected a pair (x, y) with x of shape ({n_in}, 1)"
        ) from None
    return x, y


def _label(y, n_out, where):
    """Return one label as an int, or raise; n_out None: of any value."""
    if type(y) is int and (n_out is None or 0 <= y < n_out):
        return y
    y = _numeric(y, f"{where}: y")
    if y.shape != ():
        raise ValueError(
            f"{where}: y has shape {y.shape}, expected an integer label, not a vector; use "
            f"int(np.argmax(y))"
        )
    if y.dtype.kind == "b" or not np.isfinite(y) or int(y) != y:
        raise TypeError(f"{where}: y is {y}, expected an integer label")
    if n_out is not None and not 0 <= y < n_out:
        raise ValueError(f"{where}: label {int(y)} is outside 0..{n_out - 1}")
    return int(y)


def _reshape_hint(array, n, name):
    if array.ndim == 0 and name == "y":
        return f"; use fastbp.mnist_loader.vectorized_result(y, {n})"
    if array.ndim == 1 and array.size == n:
        return f"; use {name}.reshape(-1, 1)"
    if array.ndim == 2 and array.shape[1] == n:
        return f"; use {name}.T"
    return f": the network was built for {n}"

"""Data sets as people have them, brought to arrays: X one sample a row, Y one target a row.

Invariants: numbers mean what they say, whatever their type; only `Pixels` are scaled. Every error
names the sample, says what was seen and what was expected, and is raised before any weight changes.
"""

import numpy as np

from fastbp import engine
from fastbp.data import answers, arguments, numeric_arrays
from fastbp.data.pixels import Pixels

# ------------------------------------------------ containers


def is_arrays(data):
    """Tell whether data is the array form: a tuple of arrays X and Y, as materialise gives it."""
    return (
        isinstance(data, tuple)
        and len(data) == 2
        and isinstance(data[0], (np.ndarray, Pixels))
        and isinstance(data[1], np.ndarray)
    )


def materialise(data, name):
    """Return data in a form that can be read twice: (X, Y) of arrays, a list or a tuple of pairs.

    Raises TypeError or ValueError for what is neither, with the conversion that makes it so.
    """
    if isinstance(data, tuple) and len(data) == 2 and _is_table(data[0]):
        if is_arrays(data) and not any(isinstance(part, np.matrix) for part in data):
            return data
        return as_arrays(*data, name)
    if isinstance(data, (list, tuple)):
        return data
    kind = type(data).__name__
    if isinstance(data, Pixels) or hasattr(data, "toarray"):
        raise TypeError(f"{name} is {kind} alone, expected a tuple of inputs and targets (X, Y)")
    if hasattr(data, "to_numpy"):
        raise TypeError(
            f"{name} is a {kind}, expected a tuple (X, Y); use "
            f"(data.drop(columns='label').to_numpy(), data['label'].to_numpy()), with the name of "
            f"your column of targets"
        )
    if isinstance(data, np.ndarray) and data.dtype != object:
        raise TypeError(
            f"{name} is one array of shape {data.shape}, expected a tuple of two (X, Y), or pairs "
            f"(x, y)"
        )
    try:
        pairs = list(data)
    except TypeError:
        raise TypeError(
            f"{name} is {arguments.brief(data)}, expected pairs (x, y) or a tuple of two arrays "
            f"(X, Y)"
        ) from None
    if not pairs:
        raise empty(name)
    return pairs


def as_arrays(X, Y, name):
    """Return (X, Y) as arrays, or as Pixels; raise TypeError or ValueError for what is neither."""
    return _as_array(X, f"{name}: X"), _as_array(Y, f"{name}: Y")


def _is_table(X):
    """Tell whether X is meant as (n, n_in), not as a pair (x, y)."""
    if isinstance(X, (np.ndarray, Pixels)):
        return True
    if any(hasattr(X, method) for method in ("to_numpy", "toarray", "__array__")):
        return True
    try:
        return isinstance(X, list) and len(X) > 0 and np.ndim(X[0]) == 1
    except ValueError:  # it is ragged: a pair
        return False


def _as_array(table, name):
    """Return a table as an array, or as it is where it is one or is Pixels."""
    if isinstance(table, np.matrix):
        return np.asarray(table)
    if isinstance(table, (np.ndarray, Pixels)):
        return table
    letter = name[-1]
    if hasattr(table, "toarray"):
        raise TypeError(
            f"{name} is a sparse {type(table).__name__}, expected a dense array; use "
            f"{letter}.toarray()"
        )
    if isinstance(table, list) and any(isinstance(row, np.ma.MaskedArray) for row in table):
        raise TypeError(
            f"{name} holds masked arrays, expected plain numbers; use "
            f"[row.filled(0) for row in {letter}]"
        )
    try:
        return table.to_numpy() if hasattr(table, "to_numpy") else np.asarray(table)
    except ValueError:
        raise ValueError(f"{name} is ragged, expected an array of numbers") from None
    except (TypeError, RuntimeError) as error:  # e.g. a tensor that records its gradient
        raise TypeError(f"{name} can't be read as an array: {arguments.one_line(error)}") from None


def empty(name):
    return ValueError(
        f"{name} is empty, expected at least one sample; an iterator (zip, map, a generator) is "
        f"used up after one pass: pass list({name})"
    )


# ------------------------------------------------ to arrays


def training_arrays(data, plan, dtype, name="training_data"):
    """Return (X, Y): X (n, n_in) as `inputs` gives it, Y (n, n_out) of `dtype`, C-contiguous.

    data: the book's pairs, x (n_in, 1) and y (n_out, 1), or arrays (X, Y) with Y of rows (n, n_out)
    or of integer labels (n,). With one output neuron the targets are numbers: (n,) or (n, 1), and
    in pairs also scalars. No copy is made of arrays that already fit.
    """
    n_in, n_out = plan.sizes[0], plan.sizes[-1]
    if is_arrays(data):
        X, Y = _checked_arrays(data, plan, dtype, name)
        return X, targets(Y, n_out, dtype, name)
    X, Y = _stacked(data, n_in, name, lambda y, where: _target(y, n_out, where), n_out)
    return _stored(X, dtype), np.ascontiguousarray(numeric_arrays.cast(Y, dtype))


def labelled_arrays(data, plan, dtype, activation, name="test_data"):
    """Return (X, expected): X as training_arrays gives it, the expected answers (n,), int64.

    data: the book's pairs (x, label), where a label may also be a float that is an integer, an
    array of one, or a one-hot column (n_out, 1); or arrays (X, labels), or (X, Y) with Y of rows
    (n, n_out) that have one largest number each. activation: of the output layer. With one output
    neuron the expected answers are its two numbers, see answers.py.
    """
    n_in, n_out = plan.sizes[0], plan.sizes[-1]
    answers.check_has_answers(n_out, activation)
    if is_arrays(data):
        X, Y = _checked_arrays(data, plan, dtype, name)
        return X, expected(Y, n_out, activation, name)
    X, labels = _stacked(data, n_in, name, lambda y, where: _label(y, n_out, where), 1)
    if n_out == 1:
        return _stored(X, dtype), answers.check_expected(labels[:, 0], activation, name)
    return _stored(X, dtype), _labels(labels[:, 0], n_out, name)


def evaluation_targets(data, plan, dtype, name):
    """Return (X, Y) of evaluation data as training_arrays does; its pairs hold labels, too."""
    n_in, n_out = plan.sizes[0], plan.sizes[-1]
    if is_arrays(data) or n_out == 1 or _holds_columns(data, n_out):
        return training_arrays(data, plan, dtype, name)
    X, labels = _stacked(data, n_in, name, lambda y, where: _label(y, n_out, where), 1)
    return _stored(X, dtype), one_hot(_labels(labels[:, 0], n_out, name), n_out, dtype)


def _holds_columns(data, n_out):
    """Tell whether the first pair's y is a column: then all are, of real targets or one-hot."""
    try:
        return np.shape(data[0][1]) == (n_out, 1)
    except (TypeError, ValueError, IndexError, KeyError):
        return False


def pairs(data, plan, dtype, name="training_data"):
    """Return training data as the book's list of pairs (x, y), for the general path."""
    if not is_arrays(data):
        if not len(data):
            raise empty(name)
        return list(data)
    X, Y = training_arrays(data, plan, dtype, name)
    return list(zip(as_values(X, dtype)[:, :, None], Y[:, :, None]))


def labelled_pairs(data, plan, dtype, activation, name="test_data"):
    """Return test data as the book's list of pairs (x, label), for the general path.

    The x of pairs are not looked at: whoever writes their own feedforward may have others.
    """
    n_out = plan.sizes[-1]
    if is_arrays(data):
        X, labels = labelled_arrays(data, plan, dtype, activation, name)
        return list(zip(as_values(X, dtype)[:, :, None], labels.tolist()))
    answers.check_has_answers(n_out, activation)
    if not len(data):
        raise empty(name)
    xs, labels = [], []
    for i, pair in enumerate(data):
        x, y = _pair(pair, f"{name}[{i}]", plan.sizes[0])
        xs.append(x)
        labels.append(_label(y, n_out, f"{name}[{i}]"))
    if n_out == 1:
        labels = answers.check_expected(np.array(labels), activation, name).tolist()
    return list(zip(xs, labels))


# ------------------------------------------------ inputs


def inputs(X, n_in, dtype, name):
    """Return X (n, n_in) contiguous: Pixels, or an array of float64, float32 or else `dtype`."""
    if not isinstance(X, Pixels):
        X = numeric_arrays.numeric(X, f"{name}: X")
    if X.ndim != 2 or X.shape[1] != n_in:
        hint = ""
        if X.ndim > 2 and X[0].size == n_in:
            hint = "; use np.reshape(X, (len(X), -1))"
        elif X.ndim == 1 and X.size == n_in:
            hint = "; use np.reshape(X, (1, -1)) for one sample"
        elif X.shape == (n_in, 1):
            hint = "; use np.transpose(X) for one sample"
        elif X.ndim == 1 and n_in == 1:
            hint = "; use np.reshape(X, (-1, 1))"
        raise ValueError(
            f"{name}: X has shape {X.shape}, expected (n, {n_in}), one sample a row{hint}"
        )
    if not len(X):
        raise empty(name)
    return _stored(X, dtype)


def _stored(X, dtype):
    """Return inputs contiguous in a type that the kernels read; anything else is cast here."""
    if isinstance(X, Pixels):
        return X if X.array.flags.c_contiguous else Pixels(X.array.copy(), X.scale)
    kind = X.dtype if X.dtype in engine.STORED else dtype
    return np.ascontiguousarray(numeric_arrays.cast(X, kind.newbyteorder("=")))


def as_values(X, dtype):
    """Return inputs (n, n_in) as an array of `dtype`, Pixels scaled."""
    return X.values(dtype) if isinstance(X, Pixels) else numeric_arrays.cast(X, dtype)


def _stacked(data, n_in, name, convert, width):
    """Return (X, Y) of pairs: X (n, n_in); Y (n, width), what convert(y, where) returns of each y.

    The usual pairs become arrays at once; only where that fails, each is converted by itself.
    """
    if not len(data):
        raise empty(name)
    n = len(data)
    try:
        kinds = {type(x) for x, _ in data} | {type(y) for _, y in data}
        if any(issubclass(kind, np.ma.MaskedArray) for kind in kinds):
            raise TypeError("NumPy would forget the masks")
        X = np.array([x for x, _ in data])
        Y = np.array([y for _, y in data])
    except (TypeError, ValueError, RuntimeError):
        X = Y = None
    else:
        X = X if X is not None and X.shape == (n, n_in, 1) and X.dtype.kind in "fiub" else None
        usual = Y.shape == (n, width, 1) if width > 1 else Y.size == n and Y.ndim <= 3
        Y = Y if usual and Y.dtype.kind in ("fiub" if width > 1 else "fiu") else None
    if X is None or Y is None:
        return _one_by_one(data, n_in, name, convert)
    return X.reshape(n, n_in), Y.reshape(n, width)


def _one_by_one(data, n_in, name, convert):
    """The same, pair by pair, with the error that names the first that does not fit."""
    if len(data) == 2 and all(isinstance(part, np.ndarray) for part in data):
        raise TypeError(f"{name} is a list of two arrays, expected a tuple; use tuple({name})")
    xs, ys = [], []
    for i, pair in enumerate(data):
        where = f"{name}[{i}]"
        x, y = _pair(pair, where, n_in)
        given, x = x, numeric_arrays.numeric(x, f"{where}: x")
        if x.shape != (n_in, 1):
            hint = numeric_arrays.reshape_hint(given, n_in, "x")
            if x.ndim == 2 and x.shape[1] == n_in and len(x) > 1:
                hint = f"; a batch of {len(x)} samples belongs in the array form, (X, Y)"
            raise ValueError(f"{where}: x has shape {x.shape}, expected ({n_in}, 1){hint}")
        xs.append(x)
        ys.append(np.atleast_1d(convert(y, where)))
    return np.array(xs).reshape(len(data), n_in), np.array(ys).reshape(len(data), -1)


def _pair(pair, where, n_in):
    try:
        x, y = pair
    except (TypeError, ValueError):
        raise ValueError(
            f"{where} is {arguments.brief(pair)}, expected a pair (x, y) with x of shape "
            f"({n_in}, 1)"
        ) from None
    return x, y


def _checked_arrays(data, plan, dtype, name):
    """Return (X, Y) of the array form, X as `inputs` gives it, both of one length; or raise."""
    X, Y = data
    n_in, n_out = plan.sizes[0], plan.sizes[-1]
    if X.shape == (n_in, 1) and Y.shape == (n_out, 1) and n_in > 1:
        raise ValueError(f"{name} is one pair (x, y), expected a list of pairs; use [{name}]")
    X = inputs(X, n_in, dtype, name)
    if Y.ndim and len(X) == len(Y):
        return X, Y
    hint = "; use np.ravel(Y)" if Y.size == len(X) else ""
    raise ValueError(
        f"{name}: X has {len(X)} rows and Y has shape {Y.shape}, expected as many rows{hint}"
    )


# ------------------------------------------------ targets and labels


def targets(Y, n_out, dtype, name):
    """Return the targets (n, n_out), of `dtype`, of rows, of labels, or of one neuron's numbers."""
    Y = numeric_arrays.numeric(Y, f"{name}: Y")
    if n_out > 1 and (Y.ndim == 1 or Y.shape[1:] == (1,)):
        return one_hot(_labels(Y.reshape(-1), n_out, name), n_out, dtype)
    _check_target_shape(Y, n_out, name)
    return np.ascontiguousarray(numeric_arrays.cast(Y.reshape(len(Y), n_out), dtype))


def expected(Y, n_out, activation, name):
    """Return the expected answers (n,), int64, of the Y of a test set in array form."""
    Y = numeric_arrays.numeric(Y, f"{name}: Y")
    if n_out > 1 and (Y.ndim == 1 or Y.shape[1:] == (1,)):
        return _labels(Y.reshape(-1), n_out, name)
    _check_target_shape(Y, n_out, name)
    return answers_of_targets(Y.reshape(len(Y), n_out), activation, name)


def answers_of_targets(Y, activation, name, one_hot=False):
    """Return the expected answers (n,), int64, of targets (n, n_out).

    one_hot: the targets have to be exactly that; else one largest number is enough.
    """
    n_out = Y.shape[1]
    if n_out == 1:
        return answers.check_expected(Y[:, 0], activation, name)
    largest = Y.max(axis=1, keepdims=True)
    unclear = (largest == Y).sum(axis=1) != 1
    if one_hot:
        unclear |= (np.count_nonzero(Y, axis=1) != 1) | (largest[:, 0] != 1)
    ambiguous = np.flatnonzero(unclear)
    if ambiguous.size:
        i = ambiguous[0]
        raise ValueError(
            f"{name}[{i}]: y is {arguments.brief(Y[i].tolist())}, expected "
            f"{'one 1 and zeros' if one_hot else 'one largest number'}, whose place is the answer; "
            f"without that there is no accuracy: monitor the cost"
        )
    return Y.argmax(axis=1)


def one_hot(labels, n_out, dtype):
    """Return rows (n, n_out) with a 1 in the place of each label."""
    Y = np.zeros((len(labels), n_out), dtype)
    Y[np.arange(len(labels)), labels] = 1
    return Y


def _check_target_shape(Y, n_out, name):
    if Y.shape == (len(Y), n_out) or (n_out == 1 and Y.ndim == 1):
        return
    hint = ""
    if Y.ndim > 2 and Y[0].size == n_out:
        hint = "; use np.reshape(Y, (len(Y), -1))"
    wanted = "(n, 1) or (n,), one number a row" if n_out == 1 else f"(n, {n_out}), one sample a row"
    labels = "" if n_out == 1 else " or labels (n,)"
    raise ValueError(f"{name}: Y has shape {Y.shape}, expected {wanted}{labels}{hint}")


def _labels(labels, n_out, name):
    """Return integer labels 0..n_out-1 as int64, or raise naming the first that is not one."""
    if labels.dtype.kind == "b":
        raise TypeError(
            f"{name}: labels have dtype bool, expected integers 0..{n_out - 1}; use "
            f"np.asarray(Y, int)"
        )
    if labels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = labels.astype(np.int64)
        wrong = np.flatnonzero((whole != labels) | (np.abs(labels) >= 2**53))
        if wrong.size:
            i = wrong[0]
            raise TypeError(
                f"{name}[{i}]: label {labels[i]}, with dtype {labels.dtype}, expected integers "
                f"0..{n_out - 1}"
            )
        labels = whole
    wrong = np.flatnonzero((labels < 0) | (labels >= n_out))
    if wrong.size:
        raise ValueError(
            f"{name}[{wrong[0]}]: label {labels[wrong[0]]} is outside 0..{n_out - 1}, the "
            f"network has {n_out} output neurons"
        )
    return labels.astype(np.int64, copy=False)


def _target(y, n_out, where):
    """Return the target y of a training pair as an array (n_out,), or raise."""
    return numeric_arrays.target_column(y, n_out, np.dtype(np.float64), f"{where}: y")[:, 0]


def _label(y, n_out, where):
    """Return the label y of an evaluation pair as a number, or raise; of one neuron, any number."""
    if type(y) is int and 0 <= y < n_out:
        return y
    y = numeric_arrays.numeric(y, f"{where}: y")
    if n_out == 1:
        return numeric_arrays.target_column(y, 1, np.dtype(np.float64), f"{where}: y")[0, 0]
    if y.size == 1:
        value = y.reshape(()).item()
        if y.dtype.kind == "b" or not np.isfinite(value) or int(value) != value:
            raise TypeError(f"{where}: y is {value}, expected an integer label")
        if not 0 <= value < n_out:
            raise ValueError(f"{where}: label {int(value)} is outside 0..{n_out - 1}")
        return int(value)
    if y.shape == (n_out, 1) and ((y == 0) | (y == 1)).all() and (y == 1).sum() == 1:
        return int(y.argmax())
    hint = ""
    if y.size == n_out and (y == y.max()).sum() == 1:
        hint = "; use int(np.argmax(y))"
    seen = f"shape {y.shape}" if y.shape != (n_out, 1) else "other numbers than one 1 and zeros"
    raise ValueError(
        f"{where}: y has {seen}, expected an integer label 0..{n_out - 1} or a one-hot column "
        f"({n_out}, 1){hint}"
    )

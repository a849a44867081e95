"""Data sets as arrays, X one sample a row and Y one target a row, or as the book's pairs.

Invariants: those of containers.py; a target or a label that does not fit is an error.
"""

import numpy as np

from fastbp.data import file_rows, messages, numeric_arrays, predictions
from fastbp.data.containers import (
    as_values,
    check_inputs,
    empty_error,
    is_array_form,
    stack_pairs,
    to_stored_type,
    unpack_pair,
)


def training_arrays(data, plan, dtype, name="training_data", streams=None):
    """Return (X, Y): X (n, n_in) as check_inputs does, Y (n, n_out) of `dtype`, C-contiguous.

    data: the book's pairs, x (n_in, 1) and y (n_out, 1), or arrays (X, Y) with Y of rows (n, n_out)
    or of integer labels (n,). With one output neuron the targets are numbers: (n,) or (n, 1), and
    in pairs also scalars. Arrays that already fit are not copied.

    streams: None; or "auto" or "always" for data that are read in windows: memory maps that are
    larger than the free memory, or all arrays. Then X may be FileRows, and Y is as stored_targets
    has it.
    """
    n_in, n_out = plan.sizes[0], plan.sizes[-1]
    if is_array_form(data):
        X, Y = _checked_arrays(data, plan, dtype, name, streams)
        if streams == "always" or isinstance(X, file_rows.FileRows):
            return X, stored_targets(Y, n_out, name)
        return X, check_targets(Y, n_out, dtype, name)
    X, Y = stack_pairs(data, n_in, name, lambda y, where: _check_target(y, n_out, where), n_out)
    return to_stored_type(X, dtype), np.ascontiguousarray(numeric_arrays.cast(Y, dtype))


def labelled_arrays(data, plan, dtype, activation, name="test_data", streams=None):
    """Return (X, labels): X as training_arrays does, labels (n,), int64.

    data: the book's pairs (x, label), where a label may also be an integral float, an array of one
    number, or a one-hot column (n_out, 1); or arrays (X, labels), or (X, Y) with Y of rows
    (n, n_out) that have one largest number each. activation: of the output layer. With one output
    neuron the labels are the two of predictions.BINARY_LABELS. streams: as for training_arrays.
    """
    n_out = plan.sizes[-1]
    predictions.check_classifies(n_out, activation)
    if is_array_form(data):
        X, Y = _checked_arrays(data, plan, dtype, name, streams)
        if isinstance(X, file_rows.FileRows):
            return X, stored_labels(stored_targets(Y, n_out, name), activation, name)
        return X, _labels_of_array(Y, n_out, activation, name)
    X, labels = _stack_labelled(data, plan, dtype, name)
    if n_out == 1:
        return X, predictions.check_binary_labels(labels, activation, name)
    return X, check_labels(labels, n_out, name)


def _stack_labelled(data, plan, dtype, name):
    """Return (X, labels (n,)) of pairs (x, label); the range of the labels is not yet checked."""
    n_in, n_out = plan.sizes[0], plan.sizes[-1]
    X, labels = stack_pairs(data, n_in, name, lambda y, where: _check_label(y, n_out, where), 1)
    return to_stored_type(X, dtype), labels[:, 0]


def evaluation_arrays(data, plan, dtype, name, streams=None):
    """Return (X, Y) of evaluation data as training_arrays does; its pairs may hold labels, too."""
    n_out = plan.sizes[-1]
    if is_array_form(data) or n_out == 1 or _holds_columns(data, n_out):
        return training_arrays(data, plan, dtype, name, streams)
    X, labels = _stack_labelled(data, plan, dtype, name)
    return X, one_hot(check_labels(labels, n_out, name), n_out, dtype)


def _holds_columns(data, n_out):
    """Tell whether the y of the first pair is a column, so that those of the others have to be."""
    try:
        return np.shape(data[0][1]) == (n_out, 1)
    except (TypeError, ValueError, IndexError, KeyError):
        return False


def training_pairs(data, plan, dtype, name="training_data"):
    """Return training data as the book's list of pairs (x, y), for the reference path."""
    if not is_array_form(data):
        if not len(data):
            raise empty_error(name)
        return list(data)
    X, Y = training_arrays(data, plan, dtype, name)
    return list(zip(as_values(X, dtype)[:, :, None], Y[:, :, None]))


def labelled_pairs(data, plan, dtype, activation, name="test_data"):
    """Return test data as the book's list of pairs (x, label), for the reference path.

    The x of pairs are not checked, because a feedforward of the user's own may take other inputs.
    """
    n_out = plan.sizes[-1]
    if is_array_form(data):
        X, labels = labelled_arrays(data, plan, dtype, activation, name)
        return list(zip(as_values(X, dtype)[:, :, None], labels.tolist()))
    predictions.check_classifies(n_out, activation)
    if not len(data):
        raise empty_error(name)
    xs, labels = [], []
    for i, pair in enumerate(data):
        x, y = unpack_pair(pair, f"{name}[{i}]", plan.sizes[0])
        xs.append(x)
        labels.append(_check_label(y, n_out, f"{name}[{i}]"))
    if n_out == 1:
        labels = predictions.check_binary_labels(np.array(labels), activation, name).tolist()
    return list(zip(xs, labels))


def _checked_arrays(data, plan, dtype, name, streams=None):
    """Return (X, Y) of the array form, X as check_inputs does, with equal numbers of rows."""
    X, Y = data
    n_in, n_out = plan.sizes[0], plan.sizes[-1]
    if X.shape == (n_in, 1) and Y.shape == (n_out, 1) and n_in > 1:
        raise ValueError(f"{name} is one pair (x, y), expected a list of pairs; use [{name}]")
    X = check_inputs(X, n_in, dtype, name, streams)
    if Y.ndim and len(X) == len(Y):
        return X, Y
    hint = "; use np.ravel(Y)" if Y.size == len(X) else ""
    raise ValueError(
        f"{name}: X has {len(X)} rows and Y has shape {Y.shape}, expected as many rows{hint}"
    )


# ------------------------------------------------ targets and labels


def check_targets(Y, n_out, dtype, name):
    """Return Y, an array of targets or of labels, as targets (n, n_out) of `dtype`, or raise."""
    Y = numeric_arrays.as_numeric(Y, f"{name}: Y")
    if n_out > 1 and (Y.ndim == 1 or Y.shape[1:] == (1,)):
        return one_hot(check_labels(Y.reshape(-1), n_out, name), n_out, dtype)
    _check_target_shape(Y, n_out, name)
    return np.ascontiguousarray(numeric_arrays.cast(Y.reshape(len(Y), n_out), dtype))


def _labels_of_array(Y, n_out, activation, name):
    """Return Y, an array of labels or of targets, as labels (n,), int64, or raise."""
    Y = numeric_arrays.as_numeric(Y, f"{name}: Y")
    if n_out > 1 and (Y.ndim == 1 or Y.shape[1:] == (1,)):
        return check_labels(Y.reshape(-1), n_out, name)
    _check_target_shape(Y, n_out, name)
    return labels_of_targets(Y.reshape(len(Y), n_out), activation, name)


def labels_of_targets(Y, activation, name, require_one_hot=False, first=0):
    """Return the labels (n,), int64, of targets (n, n_out), or raise ValueError.

    require_one_hot: whether a row with one largest number is not enough; first: the number of the
    first row in an error.
    """
    n_out = Y.shape[1]
    if n_out == 1:
        return predictions.check_binary_labels(Y[:, 0], activation, name)
    largest = Y.max(axis=1, keepdims=True)
    wrong = (largest == Y).sum(axis=1) != 1
    if require_one_hot:
        wrong |= (np.count_nonzero(Y, axis=1) != 1) | (largest[:, 0] != 1)
    if wrong.any():
        i = int(wrong.argmax())
        wanted = "one 1 and zeros" if require_one_hot else "one largest number"
        raise ValueError(
            f"{name}[{first + i}]: y is {messages.describe(Y[i].tolist())}, expected {wanted}, "
            f"whose index is the label; without that there is no accuracy: monitor the cost"
        )
    return Y.argmax(axis=1)


def stored_targets(Y, n_out, name):
    """Return Y as windows take it: labels (n,) of the smallest integers, or targets (n, n_out).

    Labels are checked; targets stay as they are stored, FileRows if they are in a memory map.
    """
    Y = numeric_arrays.as_numeric(Y, f"{name}: Y")
    rows = file_rows.mapped_rows(Y)
    Y = Y if rows is None else rows
    if n_out == 1 or not (Y.ndim == 1 or Y.shape[1:] == (1,)):
        _check_target_shape(Y, n_out, name)
        return Y if Y.ndim == 2 else file_rows.read_rows(Y, slice(None)).reshape(-1, 1)
    labels = np.empty(len(Y), np.min_scalar_type(n_out - 1))
    for rows, part in file_rows.parts(Y):
        labels[rows] = check_labels(part.reshape(-1), n_out, name, rows.start)
    return labels


def stored_labels(Y, activation, name, require_one_hot=False):
    """Return the labels (n,) of what stored_targets returns, or of targets, or raise ValueError."""
    if Y.ndim == 1:
        return Y
    labels = [
        labels_of_targets(part, activation, name, require_one_hot, rows.start)
        for rows, part in file_rows.parts(Y)
    ]
    return labels[0] if len(labels) == 1 else np.concatenate(labels)


def target_rows(Y, rows, n_out, dtype):
    """Return the targets (m, n_out) of some rows of what stored_targets returns, or of targets."""
    part = file_rows.read_rows(Y, rows)
    return one_hot(part, n_out, dtype) if part.ndim == 1 else numeric_arrays.cast(part, dtype)


def one_hot(labels, n_out, dtype):
    """Return rows (n, n_out) with a 1 in the column of each label, and zeros."""
    Y = np.zeros((len(labels), n_out), dtype)
    Y[np.arange(len(labels)), labels] = 1
    return Y


def _check_target_shape(Y, n_out, name):
    """Raise ValueError unless Y is (n, n_out), or (n,) for one output neuron."""
    if Y.shape == (len(Y), n_out) or (n_out == 1 and Y.ndim == 1):
        return
    hint = ""
    if Y.ndim > 2 and Y[0].size == n_out:
        hint = "; use np.reshape(Y, (len(Y), -1))"
    wanted = "(n, 1) or (n,), one number a row" if n_out == 1 else f"(n, {n_out}), one sample a row"
    labels = "" if n_out == 1 else " or labels (n,)"
    raise ValueError(f"{name}: Y has shape {Y.shape}, expected {wanted}{labels}{hint}")


def check_labels(labels, n_out, name, first=0):
    """Return labels (n,), integers 0..n_out-1, as int64, or raise; the first is number `first`."""
    if labels.dtype.kind == "b":
        raise TypeError(
            f"{name}: labels have dtype bool, expected integers 0..{n_out - 1}; use "
            f"np.asarray(Y, int)"
        )
    if labels.dtype.kind == "f":
        labels = numeric_arrays.cast(labels, np.float64)
        with np.errstate(invalid="ignore"):
            integers = labels.astype(np.int64)
        wrong = np.flatnonzero((integers != labels) | (np.abs(labels) >= 2**53))
        if wrong.size:
            i = wrong[0]
            raise TypeError(
                f"{name}[{first + i}]: label {labels[i]}, with dtype {labels.dtype}, expected "
                f"integers 0..{n_out - 1}"
            )
        labels = integers
    wrong = np.flatnonzero((labels < 0) | (labels >= n_out))
    if wrong.size:
        raise ValueError(
            f"{name}[{first + wrong[0]}]: label {labels[wrong[0]]} is outside 0..{n_out - 1}, the "
            f"network has {n_out} output neurons"
        )
    return labels.astype(np.int64, copy=False)


def _check_target(y, n_out, where):
    """Return the target y of a training pair as an array (n_out,), or raise."""
    return numeric_arrays.as_target_column(y, n_out, np.dtype(np.float64), f"{where}: y")[:, 0]


def _check_label(y, n_out, where):
    """Return the label y of an evaluation pair as a number, or raise.

    With one output neuron any number is returned: check_binary_labels looks at all together.
    """
    if type(y) is int and 0 <= y < n_out:
        return y
    y = numeric_arrays.as_numeric(y, f"{where}: y")
    if n_out == 1:
        return numeric_arrays.as_target_column(y, 1, np.dtype(np.float64), f"{where}: y")[0, 0]
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

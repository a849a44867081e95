"""Data sets brought to arrays, X one sample a row and Y one target a row, or to the book's pairs.

Invariant: as in containers.py; a target or a label that does not fit is an error.
"""

import numpy as np

from fastbp.data import answers, arguments, numeric_arrays
from fastbp.data.containers import as_values, empty, inputs, is_arrays, pair_of, stacked, stored


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
    X, Y = stacked(data, n_in, name, lambda y, where: _target(y, n_out, where), n_out)
    return stored(X, dtype), np.ascontiguousarray(numeric_arrays.cast(Y, dtype))


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
    X, labels = stacked(data, n_in, name, lambda y, where: _label(y, n_out, where), 1)
    if n_out == 1:
        return stored(X, dtype), answers.check_expected(labels[:, 0], activation, name)
    return stored(X, dtype), _labels(labels[:, 0], n_out, name)


def evaluation_targets(data, plan, dtype, name):
    """Return (X, Y) of evaluation data as training_arrays does; its pairs hold labels, too."""
    n_in, n_out = plan.sizes[0], plan.sizes[-1]
    if is_arrays(data) or n_out == 1 or _holds_columns(data, n_out):
        return training_arrays(data, plan, dtype, name)
    X, labels = stacked(data, n_in, name, lambda y, where: _label(y, n_out, where), 1)
    return stored(X, dtype), one_hot(_labels(labels[:, 0], n_out, name), n_out, dtype)


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
        x, y = pair_of(pair, f"{name}[{i}]", plan.sizes[0])
        xs.append(x)
        labels.append(_label(y, n_out, f"{name}[{i}]"))
    if n_out == 1:
        labels = answers.check_expected(np.array(labels), activation, name).tolist()
    return list(zip(xs, labels))


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

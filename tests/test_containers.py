"""Weights and data sets as lists, object arrays, data frames, matrices and masked arrays."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from helpers import assert_equal_arrays, seed_both

from fastbp import Network, network, network2

rng = np.random.default_rng(5)
X, LABELS = rng.random((40, 4)), rng.integers(0, 3, 40)
PAIRS = [(x[:, None], np.eye(3)[:, [y]]) for x, y in zip(X, LABELS)]


def trained(data, **how):
    seed_both(1)
    net = Network([4, 5, 3])
    net.SGD(data, 2, 7, 1.0, **how)
    return net


def object_array(parts):
    array = np.empty(len(parts), object)
    array[:] = parts
    return array


# ------------------------------------------------ weights


@pytest.mark.parametrize("make", [Network, network2.Network])
def test_weights_from_files_and_other_sequences(make, tmp_path):
    net, other = make([4, 5, 3]), make([4, 5, 3])
    np.save(tmp_path / "w.npy", object_array(net.weights), allow_pickle=True)
    np.save(tmp_path / "b.npy", object_array(net.biases), allow_pickle=True)
    forms = [
        tuple(np.load(tmp_path / f"{name}.npy", allow_pickle=True) for name in "wb"),
        (tuple(net.weights), tuple(net.biases)),
        ([w.tolist() for w in net.weights], [b.tolist() for b in net.biases]),
    ]  # fmt: skip
    for weights, biases in forms:
        other.weights, other.biases = weights, biases
        np.testing.assert_allclose(other.feedforward(X.T), net.feedforward(X.T), rtol=1e-12)
        for a, b in zip(other.backprop(*PAIRS[0])[1], net.backprop(*PAIRS[0])[1]):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        other.SGD(list(PAIRS), 1, 10, 1.0, progress=False)
        assert isinstance(other.weights, list)


@pytest.mark.parametrize("dtype", [float, object])
def test_layers_of_equal_shape_as_one_array(dtype):
    net, other = Network([4, 4, 4]), Network([4, 4, 4])
    other.weights = np.array(net.weights, dtype=dtype)
    other.biases = np.array(net.biases, dtype=dtype)
    assert other.weights.shape == (2, 4, 4)
    np.testing.assert_allclose(other.feedforward(X.T), net.feedforward(X.T), rtol=1e-12)
    count = other.evaluate((X, LABELS))
    assert count == net.evaluate((X, LABELS))
    other.update_mini_batch((X, LABELS), 1.0)
    net.update_mini_batch((X, LABELS), 1.0)
    np.testing.assert_array_equal(other.weights[1], net.weights[1])


# ------------------------------------------------ data

MASKED = [np.ma.masked_greater(x, 2) for x, _ in PAIRS]
FRAME = pd.DataFrame(X, columns=list("abcd"))


class Endless:
    """A data set with a length and without an end."""

    def __len__(self):
        return len(PAIRS)

    def __getitem__(self, i):
        return PAIRS[i % len(PAIRS)]


DATA = {
    "an object with __len__ and __getitem__": Endless(),
    "a column of labels": (X, LABELS[:, None]),
    "a data frame of one column": (FRAME, pd.DataFrame(LABELS)),
    "data frame and series": (FRAME, pd.Series(LABELS)),
    "data frame and list": (FRAME, LABELS.tolist()),
    "data frame of labels": (FRAME, pd.get_dummies(pd.Series(LABELS))),
    "series with an index of its own": (FRAME, pd.Series(LABELS, index=range(100, 140))),
    "array and list": (X, LABELS.tolist()),
    "array and list of rows": (X, np.eye(3)[LABELS].tolist()),
    "two lists": (X.tolist(), LABELS.tolist()),
    "a list of arrays, a list": (list(X), list(LABELS)),
    "np.matrix": (np.matrix(X), np.matrix(np.eye(3)[LABELS])),
    "np.matrix of labels": (np.matrix(X), LABELS),
    "object array of pairs": object_array(PAIRS),
    "object array (n, 2)": np.array([[None, None]] * 40, object),
    "tuple of pairs": tuple(PAIRS),
    "pairs as lists": [[x, y] for x, y in PAIRS],
    "nested lists": [(x.tolist(), y.tolist()) for x, y in PAIRS],
}
for _i, (_x, _y) in enumerate(PAIRS):
    DATA["object array (n, 2)"][_i, 0], DATA["object array (n, 2)"][_i, 1] = _x, _y


@pytest.mark.parametrize("name", DATA)
def test_data_are_taken(name):
    wanted = trained(tuple(PAIRS))
    net = trained(DATA[name], test_data=DATA[name])
    assert_equal_arrays(net.weights + net.biases, wanted.weights + wanted.biases)
    assert net.evaluate(DATA[name]) == wanted.evaluate((X, LABELS))
    assert net.history[-1] == wanted.evaluate((X, LABELS))
    third = network2.Network([4, 5, 3])
    assert third.accuracy(DATA[name], convert=True) == third.accuracy((X, LABELS))
    assert third.total_cost(DATA[name], 0.1) == pytest.approx(third.total_cost((X, LABELS), 0.1))


def test_two_pairs_are_pairs_and_not_arrays():
    for two in (tuple(PAIRS[:2]), [PAIRS[0], PAIRS[1]], ([*PAIRS[0]], [*PAIRS[1]])):
        np.testing.assert_array_equal(
            trained(two).weights[0], trained((X[:2], np.eye(3)[LABELS[:2]])).weights[0]
        )


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (FRAME, TypeError, r"training_data is a DataFrame.*use \(data.drop\(.*\).to_numpy\(\)"),
        (pd.Series(LABELS), TypeError, "training_data is a Series, expected a tuple"),
        (X, TypeError, r"training_data is one array of shape \(40, 4\), expected a tuple of two"),
        (scipy.sparse.csr_matrix(X), TypeError, "csr_matrix alone, expected a tuple"),
        ((scipy.sparse.csr_array(X), LABELS), TypeError, r"X is a sparse csr_array.*X.toarray\(\)"),
        ((X, scipy.sparse.csr_array(np.eye(3)[LABELS])), TypeError, r"use Y.toarray\(\)"),
        ((FRAME.assign(e="text"), LABELS), TypeError, "X has dtype object, expected real numbers"),
        ((FRAME.astype(object), LABELS), TypeError, r"dtype object.*; use np.asarray\(X, float\)"),
        ([(X[:10], np.eye(3)[LABELS[:10]])], ValueError, r"\[0\]: x has shape \(10, 4\).*batch"),
        ((X, np.matrix(LABELS)), ValueError, r"Y has shape \(1, 40\).*use np.ravel\(Y\)"),
        (([np.ma.masked_greater(x, 2) for x in X], LABELS), TypeError, r"row.filled\(0\) for"),
        ([(masked_x, y) for masked_x, (_, y) in zip(MASKED, PAIRS)], TypeError, "x is a masked"),
        (PAIRS[0], ValueError, r"training_data is one pair \(x, y\).*; use \[training_data\]"),
    ],
)  # fmt: skip
def test_data_are_refused_with_the_conversion(data, error, message):
    net = Network([4, 5, 3])
    before = net.weights[0].copy()
    with pytest.raises(error, match=message):
        net.SGD(data, 1, 7, 1.0)
    np.testing.assert_array_equal(net.weights[0], before)


@pytest.mark.slow
def test_underflow_never_raises():
    """np.seterr(all="raise") is for a user's own arithmetic: what underflows here is 0."""
    tiny = np.full((4, 1), 1e-200)
    with np.errstate(all="raise"):
        for make in (Network, network2.Network):
            for dtype in (np.float64, np.float32):
                net = make([4, 5, 3], dtype=dtype)
                net.biases[0][...] = -700.0 if dtype == np.float64 else -80.0
                net.weights[1][...] = 1e-30
                net.feedforward(tiny)
                net.feedforward(np.tile(tiny, 300))
                net.backprop(tiny, PAIRS[0][1])
                net.backprop_batch(X * 1e-200, LABELS)
                net.gradient_norms((X * 1e-200, LABELS))
                more = () if make is Network else (0.1, 40)
                net.update_mini_batch([(tiny, PAIRS[0][1])], 1e-300, *more)
                net.update_mini_batch((X * 1e-200, LABELS), 1e-10, *more)
                net.SGD((X * 1e-200, LABELS), 1, 7, 1e-3, progress=False)
                net.SGD([(tiny, PAIRS[0][1])] * 300, 1, 7, 1e-3, progress=False)
                if make is Network:
                    net.evaluate((X * 1e-200, LABELS))
                else:
                    net.accuracy((X * 1e-200, LABELS))
                    net.total_cost((X * 1e-200, LABELS), 1e-200)
        net = network2.Network([4, 5, 3], network2.LogLikelihoodCost)
        net.biases[1][...] = [[0], [-800], [800]]
        net.feedforward(tiny)
        net.SGD((X, LABELS), 1, 7, 1e-3, monitor_training_cost=True, progress=False)


@pytest.mark.parametrize("kind", [object, np.longdouble, np.float16, bool])
def test_weights_of_any_type_are_saved_as_numbers(kind, tmp_path):
    for module in (network, network2):
        net = module.Network([4, 4, 4])
        net.weights = np.array(net.weights, dtype=float).astype(kind)
        net.save(tmp_path / "model")
        again = module.load(tmp_path / "model")
        np.testing.assert_array_equal(again.weights, net.weights.astype(float))
        net.SGD((X, LABELS), 0, 5, 1.0, checkpoint=tmp_path / f"{module.__name__}.npz")


def test_nan_in_weights_of_objects_is_named():
    net = Network([4, 4, 4])
    net.weights = np.array(net.weights, dtype=object)
    net.weights[1, 2, 3] = float("nan")
    for call in (
        lambda: net.evaluate((X, LABELS)),
        lambda: net.feedforward(X[:1].T),
        lambda: net.SGD((X, LABELS), 1, 5, 1.0),
    ):
        with pytest.raises(ValueError, match=r"weights\[1\] is nan at \[2, 3\].*assign finite"):
            call()


def test_a_tensor_that_records_its_gradient():
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("call detach() first")

    net = Network([4, 5, 3])
    for call in (
        lambda: net.feedforward(Tensor()),
        lambda: net.SGD((Tensor(), LABELS), 1, 5, 1.0),
        lambda: net.update_mini_batch([(Tensor(), PAIRS[0][1])], 1.0),
    ):
        with pytest.raises(TypeError, match=r"can't be read as an array: call detach\(\) first"):
            call()


def test_masked_labels():
    with pytest.raises(TypeError, match="y is a masked array"):
        Network([4, 5, 3]).evaluate([(x, np.ma.masked) for x, _ in PAIRS])

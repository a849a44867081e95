"""Errors say what is wrong, where, and what was expected; no weight changes."""

import random

import numpy as np
import pytest
from conftest import make_pairs
from helpers import assert_equal_arrays, seed_both

from fastbp import exchange, mnist_loader, network, network2
from fastbp.network import Network

SIZES = [6, 5, 4]


@pytest.fixture
def net():
    return Network(SIZES)


@pytest.fixture
def pairs(rng):
    return make_pairs(20, SIZES, rng)


def with_bad(pairs, i, x=None, y=None):
    bad = list(pairs)
    bad[i] = (bad[i][0] if x is None else x, bad[i][1] if y is None else y)
    return bad


X, LABELS = np.zeros((20, 6)), np.zeros(20, int)


class Sparse:
    """Stands in for a sparse matrix where SciPy is not installed."""

    def toarray(self):
        return X


class Table:
    """Stands in for a table with named columns."""

    columns = ("label", "pixel0")

    def to_numpy(self):
        return X


ROW = np.zeros(6)

TRAINING = {
    "1-D x": (
        lambda p: with_bad(p, 17, x=ROW),
        r"training_data\[17\]: x has shape \(6,\), expected \(6, 1\); use x.reshape\(-1, 1\)",
    ),
    "row x": (lambda p: with_bad(p, 3, x=ROW[None]), r"\[3\]: x has shape \(1, 6\).* use x.T"),
    "short x": (
        lambda p: with_bad(p, 3, x=np.zeros((5, 1))),
        r"\[3\]: x has shape \(5, 1\), expected \(6, 1\): the network was built for 6",
    ),
    "1-D y": (
        lambda p: with_bad(p, 0, y=np.zeros(4)),
        r"\[0\]: y has shape \(4,\), expected \(4, 1\); use y.reshape\(-1, 1\)",
    ),
    "label as y": (
        lambda p: with_bad(p, 5, y=2),
        r"\[5\]: y is the label 2, expected a column \(4, 1\); use .*vectorized_result\(y, 4\)",
    ),
    "long y": (
        lambda p: with_bad(p, 5, y=np.zeros((10, 1))),
        r"y has shape \(10, 1\), expected \(4, 1\): the network was built for 4",
    ),
    "not a pair": (lambda p: [*p, 7], r"training_data\[20\] is 7 \(int\), expected a pair"),
    "a triple": (lambda p: [*p, (1, 2, 3)], r"training_data\[20\] is \(1, 2, 3\) \(tuple\)"),
    "ragged x": (lambda p: with_bad(p, 1, x=[[1], [2, 3]]), r"\[1\]: x is ragged"),
    "empty list": (lambda p: [], r"training_data is empty.*used up after one pass"),
    "used up iterator": (lambda p: iter(()), r"training_data is empty.*list\(training_data\)"),
    "wide X": (
        lambda p: (np.zeros((20, 7)), LABELS),
        r"training_data: X has shape \(20, 7\), expected \(n, 6\), one sample a row",
    ),
    "1-D X": (lambda p: (np.zeros(20), LABELS), r"X has shape \(20,\), expected \(n, 6\)"),
    "images": (
        lambda p: (np.zeros((20, 2, 3)), LABELS),
        r"X has shape \(20, 2, 3\).*use np.reshape\(X, \(len\(X\), -1\)\)",
    ),
    "no rows": (lambda p: (X[:0], LABELS[:0]), "training_data is empty"),
    "fewer labels": (lambda p: (X, LABELS[:19]), r"X has 20 rows and Y has shape \(19,\)"),
    "0-D labels": (lambda p: (X, np.array(3)), r"X has 20 rows and Y has shape \(\)"),
    "wide Y": (lambda p: (X, np.zeros((20, 3))), r"Y has shape \(20, 3\), expected \(n, 4\)"),
    "column of fractions": (lambda p: (X, LABELS[:, None, None]), r"Y has shape \(20, 1, 1\)"),
    "large label": (
        lambda p: (X, LABELS + 4),
        r"training_data\[0\]: label 4 is outside 0..3, the network has 4 output neurons",
    ),
    "negative label": (lambda p: (X, LABELS - 1), r"label -1 is outside 0..3"),
}
TRAINING_TYPES = {
    "None": (lambda p: None, r"training_data is None \(NoneType\), expected pairs"),
    "a number": (lambda p: 5, r"training_data is 5 \(int\)"),
    "string x": (lambda p: with_bad(p, 2, x="abc"), r"\[2\]: x has dtype <U3, expected real"),
    "object x": (lambda p: with_bad(p, 2, x=[[None]] * 6), r"\[2\]: x has dtype object"),
    "list of arrays": (
        lambda p: [X, LABELS],
        r"training_data is a list of two arrays, expected a tuple; use tuple\(training_data\)",
    ),
    "complex X": (lambda p: (X + 1j, LABELS), r"X has dtype complex128, expected real numbers"),
    "fractional labels": (
        lambda p: (X, LABELS + 0.5),
        r"\[0\]: label 0.5, with dtype float64, expected integers 0..3",
    ),
    "bool labels": (lambda p: (X, LABELS > 1), r"labels have dtype bool.*use np.asarray\(Y, int\)"),
    "sparse X": (lambda p: (Sparse(), LABELS), r"X is a sparse Sparse, .*use X.toarray\(\)"),
    "a table": (lambda p: Table(), r"training_data is a Table, expected a tuple \(X, Y\); use"),
    "one array": (lambda p: X, r"training_data is one array of shape \(20, 6\), expected a tuple"),
}


def values(net):
    return [a.copy() for a in net.weights + net.biases]


@pytest.mark.parametrize("name", [*TRAINING, *TRAINING_TYPES])
def test_training_data(name, net, pairs):
    make, message = {**TRAINING, **TRAINING_TYPES}[name]
    before, state = values(net), random.getstate()
    error = TypeError if name in TRAINING_TYPES else ValueError
    with pytest.raises(error, match=message) as raised:
        net.SGD(make(pairs), 1, 5, 3.0)
    assert "\n" not in str(raised.value)
    data = make(pairs)
    if isinstance(data, (list, tuple)):
        with pytest.raises(error, match=message.replace("training_data", "mini_batch")):
            net.update_mini_batch(data, 3.0)
    assert_equal_arrays(values(net), before)
    assert random.getstate() == state


TEST_DATA = {
    "soft y": (
        lambda p: [(x, np.array([0, 0, 0.5, 0.5])) for x, _ in p],
        r"test_data\[0\]: y has shape \(4,\), expected an integer label 0..3 or a one-hot column",
    ),
    "1-D x": (lambda p: [(ROW, 1)] * 9, r"(test_data\[0\]: x|a) has shape \(6,\).*reshape"),
    "large label": (lambda p: [(p[0][0], 4)] * 9, r"4.*(outside 0..3|0..n_out-1)"),
    "fractional": (lambda p: [(p[0][0], 1.5)] * 9, r"1.5|float64"),
    "used up": (lambda p: iter(()), "test_data is empty"),
    "arrays": (lambda p: (X[:, :3], LABELS), r"test_data: X has shape \(20, 3\)"),
    "labels": (lambda p: (X, LABELS + 9), r"test_data\[0\]: label 9"),
}


@pytest.mark.parametrize("name", TEST_DATA)
def test_test_data(name, net, pairs):
    make, message = TEST_DATA[name]
    before = values(net)
    with pytest.raises((ValueError, TypeError), match=message):
        net.evaluate(make(pairs))
    with pytest.raises((ValueError, TypeError), match=message):
        net.SGD(pairs, 1, 5, 3.0, test_data=make(pairs))
    assert_equal_arrays(values(net), before)


@pytest.mark.parametrize("count", [1, 2, 20])
def test_few_test_data_are_refused_with_the_same_words(count, net, pairs):
    soft = [(x, y / 2) for x, y in pairs[:count]]
    with pytest.raises(ValueError, match=r"test_data\[0\]: y has other numbers than one 1 and "):
        net.evaluate(soft)


ARGUMENTS = [
    (dict(epochs=-1), ValueError, "epochs is -1, expected at least 0"),
    (dict(epochs=1.5), TypeError, r"epochs is 1.5 \(float\), expected an integer"),
    (dict(epochs=True), TypeError, "epochs is True, expected an integer"),
    (dict(mini_batch_size=0), ValueError, "mini_batch_size is 0, expected at least 1"),
    (dict(mini_batch_size=-10), ValueError, "mini_batch_size is -10"),
    (dict(mini_batch_size=10.0), TypeError, r"mini_batch_size is 10.0 .*use int\("),
    (dict(mini_batch_size="10"), TypeError, "mini_batch_size is '10'"),
    (dict(eta="fast"), TypeError, "eta is 'fast'"),
    (dict(eta=None), TypeError, "eta is None"),
    (dict(eta=float("nan")), ValueError, "eta is nan, expected a finite number"),
    (dict(eta=np.inf), ValueError, "eta is inf"),
]


@pytest.mark.parametrize(("change", "error", "message"), ARGUMENTS, ids=str)
def test_hyper_parameters(change, error, message, net, pairs):
    arguments = {"epochs": 1, "mini_batch_size": 5, "eta": 3.0} | change
    with pytest.raises(error, match=message):
        net.SGD(pairs, **arguments)


def test_a_rate_that_the_dtype_cannot_hold(pairs):
    net = Network(SIZES, dtype=np.float32)
    for eta in (1e300, 10**400):
        with pytest.raises(ValueError, match=r"eta is .*expected a finite number in float32"):
            net.SGD(pairs, 1, 5, eta)


@pytest.mark.parametrize("m", [10**9, 10**18, 10**30])
def test_a_mini_batch_larger_than_any_memory_is_the_whole_data(m, pairs):
    results = []
    for size in (m, 20):
        seed_both(1)
        net = Network(SIZES)
        net.SGD(list(pairs), 2, size, 1.0)
        results.append(net.weights[0])
    np.testing.assert_array_equal(*results)


def test_sizes_changed_after_construction_are_refused(pairs):
    sizes = [6, 5, 4]
    net = Network(sizes)
    for l, n in ((1, 3), (1, 5000), (0, 7)):
        sizes[:] = [6, 5, 4]
        sizes[l] = n
        for call in (
            lambda: net.update_mini_batch((X[:, :1].repeat(sizes[0], 1), LABELS), 1.0),
            lambda: net.feedforward(np.zeros((sizes[0], 1))),
            lambda: net.evaluate((np.zeros((9, sizes[0])), LABELS[:9])),
        ):
            with pytest.raises(ValueError, match=r"weights\[0\] has shape \(5, 6\), expected"):
                call()
    sizes[:] = [6, 5, 4]
    net.SGD(pairs, 1, 5, 1.0)


def test_masked_arrays(net):
    masked = np.ma.masked_greater(X, 1)
    with pytest.raises(TypeError, match=r"X is a masked array, .*use X.filled\(0\)"):
        net.SGD((masked, LABELS), 1, 5, 1.0)
    with pytest.raises(TypeError, match="masked array"):
        net.evaluate((X, np.ma.masked_equal(LABELS, 0)))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([784],), {}, ValueError, r"sizes has 1 layer\(s\), expected at least 2"),
        (([],), {}, ValueError, "sizes has 0 layer"),
        (([3, 0, 2],), {}, ValueError, r"sizes\[1\] is 0, expected at least 1 neuron"),
        (([3, -1],), {}, ValueError, r"sizes\[1\] is -1"),
        (([3, 2.5],), {}, TypeError, r"sizes is \[3, 2.5\] \(list\), expected a list of integers"),
        ((784,), {}, TypeError, "sizes is 784"),
        ((iter([3, 2]),), {}, TypeError, "sizes is <list_iterator.*expected a list of integers"),
        (({3, 2},), {}, TypeError, "sizes is {.*expected a list of integers"),
        (([3, 2],), {"dtype": np.int32}, ValueError, "dtype is .*int32.*expected numpy.float64"),
        (([3, 2],), {"dtype": "double trouble"}, ValueError, "dtype is 'double trouble'"),
        (([3, 2],), {"threads": 0}, ValueError, "threads is 0, expected at least 1"),
        (([100, 10**9, 10],), {}, ValueError, "111,000,000,010 weights.* more than the free mem"),
        (([3, 2],), {"threads": 1.5}, TypeError, "threads is 1.5"),
    ],
)
def test_constructor(arguments, options, error, message):
    with pytest.raises(error, match=message):
        Network(*arguments, **options)


@pytest.mark.parametrize(
    ("a", "message"),
    [
        (np.zeros(6), r"a has shape \(6,\), expected \(6, 1\).*use a.reshape\(-1, 1\)"),
        (np.zeros((1, 6)), r"a has shape \(1, 6\).*use a.T"),
        (np.zeros((5, 1)), r"a has shape \(5, 1\).*the network was built for 6"),
        (np.zeros((6, 1, 1)), r"a has shape \(6, 1, 1\)"),
        (3.0, r"a has shape \(\)"),
    ],
)
def test_feedforward(a, message, net):
    with pytest.raises(ValueError, match=message):
        net.feedforward(a)


def test_backprop(net):
    x, y = np.zeros((6, 1)), np.zeros((4, 1))
    with pytest.raises(ValueError, match=r"x has shape \(6,\), expected \(6, 1\); use x.reshape"):
        net.backprop(x[:, 0], y)
    with pytest.raises(ValueError, match=r"y has shape \(4,\), expected \(4, 1\); use y.reshape"):
        net.backprop(x, y[:, 0])
    with pytest.raises(ValueError, match=r"use fastbp.mnist_loader.vectorized_result\(y, 4\)"):
        net.backprop(x, 3)
    with pytest.raises(ValueError, match=r"x has shape \(6, 2\), expected \(6, 1\)"):
        net.backprop(np.zeros((6, 2)), y)


def test_update_mini_batch_of_nothing(net):
    with pytest.raises(ValueError, match="mini_batch is empty"):
        net.update_mini_batch([], 3.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: n.weights.pop(), "weights has 1 arrays, expected 2"),
        (lambda n: n.biases.append(0), "biases has 3 arrays, expected 2"),
        (
            lambda n: n.weights.__setitem__(0, np.zeros((5, 7))),
            r"weights\[0\] has shape \(5, 7\), expected \(5, 6\)",
        ),
        (
            lambda n: n.biases.__setitem__(1, np.zeros(4)),
            r"biases\[1\] has shape \(4,\), expected \(4, 1\)",
        ),
        (lambda n: setattr(n, "weights", None), r"weights is None \(NoneType\), expected a list"),
        (lambda n: n.weights.__setitem__(0, "w"), r"weights\[0\] has dtype <U1"),
    ],
)
def test_weights_that_do_not_fit(change, message, net, pairs, tmp_path):
    change(net)
    for call in (
        lambda: net.SGD(pairs, 1, 5, 3.0),
        lambda: net.update_mini_batch(pairs, 3.0),
        lambda: net.evaluate([(x, 1) for x, _ in pairs]),
        lambda: net.backprop(*pairs[0]),
        lambda: net.feedforward(pairs[0][0]),
        lambda: net.save(tmp_path / "model.npz"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()
    assert not (tmp_path / "model.npz").exists()


@pytest.mark.parametrize("path", [None, 3, b"d", ["m.npz"], "a\0b"], ids=repr)
@pytest.mark.parametrize(
    "call",
    [
        Network(SIZES).save,
        network2.Network(SIZES).save,
        network.load,
        network2.load,
        lambda path: exchange.to_onnx(Network(SIZES), path),
        lambda path: exchange.save_safetensors(Network(SIZES), path),
        exchange.load_safetensors,
        lambda path: mnist_loader.load_data(path) if path is not None else network.load(path),
        lambda path: mnist_loader.write(path, np.zeros((1, 784), np.uint8), [0]),
    ],
)
def test_paths(call, path):
    error = ValueError if isinstance(path, str) else TypeError
    with pytest.raises(error, match=r"(path|filename) is .*, expected (the|a) path"):
        call(path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mnist_loader.vectorized_result(1, "a"), TypeError, "n is 'a'"),
        (lambda: mnist_loader.vectorized_result(0, -1), ValueError, "n is -1, expected at least 1"),
        (lambda: mnist_loader.synthetic(5, 1, 1, seed="a"), TypeError, "seed is 'a'"),
        (lambda: mnist_loader.wrap((np.ones((2, 6)), [0, 1])), TypeError, "expected three sets"),
        (lambda: mnist_loader.count_outputs(None), TypeError, "data is None .* three sets"),
    ],
)
def test_the_loaders_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

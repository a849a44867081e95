"""Every error that gives advice: the advice is followed, and gives what was meant.

An error says `...; use <expression>`: the expression is evaluated with the names that the error
itself uses, put in the place of the bad value, and the call is made again. The last test looks
through the package for errors with advice that no case here has followed.
"""

import dataclasses
import random
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import fastbp
from fastbp import Network, Pixels, network2

rng = np.random.default_rng(5)
X, LABELS = rng.random((20, 6)), rng.integers(0, 4, 20)
UNITS = np.eye(4)
ONE = (LABELS > 1).astype(int)
PAIRS = [(x[:, None], UNITS[:, [y]]) for x, y in zip(X, LABELS)]
FRAME = pd.DataFrame(X).assign(label=LABELS)
BYTES = np.arange(12, dtype=np.uint8).reshape(2, 6)
seen = []  # the messages of all errors in this file


@dataclasses.dataclass
class Case:
    """call(bad) fails; its advice, an expression with the name `names`, gives what `meant` does."""

    call: Callable
    names: str
    bad: object
    meant: object


def seeded(sizes=(6, 5, 4)):
    np.random.seed(1)
    random.seed(1)
    return Network(list(sizes))


def trained(data, sizes=(6, 5, 4)):
    net = seeded(sizes)
    net.SGD(data, 1, 5, 1.0, progress=False)
    return net.weights[0]


def with_x(x):
    return trained([(x, PAIRS[0][1]), *PAIRS[1:]])


def with_y(y):
    return trained([(PAIRS[0][0], y), *PAIRS[1:]])


def gradient_of_x(x):
    return seeded().backprop(x, PAIRS[0][1])[1][0]


def gradient_of_y(y):
    return seeded().backprop(X[0][:, None], y)[1][0]


def count(y):
    return [seeded().evaluate([(x[:, None], y)]) for x in X]


def expected(y, output="tanh"):
    np.random.seed(1)
    net = network2.Network([6, 5, 1], network2.QuadraticCost, output=output)
    return net.accuracy((X, y))


def output(a):
    return seeded().feedforward(a)


def hyper(name):
    arguments = {"epochs": 1, "mini_batch_size": 5, "eta": 1.0}

    def call(value):
        net = seeded()
        net.SGD((X, LABELS), **(arguments | {name: value}), progress=False)
        return net.weights[0]

    return call


def weights(name, l):
    def call(value):
        net = seeded()
        getattr(net, name)[l] = value
        return net.feedforward(X.T)

    return call


def first_weights():
    return seeded().weights[0]


def masked(array):
    return np.ma.masked_greater(array, 100)


SQUARE = rng.random((6, 6))
CASES = {
    "1-D x": Case(with_x, "x", X[0], X[0][:, None]),
    "x a list": Case(with_x, "x", X[0].tolist(), X[0][:, None]),
    "x a row": Case(with_x, "x", X[:1], X[0][:, None]),
    "x a row as lists": Case(with_x, "x", X[:1].tolist(), X[0][:, None]),
    "x an image": Case(with_x, "x", X[0].reshape(2, 3), X[0][:, None]),
    "x (n, 1, 1)": Case(with_x, "x", X[0].reshape(6, 1, 1), X[0][:, None]),
    "x of objects": Case(with_x, "x", X[0][:, None].astype(object), X[0][:, None]),
    "x masked": Case(with_x, "x", masked(X[0][:, None]), X[0][:, None]),
    "1-D y": Case(with_y, "y", UNITS[2], UNITS[:, [2]]),
    "y a list": Case(with_y, "y", UNITS[2].tolist(), UNITS[:, [2]]),
    "y a row": Case(with_y, "y", UNITS[2:3], UNITS[:, [2]]),
    "y a label": Case(with_y, "y", 2, UNITS[:, [2]]),
    "y a float label": Case(with_y, "y", 2.0, UNITS[:, [2]]),
    "y an array of a label": Case(with_y, "y", np.array([2]), UNITS[:, [2]]),
    "y an array of a float label": Case(with_y, "y", np.array([[2.0]]), UNITS[:, [2]]),
    "backprop: 1-D x": Case(gradient_of_x, "x", X[0], X[0][:, None]),
    "backprop: label": Case(gradient_of_y, "y", 3, UNITS[:, [3]]),
    "test data: 1-D one-hot y": Case(count, "y", UNITS[2], 2),
    "test data: one-hot y in a row": Case(count, "y", UNITS[2:3], 2),
    "test data: scaled y": Case(count, "y", 5 * UNITS[:, [2]], 2),
    "feedforward: 1-D": Case(output, "a", X[0], X[0][:, None]),
    "feedforward: a list": Case(output, "a", X[0].tolist(), X[0][:, None]),
    "feedforward: an image": Case(output, "a", X[0].reshape(3, 2), X[0][:, None]),
    "feedforward: rows": Case(output, "a", X, X.T),
    "feedforward: objects": Case(output, "a", X.T.astype(object), X.T),
    "a list of two arrays": Case(trained, "training_data", [X, LABELS], (X, LABELS)),
    "one pair": Case(trained, "training_data", PAIRS[0], [PAIRS[0]]),
    "a data frame": Case(trained, "data", FRAME, (X, LABELS)),
    "a used-up iterator": Case(
        lambda data: [trained(data), trained(data)], "training_data", None, list(PAIRS)
    ),
    "images": Case(lambda v: trained((v, LABELS)), "X", X.reshape(20, 2, 3), X),
    "one sample": Case(lambda v: trained((v, LABELS[:1])), "X", X[0], X[:1]),
    "one sample as a column": Case(lambda v: trained((v, LABELS[:1])), "X", X[:1].T, X[:1]),
    "one input": Case(lambda v: trained((v, LABELS), (1, 4)), "X", X[:, 0], X[:, :1]),
    "sparse X": Case(lambda v: trained((v, LABELS)), "X", scipy.sparse.csr_array(X), X),
    "sparse Y": Case(lambda v: trained((X, v)), "Y", scipy.sparse.csr_array(UNITS[LABELS]), LABELS),
    "X masked": Case(lambda v: trained((v, LABELS)), "X", masked(X), X),
    "X of objects": Case(lambda v: trained((v, LABELS)), "X", X.astype(object), X),
    "a column of labels": Case(lambda v: trained((X, v)), "Y", LABELS[:, None], LABELS),
    "labels as a row": Case(lambda v: trained((X, v)), "Y", LABELS[None], LABELS),
    "labels in a matrix": Case(lambda v: trained((X, v)), "Y", np.matrix(LABELS), LABELS),
    "bool labels": Case(lambda v: trained((X, v), (6, 5, 2)), "Y", ONE > 0, ONE),
    "columns of Y": Case(lambda v: trained((X, v)), "Y", UNITS[LABELS][:, :, None], LABELS),
    "one output: columns of Y": Case(
        lambda v: trained((X, v), (6, 5, 1)), "Y", ONE[:, None, None], ONE
    ),
    "tanh answers 0 and 1": Case(expected, "y", ONE, 2 * ONE - 1),
    "sigmoid answers -1 and 1": Case(
        lambda y: expected(y, "sigmoid"), "y", 2 * ONE - 1, ONE
    ),
    "eta a text": Case(hyper("eta"), "eta", "0.5", 0.5),
    "epochs a text": Case(hyper("epochs"), "epochs", "2", 2),
    "mini_batch_size a float": Case(hyper("mini_batch_size"), "mini_batch_size", 5.0, 5),
    "weights masked": Case(
        weights("weights", 0), "weights[0]", masked(first_weights()), first_weights()
    ),
    "weights of objects": Case(
        weights("weights", 0), "weights[0]", first_weights().astype(object), first_weights()
    ),
    "Pixels: one image": Case(lambda v: Pixels(v).array, "X", BYTES[0], BYTES[:1]),
    "Pixels: images": Case(
        lambda v: Pixels(v).array, "X", BYTES.reshape(2, 2, 3), BYTES
  
    ),
    "Pixels: masked": Case(
        lambda v: Pixels(v).array, "X", np.ma.masked_equal(BYTES, 99), BYTES
  
    ),
    "Pixels: wide whole numbers": Case(
        lambda v: Pixels(v).array, "X", BYTES.astype(int), BYTES
    ),
}  # fmt: skip
CASES["a used-up iterator"].bad = lambda: iter(PAIRS)


def message_of(call):
    with pytest.raises((ValueError, TypeError, IndexError)) as raised:
        call()
    text = str(raised.value)
    seen.append(text)
    return text


def followed(text, names, bad):
    """Return what the advice in an error's text makes of the bad value."""
    advice = re.search(r".*(?:; | )(?:use|pass) (.+)$", text).group(1)
    advice = re.split(r" for (?:one sample|labels|bytes)$|, with the name of ", advice)[0]
    name, _, place = names.partition("[")
    value = bad if not place else {int(place[:-1]): bad}
    return eval(advice, {"np": np, "fastbp": fastbp, name: value})


@pytest.mark.parametrize("name", CASES)
def test_what_an_error_advises_is_what_was_meant(name):
    case = CASES[name]
    bad = case.bad() if callable(case.bad) else case.bad
    text = message_of(lambda: case.call(bad))
    bad = case.bad() if callable(case.bad) else case.bad
    fixed, meant = case.call(followed(text, case.names, bad)), case.call(case.meant)
    for a, b in zip(np.atleast_1d(fixed), np.atleast_1d(meant)):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_there_is_no_advice_where_none_would_help():
    for call, bad in (
        (with_x, X[0][:5]), (with_y, 7), (with_y, [0, 1]), (hyper("epochs"), 1.5),
        (hyper("eta"), None), (hyper("epochs"), "many"), (with_x, [["a"]] * 6),
        (count, 1.5), (count, 9),
    ):  # fmt: skip
        text = message_of(lambda call=call, bad=bad: call(bad))
        assert "; use" not in text, text
        assert "expected" in text or "outside" in text

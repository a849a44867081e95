"""The advice in error messages is followed, and gives what was meant.

An error says `...; use <expression>`: the expression is evaluated with the names that the error
itself uses, put in the place of the bad value, and the call is made again. The last test looks
through the package for errors with advice that no case here has followed.
"""

import ast
import dataclasses
import pathlib
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from helpers import seed_both

import fastbp
from fastbp import Network, Pixels, mnist_loader, network2
from fastbp.expand_mnist import deform

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
    seed_both(1)
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


def deformed(images):
    return deform(images, seed=1)


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
IMAGES = rng.integers(0, 256, (5, 9))
CASES = {
    "images of integers": Case(deformed, "X", IMAGES, IMAGES.astype(np.float32)),
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
    "masked rows": Case(lambda v: trained((v, LABELS)), "X", [masked(x) for x in X], X),
    "one input, a series": Case(lambda v: trained((v, LABELS), (1, 4)), "X", FRAME[0], X[:, :1]),
    "one sample, a series": Case(lambda v: trained((v, LABELS[:1])), "X", FRAME.iloc[0, :6], X[:1]),
    "Pixels of Pixels": Case(lambda v: Pixels(v).array, "X", Pixels(BYTES), BYTES),
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


# ------------------------------------------------ advice in words


class Own(network2.QuadraticCost):
    """A cost that load can't know."""


def small_run(**how):
    net = network2.Network([6, 5, 4])
    net.SGD((X, LABELS), 1, 5, 0.5, progress=False, **how)
    return net


def a_folder_of_two_sets(folder):
    for prefix in ("", "emnist-letters-"):
        for part, n in (("train", 12), ("t10k" if not prefix else "test", 3)):
            for kind, magic, shape in (
                ("images-idx3", 2051, (n, 28, 28)), ("labels-idx1", 2049, (n,))
            ):  # fmt: skip
                header = np.array([magic, *shape], ">u4").tobytes()
                content = np.full(shape, 1 if kind.startswith("l") else 255, np.uint8).tobytes()
                (folder / f"{prefix}{part}-{kind}-ubyte").write_bytes(header + content)


def in_words(tmp_path):
    """Yield (a call that fails, the call that its advice, in words, leads to)."""
    labels, targets = (X, LABELS), X @ np.arange(6.0)
    yield (
        lambda: mnist_loader.vectorized_result(12),  # pass n, the number of classes
        lambda: mnist_loader.vectorized_result(12, n=26),
    )
    yield (
        lambda: network2.Network([6, 1], network2.LogLikelihoodCost),  # use 2 outputs, or ...
        lambda: (network2.Network([6, 2], network2.LogLikelihoodCost), network2.Network([6, 1])),
    )
    linear = network2.Network([6, 1], network2.QuadraticCost, output="linear")
    yield (
        lambda: linear.SGD((X, targets), 1, 5, 0.01, monitor_training_accuracy=True),
        lambda: linear.SGD((X, targets), 1, 5, 0.01, monitor_training_cost=True),
    )
    one = network2.Network([6, 1])
    yield (
        lambda: one.accuracy((X, targets)),  # for other numbers monitor the cost
        lambda: one.total_cost((X, targets), 0.0),
    )
    many = np.ones((20, 4))
    yield (
        lambda: seeded().evaluate((X, many)),
        lambda: network2.Network([6, 4]).total_cost((X, many), 0.0),
    )
    yield (
        lambda: small_run(resume=True),  # say where it is
        lambda: small_run(resume=True, checkpoint=tmp_path / "run.npz"),
    )
    yield (
        lambda: network2.Network([6, 4]).SGD(
            labels, 1, 5, 0.5, checkpoint=tmp_path / "run.npz", resume=True
        ),  # resume with what it began with, or use another path
        lambda: small_run(resume=True, checkpoint=tmp_path / "run.npz"),
    )
    own = network2.Network([6, 4], Own)
    own.save(tmp_path / "own.json")
    text = f"load({str(tmp_path / 'own.json')!r}, cost=Own)"
    yield (
        lambda: network2.load(tmp_path / "own.json"),
        lambda: eval(text, {"load": network2.load, "Own": Own}),
    )
    with_nan = X.copy()
    with_nan[3, 2] = np.nan
    yield (
        lambda: seeded().SGD((with_nan, LABELS), 1, 5, 1.0),  # correct or leave out the sample
        lambda: seeded().SGD((np.delete(with_nan, 3, 0), np.delete(LABELS, 3)), 1, 5, 1.0),
    )
    broken = seeded()
    broken.weights[0][0, 0] = np.inf
    yield (
        lambda: broken.evaluate(labels),  # assign finite ones
        lambda: (broken.weights.__setitem__(0, np.ones((5, 6))), broken.evaluate(labels)),
    )
    yield (
        lambda: seeded().feedforward(with_nan[3:4].T),  # correct it
        lambda: seeded().feedforward(np.nan_to_num(with_nan[3:4].T)),
    )
    pixels = Pixels(BYTES)
    yield (lambda: pixels[0, 1], lambda: pixels.array[0, 1])
    images = IMAGES.astype(float)
    read_only = np.empty_like(images)
    read_only.flags.writeable = False
    for out in (np.empty(45), read_only, images):
        yield (
            lambda out=out: deform(images, seed=1, out=out),
            lambda: deform(images, seed=1, out=np.empty_like(images)),
        )
    yield (
        lambda: deform(images, np.eye(5), seed=1),  # for one-hot rows use np.argmax(...)
        lambda: deform(images, np.argmax(np.eye(5), axis=1), seed=1),
    )
    yield (
        lambda: deform(images, np.arange(5.0), seed=1),  # use labels.astype(int)
        lambda: deform(images, np.arange(5.0).astype(int), seed=1),
    )
    (tmp_path / "written").mkdir(exist_ok=True)
    path, floats = tmp_path / "train-images-idx3-ubyte", rng.random((3, 784))
    yield (
        lambda: mnist_loader.write(path, floats, [1, 2, 3]),  # use np.rint(256 * images) ...
        lambda: mnist_loader.write(
            tmp_path / "written" / path.name,
            np.rint(256 * floats).clip(0, 255).astype(np.uint8),
            [1, 2, 3],
        ),
    )
    a_folder_of_two_sets(tmp_path)
    yield (
        lambda: mnist_loader.load_data(tmp_path),  # pass the path of one of these files instead
        lambda: mnist_loader.load_data(tmp_path / "emnist-letters-train-images-idx3-ubyte"),
    )
    images = np.full((12, 6), 0.3)
    sets = [(images, LABELS[:12])] * 3
    yield (
        lambda: mnist_loader.wrap([(images, LABELS[:12, None].astype(float))] * 3),
        lambda: mnist_loader.wrap(sets),  # use numpy.ravel(labels).astype(int)
    )


def test_advice_in_words_is_followed(tmp_path):
    count = 0
    for fails, works in in_words(tmp_path):
        with pytest.raises((ValueError, TypeError, IndexError)) as raised:
            fails()
        seen.append(str(raised.value))
        works()
        count += 1
    assert count == 20


VERBS = r"; (use|pass|give|take|leave|resume|call|correct|assign|for other|monitor)\b|: (pass|say) "
# What the other tests follow: in files, on the command line, after a run.
ELSEWHERE = {
    "call SGD with the same data and argume": "test_mpi: ranks with other data",
    "pass chunks=": "test_mpi: fewer chunks than ranks",
    "use net.SGD, on one process": "test_mpi: overridden methods",
    "call SGD anew": "test_contract, test_rules: sizes that change while SGD runs",
    "leave checkpoint out": "test_checkpoint: a list that is changed meanwhile",
    "take smaller weights": "test_not_finite",
    "give load_data": "test_command_line: no data at all",
    "give it fewer samples": "test_mnist_loader: a file that is too large",
    "give it a folder of its own": "test_mnist_loader",
    "take fewer, (X[:n], Y[:n])": "test_large_files: overridden methods",
    "leave out .gz": "test_generated: more than can be read back",
    "call with the same, or remove the file": "test_generated: another call",
    "pass the path of ": "test_mnist_loader: csv files",
    "use another path": "followed above",
    "call it without transpose": "test_mnist_loader",
    "load it without pixels": "test_mnist_loader",
    "use save_safetensors": "test_exchange: a network too large for ONNX",
    "pass safetensors.torch.load_file(path) t": "test_exchange: state_dicts",
    "pass module.state_dict()": "test_exchange: state_dicts",
    "pass activations=[...]": "test_exchange: state_dicts",
    "leave them out": "test_exchange: costs and activations that are given",
    "pass dtype=numpy.float32": "test_exchange: dtypes of torch",
    "call module.eval() first": "test_exchange: what a module may consist of",
    "call mlp.fit first": "test_exchange: sklearn that is refused",
    "call fit with warm_start=False": "test_estimator: warm start needs the same sizes",
    "use sklearn.utils.class_weight": "test_estimator: partial_fit has the classes",
    "take the photo from nearer": "test_photo: a digit too far away",
    "pass more, or eval_set": "test_estimator: the smallest validation sets",
    "pass more samples, or a longer eval_se": "test_estimator_input: R2 needs two samples",
}


def advice_in(tree):
    """Yield the advice in the texts of a module as patterns; what is formatted matches all."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and node.body
        and isinstance(node.body[0], ast.Expr)
    }  # fmt: skip
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
              for part in ast.walk(node) if part is not node}  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in docstrings or id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "\0" for v in node.values]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = [node.value]
        else:
            continue
        text = "".join(parts)
        for found in re.finditer(VERBS, text):
            yield re.escape(text[found.start() : found.start() + 40]).replace("\0", ".*")


def test_no_error_gives_advice_that_no_case_follows(tmp_path):
    for case in CASES.values():
        message_of(lambda case=case: case.call(case.bad() if callable(case.bad) else case.bad))
    test_advice_in_words_is_followed(tmp_path)
    missing, count = [], 0
    for path in sorted(pathlib.Path(fastbp.__file__).parent.rglob("*.py")):
        for pattern in advice_in(ast.parse(path.read_text())):
            count += 1
            plain = pattern.replace("\\", "")
            if not any(re.search(pattern, text) for text in seen) and not any(
                words in plain for words in ELSEWHERE
            ):
                missing.append((path.name, plain))
    assert not missing, missing
    assert count >= 30

"""Networks of one output neuron: targets are numbers, the answer is one of two."""

import numpy as np
import pytest
from helpers import seed_both
from reference import Oracle

from fastbp import Pixels, gradient_check, network, network2

X = np.random.default_rng(1).random((300, 3))
ANSWERS = (X.sum(axis=1) > 1.5).astype(int)
XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


def chapter_1(sizes=(3, 4, 1), seed=1):
    seed_both(seed)
    return network.Network(list(sizes))


def chapter_3(output="sigmoid", cost=network2.QuadraticCost, sizes=(3, 4, 1)):
    seed_both(1)
    return network2.Network(list(sizes), cost, output=output)


def in_all_forms(y):
    """The same targets or expected answers, in every form that training and evaluation take."""
    column = y.reshape(-1, 1)
    yield from ((X, y), (X, column), (X, y.astype(float)), (X, y.tolist()), (X, y.astype(np.int8)))
    for shaped in (lambda v: v, float, lambda v: np.array([v]), lambda v: np.array([[v]])):
        yield [(x[:, None], shaped(v)) for x, v in zip(X, y.tolist())]


def test_a_bare_number_is_a_target_of_backprop():
    net = chapter_1((2, 1))
    x = np.array([[0.5], [0.2]])
    a = net.feedforward(x)
    for y in (0, 1, 0.3, True, np.array([1]), np.array([[0.25]])):
        delta = (a - np.asarray(y, float).reshape(1, 1)) * a * (1 - a)
        np.testing.assert_allclose(net.backprop(x, y)[0][0], delta, rtol=1e-12)


def test_zeros_are_targets_and_not_labels():
    net = chapter_1()
    for _ in range(50):
        net.update_mini_batch((X[:5], np.zeros(5, int)), 3.0)
    assert (net.feedforward(X[:5].T) < 0.2).all()


def test_every_form_of_the_targets_trains_to_the_same_weights():
    y = ANSWERS
    results = []
    for form in in_all_forms(y):
        net = chapter_1()
        net.SGD(form, 2, 10, 1.0, progress=False)
        net.update_mini_batch(form, 1.0)
        results.append(net.weights[0])
    oracle = Oracle([3, 4, 1])
    start = chapter_1()
    oracle.weights, oracle.biases = start.weights, start.biases
    pairs = [(x[:, None], np.array([[float(v)]])) for x, v in zip(X, y)]
    oracle.train(list(pairs), 2, 10, 1.0)
    oracle.step(pairs, 1.0)
    for weights in results:
        np.testing.assert_array_equal(weights, results[0])
    np.testing.assert_allclose(results[0], oracle.weights[0], rtol=1e-9)


def test_real_targets_of_a_regression():
    y = X @ [0.5, -1.0, 2.0]
    costs = set()
    for data in ((X, y), (X, y[:, None]), [(x[:, None], v) for x, v in zip(X, y)]):
        net = chapter_3("linear")
        before = net.total_cost(data, 0.0)
        history = net.SGD(
            data, 20, 10, 0.1, evaluation_data=data, monitor_evaluation_cost=True,
            monitor_training_cost=True, early_stopping_n=5, stop_on="evaluation_cost",
            progress=False,
        )  # fmt: skip
        assert history[0][-1] < before / 20
        assert min(history[0]) == pytest.approx(net.total_cost(data, 0.0, convert=True), rel=1e-12)
        costs.add(history[2][-1])
        assert max(gradient_check(net, (X[:4], y[:4]))) < 1e-6
    assert max(costs) == pytest.approx(min(costs), rel=1e-9)


@pytest.mark.parametrize("forward", ["kernels", "own"])
def test_evaluate_counts_answers(forward):
    net = chapter_1()
    if forward == "own":
        net.feedforward = lambda x, f=net.feedforward: f(x)
    outputs = np.array([net.feedforward(x[:, None])[0, 0] for x in X])
    right = int(((outputs >= 0.5) == ANSWERS).sum())
    assert 0 < right < 300
    for form in in_all_forms(ANSWERS):
        assert net.evaluate(form) == right
        assert net.evaluate(list(form)[:2] if isinstance(form, list) else form) >= 0
    assert net.evaluate((X, 1 - ANSWERS)) == 300 - right
    assert net.evaluate((X, ANSWERS.astype(bool))) == right


@pytest.mark.parametrize("output", ["sigmoid", "tanh"])
def test_accuracy_of_both_output_activations(output):
    net = chapter_3(output)
    low, threshold = (0, 0.5) if output == "sigmoid" else (-1, 0.0)
    expected = np.where(ANSWERS, 1, low)
    outputs = net.feedforward(X.T)[0]
    right = int((np.where(outputs >= threshold, 1, low) == expected).sum())
    for form in in_all_forms(expected):
        for convert in (False, True):
            assert net.accuracy(form, convert) == right


def test_early_stopping_by_accuracy_keeps_the_best_weights():
    net = chapter_3(cost=network2.CrossEntropyCost)
    data = (X, ANSWERS.reshape(-1, 1))
    _, counts, *_ = net.SGD(
        data, 40, 10, 0.5, evaluation_data=data, monitor_evaluation_accuracy=True,
        early_stopping_n=10, progress=False,
    )  # fmt: skip
    assert len(set(counts)) > 3
    assert net.accuracy(data) == max(counts) > counts[0]


def test_expected_answers_other_than_the_two():
    for net, call in ((chapter_1(), "evaluate"), (chapter_3(), "accuracy")):
        with pytest.raises(ValueError, match=r"\[0\]: the label is 2, expected 0 or 1"):
            getattr(net, call)((X, np.full(300, 2)))
        with pytest.raises(ValueError, match=r"\[0\]: the label is 0.5, expected 0 or 1"):
            getattr(net, call)([(X[0][:, None], 0.5)])
        with pytest.raises(ValueError, match=r"is -1, expected 0 or 1.*use \(y \+ 1\) / 2"):
            getattr(net, call)((X, 2 * ANSWERS - 1 - 2 * (ANSWERS == 5)))
    with pytest.raises(
        ValueError, match=r"is 0, expected -1 or 1.*one tanh output.*use 2 \* y - 1"
    ):
        chapter_3("tanh").accuracy((X, ANSWERS))


@pytest.mark.parametrize("output", ["linear", "relu"])
def test_one_linear_or_relu_neuron_has_no_accuracy(output):
    net = chapter_3(output)
    before = net.weights[0].copy()
    for call in (
        lambda: net.accuracy((X, ANSWERS)),
        lambda: net.SGD((X, ANSWERS), 1, 10, 0.1, monitor_training_accuracy=True),
        lambda: net.SGD((X, ANSWERS), 1, 10, 0.1, 0.0, (X, ANSWERS), early_stopping_n=2),
    ):
        with pytest.raises(ValueError, match=f"one {output} neuron.*no accuracy; monitor the cost"):
            call()
    np.testing.assert_array_equal(net.weights[0], before)


def test_one_softmax_neuron_is_refused():
    with pytest.raises(ValueError, match="one softmax output neuron is always 1"):
        network2.Network([3, 4, 1], network2.LogLikelihoodCost)
    net = network2.Network([3, 4, 2], network2.LogLikelihoodCost)
    net.sizes = [3, 4, 1]
    with pytest.raises(ValueError, match="one softmax output neuron is always 1"):
        net.feedforward(X[0][:, None])


@pytest.mark.parametrize("stored", [np.uint8, np.int64, bool, np.float32, np.float64])
def test_xor_is_learned_whatever_the_type_of_its_features(stored):
    net = chapter_1((2, 4, 1))
    data = (XOR.astype(stored), np.array([0, 1, 1, 0]))
    for _ in range(1500):
        net.update_mini_batch(data, 5.0)
    assert net.evaluate(data) == 4
    wanted = chapter_1((2, 4, 1))
    for _ in range(1500):
        wanted.update_mini_batch((XOR.astype(float), np.array([0.0, 1, 1, 0])), 5.0)
    np.testing.assert_array_equal(net.weights[0], wanted.weights[0])


def test_labels_of_more_neurons_in_every_form():
    net = chapter_1((3, 4, 3))
    labels = np.arange(300) % 3
    right = net.evaluate((X, labels))
    units = np.eye(3)
    assert 0 < right < 300
    for shaped in (
        int, float, lambda v: np.array([v]), lambda v: np.array([[v]]), np.float32, np.int8,
        lambda v: units[:, [v]], lambda v: units[:, [v]].astype(int),
    ):  # fmt: skip
        pairs = [(x[:, None], shaped(v)) for x, v in zip(X, labels.tolist())]
        assert net.evaluate(pairs) == right
        assert sum(net.evaluate([pair]) for pair in pairs[:30]) == net.evaluate(pairs[:30])
    for Y in (labels[:, None], labels.astype(float), units[labels], 2 * units[labels] - 1):
        assert net.evaluate((X, Y)) == right
    with pytest.raises(ValueError, match=r"test_data\[0\]: y is \[1.0, 1.0, 1.0\].*monitor the co"):
        net.evaluate((X, np.ones((300, 3))))


def test_several_labels_at_once_train_and_have_a_cost_but_no_accuracy():
    Y = np.column_stack([X[:, 0] > 0.5, X[:, 1] > 0.5, np.ones(300)]).astype(float)
    net = chapter_3(sizes=(3, 4, 3), cost=network2.CrossEntropyCost)
    *_, costs, _ = net.SGD((X, Y), 3, 10, 0.5, monitor_training_cost=True, progress=False)
    assert costs[-1] < costs[0]
    with pytest.raises(ValueError, match=r"expected one largest number.*monitor the cost"):
        net.SGD((X, Y), 1, 10, 0.5, monitor_training_accuracy=True)


def test_pixels_too_may_have_one_output():
    stored = (X * 255).astype(np.uint8)
    counts = [chapter_1().evaluate((form, ANSWERS)) for form in (Pixels(stored), stored / 256)]
    assert counts[0] == counts[1]


def test_overridden_monitors_see_the_first_samples_of_the_list_in_every_epoch():
    class Own(network2.Network):
        def accuracy(self, data, convert=False):
            return super().accuracy(data, convert)

        def total_cost(self, data, lmbda, convert=False):
            return super().total_cost(data, lmbda, convert)

    results = []
    for make in (Own, network2.Network):
        seed_both(1)
        net = make([3, 4, 1], network2.QuadraticCost)
        pairs = [(x[:, None], np.array([[v]])) for x, v in zip(X, ANSWERS)]
        results.append(
            net.SGD(pairs, 3, 7, 0.5, 2.0, list(pairs), True, True, True, True, monitor_subset=20)
        )
    for own, plain in zip(*results):
        np.testing.assert_allclose(own, plain, rtol=1e-12)


def test_real_columns_as_evaluation_data_of_a_regression_with_two_outputs():
    Y = X[:, :2]
    pairs = [(x[:, None], y[:, None]) for x, y in zip(X, Y)]
    net = chapter_3("linear", sizes=(3, 5, 2))
    cost = net.total_cost((X, Y), 0.0)
    assert net.total_cost(pairs, 0.0, convert=True) == pytest.approx(cost, rel=1e-12)
    costs, *_ = net.SGD(pairs, 1, 7, 0.1, 0.0, list(pairs), monitor_evaluation_cost=True)
    assert costs[-1] < cost
    with pytest.raises(ValueError, match=r"expected one 1 and zeros.*monitor the cost"):
        net.accuracy(pairs)


def test_overridden_methods_get_pairs_of_arrays_and_pixels():
    stored, seen = (X * 255).astype(np.uint8), []

    class Own(network.Network):
        def evaluate(self, test_data):
            seen.extend(test_data)
            return sum(int((self.feedforward(x)[0, 0] >= 0.5) == y) for x, y in test_data)

    class Own2(network2.Network):
        def accuracy(self, data, convert=False):
            seen.extend(data)
            return len(data)

    Own([3, 4, 1]).SGD((X, ANSWERS), 1, 10, 1.0, test_data=(Pixels(stored), ANSWERS))
    Own2([3, 4, 1]).SGD((X, ANSWERS), 1, 10, 1.0, 0.0, (Pixels(stored), ANSWERS), False, True)
    assert len(seen) == 600
    assert all(x.shape == (3, 1) and x.dtype.kind == "f" and y in (0, 1) for x, y in seen)

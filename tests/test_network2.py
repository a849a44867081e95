"""Chapter 3's Network: the book's contract, and the oracle, rule by rule."""

import itertools
import json
import random

import numpy as np
import pytest
from reference import sigma
from reference2 import Oracle2

from fastbp import network, network2
from fastbp.data import datasets
from fastbp.network2 import CrossEntropyCost, LogLikelihoodCost, Network, QuadraticCost
from fastbp.training.compute.rules import StepSettings
from fastbp.training.compute.samples import Samples

SIZES = [40, 12, 5]


@pytest.fixture(scope="module")
def arrays_of():
    rng = np.random.default_rng(3)

    def make(n):
        X = rng.random((n, 40)) * (rng.random((n, 40)) < 0.4)
        return X, np.abs(X[:, :35].reshape(n, 5, 7).sum(axis=2)).argmax(axis=1)

    return make


@pytest.fixture(scope="module")
def training(arrays_of):
    return arrays_of(5000)


@pytest.fixture(scope="module")
def evaluation(arrays_of):
    return arrays_of(400)


def pairs_of(data, one_hot=True):
    X, labels = data
    ys = np.eye(5)[labels][:, :, None] if one_hot else labels.tolist()
    return [(x, y) for x, y in zip(X[:, :, None], ys)]


def seeded(*arguments, seed=7, **options):
    random.seed(seed)
    np.random.seed(seed)
    return Network(*arguments, **options)


def largest_difference(net, oracle):
    both = zip([*net.weights, *net.biases], [*oracle.weights, *oracle.biases])
    return max(np.abs(a - b).max() for a, b in both)


def quiet(capsys):
    return capsys.readouterr().out


# ------------------------------------------------ initialisers


def test_same_seeds_same_initial_weights_to_the_bit():
    net = seeded([5, 4, 3])
    np.random.seed(7)
    biases = [np.random.randn(n, 1) for n in (4, 3)]
    weights = [np.random.randn(n_out, n_in) / np.sqrt(n_in) for n_out, n_in in ((4, 5), (3, 4))]
    for seen, wanted in zip([*net.biases, *net.weights], [*biases, *weights]):
        np.testing.assert_array_equal(seen, wanted)
    net.large_weight_initializer()
    for b in [np.random.randn(n, 1) for n in (4, 3)]:
        assert b.any()
    np.testing.assert_array_equal(net.weights[0].shape, (4, 5))


def test_large_weights_are_not_scaled():
    net = seeded([5, 4, 3])
    np.random.seed(1)
    net.large_weight_initializer()
    np.random.seed(1)
    biases = [np.random.randn(n, 1) for n in (4, 3)]
    np.testing.assert_array_equal(net.biases[1], biases[1])
    np.testing.assert_array_equal(net.weights[0], np.random.randn(4, 5))


# ------------------------------------------------ the trajectory


RULES = {
    "cross-entropy": ({}, {}, {}),
    "quadratic": (dict(cost=QuadraticCost), dict(cost="quadratic"), {}),
    "an instance": (dict(cost=CrossEntropyCost()), {}, {}),
    "L2": ({}, {}, dict(lmbda=5.0)),
    "L1": ({}, {}, dict(l1=2.0)),
    "momentum": ({}, {}, dict(momentum=0.5)),
    "Nesterov and L2": ({}, {}, dict(momentum=0.5, nesterov=True, lmbda=5.0)),
    "Adam": ({}, {}, dict(optimizer="adam")),
    "Adam and L2": ({}, {}, dict(optimizer="adam", betas=(0.8, 0.99), epsilon=1e-4, lmbda=5.0)),
    "max-norm": ({}, {}, dict(max_norm=1.0)),
    "tanh": (dict(activation="tanh"), dict(activations=["tanh", "sigmoid"]), dict(lmbda=1.0)),
    "relu": (dict(activation=["relu"]), dict(activations=["relu", "sigmoid"]), {}),
    "linear neurons": (
        dict(activation="linear", cost=QuadraticCost, output="linear"),
        dict(activations=["linear", "linear"], cost="quadratic"),
        {},
    ),
    "softmax": (
        dict(cost=LogLikelihoodCost),
        dict(activations=["sigmoid", "softmax"], cost="log-likelihood"),
        dict(lmbda=1.0),
    ),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("form", ["arrays", "pairs"])
def test_an_epoch_of_5000_images_is_the_oracles(name, form, training, capsys):
    of_net, of_oracle, rules = RULES[name]
    eta = 0.001 if "Adam" in name else 0.02 if "linear" in name else 0.1
    net = seeded(SIZES, **of_net)
    np.random.seed(7)
    oracle = Oracle2(SIZES, of_oracle.get("activations"), of_oracle.get("cost", "cross-entropy"))
    assert largest_difference(net, oracle) == 0
    net.SGD(training if form == "arrays" else pairs_of(training), 1, 10, eta, **rules)
    random.seed(7)
    order = list(range(5000))
    random.shuffle(order)
    if "optimizer" in rules:
        rules = rules | dict(adam=True)
        beta1, beta2 = rules.pop("betas", (0.9, 0.999))
        rules |= dict(momentum=beta1, beta2=beta2)
        del rules["optimizer"]
    oracle.train(training[0], np.eye(5)[training[1]], np.array(order), 10, eta, **rules)
    assert largest_difference(net, oracle) <= 1e-8
    assert quiet(capsys) == "Epoch 0 training complete\n\n"


def test_dropout_is_the_oracles_and_comes_from_numpys_seed(training, capsys):
    drops = [0.2, 0.5]
    net = seeded(SIZES, activation="relu")
    net.SGD(training, 1, 10, 0.05, dropout=drops)
    np.random.seed(7)
    oracle = Oracle2(SIZES, ["relu", "sigmoid"])
    key = int(np.random.randint(2**32, dtype=np.uint32))
    random.seed(7)
    order = list(range(5000))
    random.shuffle(order)
    data = training[0], np.eye(5)[training[1]], np.array(order)
    oracle.train(*data, 10, 0.05, dropout=(*drops, 0.0), key=key)
    assert largest_difference(net, oracle) <= 1e-8
    again = seeded(SIZES, activation="relu")
    again.SGD(training, 1, 10, 0.05, dropout=drops)
    np.testing.assert_array_equal(again.weights[0], net.weights[0])


@pytest.mark.parametrize("convert", [False, True])
def test_update_mini_batch_decays_weights_not_biases(convert, training):
    net = seeded(SIZES)
    batch = pairs_of((training[0][:10], training[1][:10]))
    np.random.seed(7)
    oracle = Oracle2(SIZES)
    if convert:
        batch = training[0][:10], training[1][:10]
    net.update_mini_batch(batch, 0.5, 5.0, 1000)
    oracle.step(training[0][:10], np.eye(5)[training[1][:10]], 0.5, 1000, lmbda=5.0)
    assert largest_difference(net, oracle) < 1e-12


def test_backprop_batch_is_the_sum_of_backprop_for_both_networks(training):
    X, labels = training[0][:23], training[1][:23]
    nets = [
        seeded(SIZES),
        network.Network(SIZES),
        seeded(SIZES, LogLikelihoodCost, activation="relu"),
    ]
    for net in nets:
        nabla_b, nabla_w = net.backprop_batch(X, labels)
        single = [net.backprop(x, y) for x, y in pairs_of((X, labels))]
        for l in range(2):
            np.testing.assert_allclose(nabla_b[l], sum(b[l] for b, _ in single), atol=1e-12)
            np.testing.assert_allclose(nabla_w[l], sum(w[l] for _, w in single), atol=1e-12)
        norms = net.gradient_norms((X, labels))
        np.testing.assert_allclose(norms, [np.linalg.norm(b) / 23 for b in nabla_b])
        assert net.gradient_norms(pairs_of((X, labels))) == norms


# ------------------------------------------------ monitors


def test_the_four_monitors_print_and_return_as_the_book_does(training, evaluation, capsys):
    net = seeded(SIZES)
    result = net.SGD(training, 2, 10, 0.1, 5.0, evaluation, True, True, True, True)
    assert [len(values) for values in result] == [2] * 4
    for values in result[::2]:
        assert all(type(v) is float for v in values)
    for values in result[1::2]:
        assert all(type(v) is int for v in values)
    json.dumps(result)
    lines = []
    for epoch, (ec, ea, tc, ta) in enumerate(zip(*result)):
        lines += [
            f"Epoch {epoch} training complete",
            f"Cost on training data: {tc}",
            f"Accuracy on training data: {ta} / 5000",
            f"Cost on evaluation data: {ec}",
            f"Accuracy on evaluation data: {ea} / 400",
            "",
        ]
    assert quiet(capsys).splitlines() == lines
    assert result[0][-1] == net.total_cost(evaluation, 5.0, convert=True)
    assert result[1][-1] == net.accuracy(evaluation)
    assert result[2][-1] == net.total_cost(pairs_of(training), 5.0)
    assert result[3][-1] == net.accuracy(pairs_of(training), convert=True)
    assert net.accuracy(pairs_of(evaluation, one_hot=False)) == result[1][-1]


@pytest.mark.parametrize("cost", [CrossEntropyCost, QuadraticCost, LogLikelihoodCost])
def test_total_cost_adds_the_regularisation_once(cost, training, capsys):
    net = seeded(SIZES, cost)
    data = training[0][:50], training[1][:50]
    single = [cost.fn(net.feedforward(x), y) for x, y in pairs_of(data)]
    squares = sum((w**2).sum() for w in net.weights)
    wanted = sum(single) / 50 + 0.5 * 3.0 / 50 * squares
    assert net.total_cost(pairs_of(data), 3.0) == pytest.approx(wanted, rel=1e-12)
    with_l1 = wanted + 2.0 / 50 * sum(np.abs(w).sum() for w in net.weights)
    *_, costs, _ = net.SGD(data, 1, 10, 0.0, 3.0, monitor_training_cost=True, l1=2.0)
    assert costs == pytest.approx([with_l1], rel=1e-12)


def test_costs_by_hand():
    a, y = np.array([[0.5], [0.25]]), np.array([[1.0], [0.0]])
    assert QuadraticCost.fn(a, y) == pytest.approx(0.15625)
    assert CrossEntropyCost.fn(a, y) == pytest.approx(np.log(2) - np.log(0.75))
    assert LogLikelihoodCost.fn(a, y) == pytest.approx(np.log(2))
    assert CrossEntropyCost.fn(y, y) == LogLikelihoodCost.fn(y, y) == 0
    z = np.zeros((2, 1))
    np.testing.assert_allclose(QuadraticCost.delta(z, a, y), (a - y) / 4)
    np.testing.assert_array_equal(CrossEntropyCost().delta(None, a, y), a - y)


def test_a_subset_every_few_mini_batches(training, evaluation, capsys):
    net = seeded(SIZES)
    result = net.SGD(
        training, 2, 10, 0.1, 0.0, evaluation, monitor_evaluation_accuracy=True,
        monitor_training_cost=True, monitor_subset=100, monitor_every=125,
    )  # fmt: skip
    assert [len(values) for values in result] == [0, 8, 8, 0]
    assert max(result[1]) <= 100
    assert quiet(capsys).count("Accuracy on evaluation data") == 2
    other = seeded(SIZES)
    other.SGD(training, 2, 10, 0.1)
    for w, v in zip(net.weights, other.weights):
        np.testing.assert_array_equal(w, v)  # to look changes nothing


# ------------------------------------------------ when to stop, how fast to go


def test_early_stopping_keeps_the_best_weights(training, evaluation, capsys):
    net = seeded(SIZES)
    few = training[0][:100], training[1][:100]
    result = net.SGD(
        few, 200, 10, 3.0, 0.0, evaluation, monitor_evaluation_accuracy=True, early_stopping_n=4
    )
    accuracies = result[1]
    assert len(accuracies) < 200
    assert max(accuracies[-4:]) <= max(accuracies[:-4])
    assert net.accuracy(evaluation) == max(accuracies)
    assert quiet(capsys).endswith("No improvement in 4 epochs: done\n")
    assert len(accuracies) - 1 - int(np.argmax(accuracies)) == 4


@pytest.mark.parametrize(
    ("values", "kept"), [([3, 2, 2, 2], 1), ([np.nan] * 3, 0), ([np.nan, 3, 4, 5], 1)]
)
def test_a_cost_that_is_nan_is_no_best(values, kept, training, capsys):
    class Own(Network):
        def total_cost(self, data, lmbda, convert=False):
            measured.append(self.weights[0].copy())
            return float(values[len(measured) - 1])

    measured, net = [], Own(SIZES)
    net.SGD(training, 9, 10, 0.1, early_stopping_n=2, stop_on="training_cost")
    assert len(measured) == len(values)
    np.testing.assert_array_equal(net.weights[0], measured[kept])


@pytest.mark.parametrize("stop_on", network2.MONITORS)
def test_early_stopping_on_any_monitor_shown_or_not(stop_on, training, evaluation, capsys):
    few, results = (training[0][:100], training[1][:100]), []
    for shown in (False, True):
        net = seeded(SIZES)
        asked = {f"monitor_{stop_on}": shown}
        net.SGD(few, 60, 10, 3.0, 9.0, evaluation, early_stopping_n=2, stop_on=stop_on, **asked)
        results.append(net.weights)
    np.testing.assert_array_equal(results[0][0], results[1][0])


def test_the_books_schedule_halves_down_to_a_128th(training, evaluation, capsys):
    net = seeded(SIZES)
    few = training[0][:100], training[1][:100]
    net.SGD(few, 500, 10, 4.0, 0.0, evaluation, schedule="halve", early_stopping_n=1)
    lines = [line for line in quiet(capsys).splitlines() if "learning rate" in line]
    assert [line.rsplit(" ", 1)[1] for line in lines[:-1]] == [str(4.0 / 2**k) for k in range(1, 8)]
    assert lines[-1] == "The learning rate is below 1/128 of the first: done"


def test_a_schedule_may_be_a_function(training, capsys):
    rates = [0.5, 0.25, 0.125]
    net, other = seeded(SIZES), seeded(SIZES)
    net.SGD(training, 3, 10, 99.0, schedule=lambda epoch: rates[epoch])
    random.seed(7)
    for rate in rates:
        order = shuffled(np.arange(5000), rate == rates[0])
        samples = Samples(training[0], np.eye(5)[training[1]])
        with other._descent(samples, order, StepSettings(10, rate)) as descent:
            assert sum(descent) == 5000
    np.testing.assert_array_equal(net.weights[0], other.weights[0])


_orders = {}


def shuffled(order, first):
    """The book's order of the next epoch: the last one, shuffled."""
    if first:
        _orders["last"] = list(range(len(order)))
    random.shuffle(_orders["last"])
    return np.array(_orders["last"])


# ------------------------------------------------ the reference path


class OwnCost:
    """Cross-entropy again, as a reader would write it."""

    @staticmethod
    def fn(a, y):
        return CrossEntropyCost.fn(a, y)

    @staticmethod
    def delta(z, a, y):
        return a - y


class Subclass(CrossEntropyCost):
    @staticmethod
    def delta(z, a, y):
        return a - y


@pytest.mark.parametrize("cost", [OwnCost, OwnCost(), Subclass])
@pytest.mark.parametrize(
    "rules",
    [{}, dict(momentum=0.5, l1=1.0, max_norm=2.0), dict(optimizer="adam", epsilon=1e-3)],
    ids=str,
)
def test_an_own_cost_runs_on_the_reference_path(cost, rules, training, evaluation, capsys):
    data = training[0][:300], training[1][:300]
    asked = dict(evaluation_data=evaluation, monitor_evaluation_cost=True, lmbda=2.0, **rules)
    net, compiled = seeded(SIZES, cost), seeded(SIZES)
    results = []
    for one in (net, compiled):
        random.seed(1)
        results.append(one.SGD(data, 2, 10, 0.1, **asked)[0])
    assert largest_difference(net, compiled) < 1e-10
    assert results[0] == pytest.approx(results[1], rel=1e-10)
    for one, other in zip(net.backprop_batch(*data), compiled.backprop_batch(*data)):
        np.testing.assert_allclose(one[0], other[0], atol=1e-10)


def test_a_patched_cost_is_used(training, monkeypatch, capsys):
    net = seeded(SIZES)
    monkeypatch.setattr(CrossEntropyCost, "delta", staticmethod(lambda z, a, y: 0 * a))
    before = [w.copy() for w in net.weights]
    net.SGD((training[0][:50], training[1][:50]), 1, 10, 1.0)
    np.testing.assert_array_equal(net.weights[0], before[0])


def test_the_reference_path_has_max_norm_too(training, capsys):
    net = seeded(SIZES, OwnCost)
    net.SGD((training[0][:300], training[1][:300]), 1, 10, 0.1, max_norm=0.5)
    assert max(np.linalg.norm(w, axis=1).max() for w in net.weights) <= 0.5 + 1e-12


def test_a_patched_sigmoid_takes_its_derivative_along(training, monkeypatch):
    monkeypatch.setattr(network2, "sigmoid", lambda z: sigma(2 * z))
    net = seeded(SIZES, QuadraticCost)
    x, y = training[0][:1].T, np.eye(5)[:, :1]
    a = net.feedforward(x)
    np.testing.assert_allclose(net.backprop(x, y)[0][1], (a - y) * a * (1 - a), rtol=1e-12)


@pytest.mark.parametrize("name", ["accuracy", "total_cost"])
def test_an_overridden_monitor_reads_iterators_and_subsets(name, training, evaluation, capsys):
    seen = []

    def method(self, data, *rest, **options):
        seen.append(len(data))
        return getattr(Network, name)(self, data, *rest, **options)

    net = type("Mine", (Network,), {name: method})(SIZES)
    few = training[0][:30], training[1][:30]
    net.SGD(
        iter(pairs_of(few)), 2, 10, 0.1, 0.0, iter(pairs_of(evaluation, one_hot=False)),
        True, True, True, True, monitor_subset=20,
    )  # fmt: skip
    assert seen == [20] * 4


@pytest.mark.parametrize("name", ["accuracy", "total_cost"])
def test_no_pairs_are_made_for_methods_that_measure_nothing(
    name, training, evaluation, monkeypatch, capsys
):
    def unwanted(*arguments):
        raise AssertionError("pairs were made")

    monkeypatch.setattr(datasets, "training_pairs", unwanted)
    net = type("Mine", (Network,), {name: lambda *arguments, **how: 0})(SIZES)
    which = name == "accuracy", name == "total_cost"  # those that are not overridden
    net.SGD(training, 1, 10, 0.1, 0.0, evaluation, *which, *which)


def test_NaN_is_no_best(training, evaluation, capsys):
    values = iter([np.nan, 8.0, 7.0, 6.0, 6.0, 6.0, 6.0])

    class Mine(Network):
        def total_cost(self, data, lmbda, convert=False):
            return next(values)

    net = Mine(SIZES)
    few = training[0][:30], training[1][:30]
    *_, costs, _ = net.SGD(
        few, 20, 10, 0.1, monitor_training_cost=True, early_stopping_n=2, stop_on="training_cost"
    )
    assert costs[1:] == [8.0, 7.0, 6.0, 6.0, 6.0]


def test_a_cost_that_does_not_fit_is_refused_when_it_is_assigned(training):
    net = seeded(SIZES, activation="relu")
    net.cost = LogLikelihoodCost
    for call in (
        lambda: net.backprop(training[0][:1].T, np.eye(5)[:, :1]),
        lambda: net.SGD((training[0][:20], training[1][:20]), 1, 10, 0.1),
        lambda: net.accuracy((training[0][:20], training[1][:20])),
    ):
        with pytest.raises(ValueError, match="LogLikelihoodCost does not go with output 'sigmoid'"):
            call()
    net.activations = ["relu", "softmax"]
    net.SGD((training[0][:20], training[1][:20]), 1, 10, 0.1)


def test_every_override_is_called(training, evaluation, capsys):
    called = []

    class Mine(Network):
        def update_mini_batch(self, mini_batch, eta, lmbda, n):
            called.append(("update", len(mini_batch), lmbda, n))
            super().update_mini_batch(mini_batch, eta, lmbda, n)

        def backprop(self, x, y):
            called.append("backprop")
            return super().backprop(x, y)

        def accuracy(self, data, convert=False):
            called.append(("accuracy", convert))
            return super().accuracy(data, convert)

        def total_cost(self, data, lmbda, convert=False):
            called.append(("cost", convert))
            return super().total_cost(data, lmbda, convert)

    net = Mine(SIZES)
    data = training[0][:25], training[1][:25]
    net.SGD(data, 1, 10, 0.1, 3.0, evaluation, True, True, True, True)
    assert called.count("backprop") == 25
    assert [c for c in called if c[0] == "update"] == [
        ("update", 10, 3.0, 25), ("update", 10, 3.0, 25), ("update", 5, 3.0, 25),
    ]  # fmt: skip
    assert called[-4:] == [("cost", False), ("accuracy", True), ("cost", True), ("accuracy", False)]


def test_a_single_neuron_with_another_activation(training, monkeypatch, capsys):
    """Chapter 2's exercise: f in place of sigmoid, for one neuron, on the reference path."""

    def f(z):
        a = sigma(z)
        if a.shape[0] == 12:
            a[3] = np.tanh(z[3])
        return a

    def f_prime(z):
        slope = sigma(z) * (1 - sigma(z))
        if slope.shape[0] == 12:
            slope[3] = 1 - np.tanh(z[3]) ** 2
        return slope

    monkeypatch.setattr(network2, "sigmoid", f)
    monkeypatch.setattr(network2, "sigmoid_prime", f_prime)
    net = seeded(SIZES)
    x, y = training[0][:1].T, np.eye(5)[:, :1]
    _, nabla_w = net.backprop(x, y)
    h = 1e-6
    for w, nabla in zip(net.weights, nabla_w):
        for at in itertools.islice(np.ndindex(*w.shape), 0, None, 7):
            costs = []
            for step in (h, -h):
                w[at] += step
                costs.append(CrossEntropyCost.fn(net.feedforward(x), y))
                w[at] -= step
            assert nabla[at] == pytest.approx((costs[0] - costs[1]) / (2 * h), rel=1e-5, abs=1e-8)


# ------------------------------------------------ files


def test_files_go_both_ways_between_the_book_and_us(tmp_path, evaluation):
    net = seeded(SIZES, QuadraticCost)
    net.save(tmp_path / "ours.json")
    book = json.loads((tmp_path / "ours.json").read_text())  # what the book's load reads
    assert book["sizes"] == SIZES
    assert getattr(network2, book["cost"]) is QuadraticCost
    for seen, wanted in zip([*book["weights"], *book["biases"]], [*net.weights, *net.biases]):
        np.testing.assert_array_equal(np.array(seen), wanted)
    theirs = {k: book[k] for k in ("sizes", "weights", "biases", "cost")}  # what it writes
    (tmp_path / "theirs.json").write_text(json.dumps(theirs))
    state = np.random.get_state()[1].tolist()
    loaded = network2.load(tmp_path / "theirs.json")
    assert np.random.get_state()[1].tolist() == state  # no random number is drawn
    assert loaded.cost is QuadraticCost
    np.testing.assert_array_equal(loaded.weights[1], net.weights[1])
    assert loaded.accuracy(evaluation) == net.accuracy(evaluation)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_the_books_form_cannot_hold_is_kept(dtype, tmp_path):
    net = seeded(np.array(SIZES), LogLikelihoodCost(), activation="relu", dtype=dtype)
    net.save(tmp_path / "net.json")
    loaded = network2.load(tmp_path / "net.json")
    assert loaded.activations == ("relu", "softmax")
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded.weights[0], net.weights[0])
    assert loaded.weights[0].dtype == dtype


def test_a_cost_of_the_users_own_comes_back_when_it_is_given(tmp_path):
    seeded(SIZES, OwnCost).save(tmp_path / "net.json")
    with pytest.raises(ValueError, match=r"saved with the cost 'OwnCost'.*load\(.*cost=OwnCost"):
        network2.load(tmp_path / "net.json")
    assert network2.load(tmp_path / "net.json", OwnCost).cost is OwnCost
    with pytest.raises(TypeError, match="cost is 3"):
        network2.load(tmp_path / "net.json", 3)
    with pytest.raises(ValueError, match="threads is 0"):
        network2.load(tmp_path / "net.json", OwnCost, threads=0)
    same_name = type("CrossEntropyCost", (OwnCost,), {})
    seeded(SIZES, same_name).save(tmp_path / "net.json")
    with pytest.raises(ValueError, match="pass your own"):
        network2.load(tmp_path / "net.json")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "3", "{}", "null", '{"sizes": [2, 1]}', "\xff", "[" * 100_000,
        '{"sizes": [2, 1], "weights": [[[1]]], "biases": [[[0]]], "cost": "QuadraticCost"}',
        '{"sizes": [2, 1], "weights": 3, "biases": [[[0]]], "cost": "QuadraticCost"}',
        '{"sizes": "ab", "weights": [], "biases": [], "cost": "QuadraticCost"}',
        '{"sizes": [2, 1], "weights": [[[1, 1]]], "biases": [[[0]]], "cost": ["x"]}',
        '{"sizes": [2, 1], "weights": [[["a", 1]]], "biases": [[[0]]], "cost": "QuadraticCost"}',
        '{"sizes": [2, 1], "weights": [[[1, 1]]], "biases": [[[0]]], "cost": "load"}',
        '{"sizes": [2, 1], "weights": [[[1, 1]]], "biases": [[[0]]], "cost": "QuadraticCost",'
        ' "activations": ["softmax"]}',
        '{"sizes": [2, 1], "weights": [[[1, 1]]], "biases": [[[0]]], "cost": "QuadraticCost",'
        ' "activations": 7}',
        '{"sizes": [2, 1], "weights": [[[1, 1]]], "biases": [[[0]]], "cost": "QuadraticCost",'
        ' "activations": []}',
        '{"sizes": [2, 1], "weights": [[[1, 1]]], "biases": [[[0]]], "cost": "QuadraticCost",'
        ' "dtype": "O"}',
    ],
    ids=lambda text: text[:30] + str(len(text)),
)  # fmt: skip
def test_a_damaged_file_is_a_value_error(text, tmp_path):
    (tmp_path / "net.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ValueError, match=r"net\.json"):
        network2.load(tmp_path / "net.json")


# ------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (dict(cost=3), TypeError, "cost is 3"),
        (dict(cost=CrossEntropyCost, output="softmax"), ValueError, "CrossEntropyCost does not go"),
        (dict(cost=CrossEntropyCost, output="tanh"), ValueError, "expected sigmoid"),
        (dict(cost=LogLikelihoodCost, output="sigmoid"), ValueError, "expected softmax"),
        (dict(cost=QuadraticCost, output="softmax"), ValueError, "sigmoid or tanh or relu or"),
        (dict(activation="softmax"), ValueError, "activation is 'softmax'"),
        (dict(activation=None), TypeError, r"activation is None \(NoneType\), expected a name"),
        (dict(activation=["relu", "tanh"]), ValueError, "2 names, expected 1"),
        (dict(output="step"), ValueError, "output is 'step'"),
    ],
)  # fmt: skip
def test_costs_and_activations_that_do_not_fit(options, error, text):
    with pytest.raises(error, match=text):
        Network(SIZES, **options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (dict(lmbda=-1.0), ValueError, "lmbda is -1.0, expected at least 0"),
        (dict(lmbda="a"), TypeError, "lmbda is 'a'"),
        (dict(l1=np.nan), ValueError, "l1 is nan"),
        (dict(momentum=1.0), ValueError, "momentum is 1.0, expected at least 0 and less than 1"),
        (dict(optimizer="sdg"), ValueError, "optimizer is 'sdg'"),
        (dict(optimizer="adam", momentum=0.5), ValueError, "momentum is 0.5, expected 0 with"),
        (dict(optimizer="adam", betas=0.9), ValueError, "betas is 0.9"),
        (dict(optimizer="adam", betas=(0.9, 1)), ValueError, r"betas\[1\] is 1.0"),
        (dict(optimizer="adam", betas=(0.9, "b")), TypeError, r"betas\[1\] is 'b'"),
        (dict(optimizer="adam", epsilon=0), ValueError, "epsilon is 0.0"),
        (dict(dropout=1.0), ValueError, "dropout is 1.0"),
        (dict(dropout=[0.5]), ValueError, "dropout has 1 numbers, expected 2"),
        (dict(max_norm=-2), ValueError, "max_norm is -2.0"),
        (dict(max_norm=0), ValueError, "max_norm is 0.0"),
        (dict(nesterov=True), ValueError, "nesterov goes with a momentum"),
        (dict(nesterov="no", momentum=0.9), TypeError, r"nesterov is 'no' .*True or False"),
        (dict(schedule="fast"), ValueError, "schedule is 'fast'"),
        (dict(schedule=lambda epoch: None), TypeError, "schedule is None"),
        (dict(early_stopping_n=-1), ValueError, "early_stopping_n is -1"),
        (dict(early_stopping_n=3), ValueError, "evaluation_accuracy needs evaluation_data"),
        (dict(monitor_evaluation_cost=True), ValueError, "evaluation_cost needs evaluation_data"),
        (dict(stop_on="luck"), ValueError, "stop_on is 'luck'"),
        (dict(monitor_subset=0), ValueError, "monitor_subset is 0"),
        (dict(monitor_every=0.5), TypeError, "monitor_every is 0.5"),
    ],
)
def test_arguments_of_SGD_that_make_no_sense(options, error, text, training):
    net = seeded(SIZES)
    before = net.weights[0].copy()
    with pytest.raises(error, match=text):
        net.SGD((training[0][:20], training[1][:20]), 1, 10, 0.1, **options)
    np.testing.assert_array_equal(net.weights[0], before)


@pytest.mark.parametrize(
    ("dropout", "text"),
    [
        (5, "dropout is 5.0, expected"),
        (0.5, r"there are none; .* \[0.5\], is the rate of the inputs"),
    ],
)
def test_dropout_without_hidden_layers(dropout, text, training):
    net, data = Network([SIZES[0], SIZES[-1]]), (training[0][:20], training[1][:20])
    with pytest.raises(ValueError, match=text):
        net.SGD(data, 1, 10, 0.1, dropout=dropout)
    for rates in (0, [0.5]):
        net.SGD(data, 1, 10, 0.1, dropout=rates)


def test_extras_that_cannot_reach_an_override(training):
    class Mine(Network):
        def update_mini_batch(self, mini_batch, eta, lmbda, n):
            pass

    data = training[0][:20], training[1][:20]
    with pytest.raises(ValueError, match="do not reach an overridden update_mini_batch"):
        Mine(SIZES).SGD(data, 1, 10, 0.1, momentum=0.5)
    with pytest.raises(ValueError, match="dropout goes with"):
        Network(SIZES, OwnCost).SGD(data, 1, 10, 0.1, dropout=0.5)


def test_vectorized_result():
    np.testing.assert_array_equal(network2.vectorized_result(2, 4), [[0], [0], [1], [0]])
    assert network2.vectorized_result(9).shape == (10, 1)
    with pytest.raises(ValueError, match=r"label 10 is outside 0\.\.9"):
        network2.vectorized_result(10)


def test_it_can_be_pickled_and_copied(training):
    import copy
    import pickle

    net = seeded(SIZES, LogLikelihoodCost)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        other.SGD((training[0][:20], training[1][:20]), 1, 10, 0.1)
        assert not np.array_equal(other.weights[0], net.weights[0])


# ------------------------------------------------ a network that changes while it is trained


@pytest.mark.parametrize("module", [network, network2])
@pytest.mark.parametrize("sizes", [[400, 8, 5], [40, 8, 90]], ids=str)
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_other_sizes_in_the_middle_are_refused(module, sizes, momentum, training, capsys):
    data, seen = (training[0][:300], training[1][:300]), []

    def change(self):
        seen.append(1)
        new = module.Network(sizes)
        self.sizes, self.weights, self.biases = new.sizes, new.weights, new.biases

    class Mine(module.Network):
        def evaluate(self, test_data):
            change(self)
            return 0

    net = Mine([40, 12, 5])
    if module is network:
        call = dict(test_data=data)
    else:
        call = dict(schedule=lambda epoch: (epoch and change(net), 0.1)[1], momentum=momentum)
    with pytest.raises(ValueError, match=r"has changed since|sizes have changed|X has shape"):
        net.SGD(data, 3, 10, 0.1, **call)
    assert seen


def test_test_data_that_no_longer_fit_are_refused(training, capsys):
    net = network.Network([40, 12, 5])
    X = training[0][:300].astype(np.float32)
    net.sizes = [400, 12, 5]
    net.weights[0] = np.zeros((12, 400))
    with pytest.raises(ValueError, match="the network has changed since"):
        net._count_correct(X, training[1][:300])


@pytest.mark.parametrize("module", [network, network2])
@pytest.mark.parametrize(("first", "then"), [("f8", "f4"), ("f4", "f8")])
def test_another_dtype_counts_from_the_next_call(module, first, then, training, capsys):
    data, nets = (training[0][:300], training[1][:300]), []
    for dtype in (first, then):
        np.random.seed(1)
        random.seed(1)
        nets.append(module.Network([40, 12, 5], dtype=dtype))
        nets[-1].dtype = np.dtype(then)
        nets[-1].SGD(data, 1, 10, 0.1)
        assert nets[-1].weights[0].dtype == np.dtype(then)
    for w, v in zip(nets[0].weights, nets[1].weights):
        np.testing.assert_allclose(w, v, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("module", [network, network2])
def test_foreign_byte_orders_become_native(module, training, capsys):
    np.random.seed(1)
    net = module.Network([40, 12, 5], dtype=">f8")
    assert net.dtype.isnative
    net.SGD((training[0][:300], training[1][:300]), 1, 10, 0.1)
    assert np.abs(net.weights[0]).max() < 10


@pytest.mark.parametrize("module", [network, network2])
@pytest.mark.parametrize("sizes", [[2**40, 2**40], [10**20, 2]], ids=str)
def test_sizes_beyond_all_memory(module, sizes):
    with pytest.raises(ValueError, match="weights; expected at most"):
        module.Network(sizes)


@pytest.mark.parametrize("dtype", ["1,,", "O", 7])
def test_a_dtype_that_is_none(dtype):
    with pytest.raises(ValueError, match="dtype is "):
        Network(SIZES, dtype=dtype)


@pytest.mark.parametrize(
    ("activations", "error"),
    [
        (None, TypeError),
        ((), TypeError),
        (("tanh",), ValueError),
        (("bogus", "sigmoid"), ValueError),
        (("softmax", "sigmoid"), ValueError),
        (("tanh", "tanh"), ValueError),
    ],
    ids=str,
)
def test_activations_that_are_assigned_are_checked(activations, error, training):
    net = seeded(SIZES)
    net.activations = activations
    with pytest.raises(error, match=r"activation|does not go"):
        net.SGD((training[0][:20], training[1][:20]), 1, 10, 0.1)


@pytest.mark.parametrize("output", ["sigmoid", "tanh", "relu", "linear"])
def test_a_subclass_of_the_quadratic_cost_has_its_gradient(output, rng):
    """Whatever the output activation: only fn is another."""

    class Own(QuadraticCost):
        @staticmethod
        def fn(a, y):
            return QuadraticCost.fn(a, y)

    random.seed(3)
    np.random.seed(3)
    net = Network([3, 4, 2], Own, activation="tanh", output=output)
    pairs = [(rng.random((3, 1)), rng.random((2, 1))) for _ in range(3)]
    for x, y in pairs:
        nabla_b, _ = net.backprop(x, y)
        h = 1e-6
        for j in range(2):
            both = []
            for side in (h, -h):
                net.biases[-1][j] += side
                both.append(Own.fn(net.feedforward(x), y))
                net.biases[-1][j] -= side
            assert nabla_b[-1][j, 0] == pytest.approx((both[0] - both[1]) / (2 * h), abs=1e-7)


def test_a_subset_of_a_tuple_of_pairs(capsys):
    class Own(Network):
        def accuracy(self, data, convert=False):
            seen.append(len(data))
            return super().accuracy(data, convert)

    rng, seen = np.random.default_rng(1), []
    pairs = [(rng.random((5, 1)), np.eye(3)[:, [k % 3]]) for k in range(30)]
    labelled = tuple((x, int(y.argmax())) for x, y in pairs)
    net = Own([5, 4, 3])
    net.SGD(tuple(pairs), 1, 10, 0.5, 0.0, labelled, False, True, False, True, monitor_subset=8)
    assert seen == [8, 8]
    assert capsys.readouterr().out.count("/ 8\n") == 2


def test_outputs_that_are_nan_cost_nan():
    """Not 0, as that of 0 ln 0, or early stopping would keep the weights as the best."""
    net = Network([2, 2, 2, 1], activation="relu", dtype=np.float32)
    net.weights = [np.full((2, 2), 1e20, np.float32)] * 2 + [np.array([[1e20, -1e20]], np.float32)]
    net.biases = [np.zeros_like(b) for b in net.biases]
    training = np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1])
    evaluation = np.ones((4, 2), np.float32), training[1]
    how = dict(evaluation_data=evaluation, monitor_evaluation_cost=True, verbose=False)
    assert np.isnan(net.SGD(training, 1, 4, 0.1, **how)[0]).all()


def test_weights_whose_squares_are_infinite_cost_nothing_without_lmbda():
    net = Network([2, 1], QuadraticCost)
    net.weights[0][:] = 1e200
    data = np.ones((3, 2)), np.array([0.0, 1.0, 1.0])
    assert net.total_cost(data, 0.0) == pytest.approx(1 / 6)

"""The interface of the book's Network: attributes, methods, overriding, copies, threads."""

import copy
import io
import itertools
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
from conftest import JIT, make_pairs
from helpers import assert_equal_arrays, seed_both
from reference import Oracle, sigma

import fastbp
from fastbp import network
from fastbp.network import Network, sigmoid, sigmoid_prime
from fastbp.training.compute import engine
from fastbp.training.monitoring import progress_bar

SIZES = [6, 5, 4]


def net_and_oracle(sizes=SIZES, seed=1, cls=Network, **options):
    seed_both(seed)
    oracle = Oracle(sizes)
    seed_both(seed)
    return cls(sizes, **options), oracle


def assert_same(net, oracle, **tolerance):
    tolerance = tolerance or {"rtol": 1e-10, "atol": 1e-12}
    for ours, theirs in zip(net.weights + net.biases, oracle.weights + oracle.biases):
        np.testing.assert_allclose(ours, theirs, **tolerance)


# ------------------------------------------------ a net worked by hand


def test_a_hand_worked_step_of_a_2_2_1_net():
    """x = (1, 0), y = 1, eta = 1.

    Hidden: w = [[0, 1], [2, 0]], b = [0, -2]:  z = (0*1 + 1*0 + 0, 2*1 + 0*0 - 2) = (0, 0),
            a = (1/2, 1/2), sigmoid' = 1/4 each.
    Output: w = [[1, -1]], b = [0]:             z = 1/2 - 1/2 = 0, a = 1/2, sigmoid' = 1/4.
    BP1     delta = (1/2 - 1) * 1/4 = -1/8
    BP2     delta = (1, -1) * (-1/8) * 1/4 = (-1/32, 1/32)
    BP3     nabla_b is delta itself.
    BP4     nabla_w output = -1/8 * (1/2, 1/2) = (-1/16, -1/16)
            nabla_w hidden = [[-1/32 * 1, -1/32 * 0], [1/32 * 1, 1/32 * 0]]
    """
    net = Network([2, 2, 1])
    net.weights = [np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([[1.0, -1.0]])]
    net.biases = [np.array([[0.0], [-2.0]]), np.array([[0.0]])]
    x, y = np.array([[1.0], [0.0]]), np.array([[1.0]])
    np.testing.assert_allclose(net.feedforward(x), [[0.5]], rtol=1e-15)

    net.update_mini_batch([(x, y)], 1.0)
    np.testing.assert_allclose(net.weights[1], [[1 + 1 / 16, -1 + 1 / 16]], rtol=1e-14)
    np.testing.assert_allclose(net.biases[1], [[1 / 8]], rtol=1e-14)
    np.testing.assert_allclose(
        net.weights[0], [[1 / 32, 1], [2 - 1 / 32, 0]], rtol=1e-14, atol=1e-16
    )
    np.testing.assert_allclose(net.biases[0], [[1 / 32], [-2 - 1 / 32]], rtol=1e-14)


# ------------------------------------------------ attributes


def test_attributes_and_initial_values_to_the_bit():
    sizes = [784, 30, 10]
    net, oracle = net_and_oracle(sizes)
    next_draw = np.random.random()
    seed_both()
    Oracle(sizes)
    assert np.random.random() == next_draw  # as many random numbers were drawn
    assert net.sizes is sizes
    assert net.num_layers == 3
    assert type(net.weights) is list
    assert type(net.biases) is list
    assert [w.shape for w in net.weights] == [(30, 784), (10, 30)]
    assert [b.shape for b in net.biases] == [(30, 1), (10, 1)]
    for ours, theirs in zip(net.weights + net.biases, oracle.weights + oracle.biases):
        assert ours.dtype == np.float64
        np.testing.assert_array_equal(ours, theirs)


def test_float32_rounds_the_same_random_numbers():
    net, oracle = net_and_oracle(dtype=np.float32)
    for ours, theirs in zip(net.weights + net.biases, oracle.weights + oracle.biases):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs.astype(np.float32))
    assert net.feedforward(np.zeros((6, 1))).dtype == np.float32


# ------------------------------------------------ methods


def test_feedforward_one_column_and_many(rng):
    net, oracle = net_and_oracle()
    a = rng.random((6, 5))
    many = net.feedforward(a)
    assert many.shape == (4, 5)
    for i in range(5):
        one = net.feedforward(a[:, [i]])
        assert one.shape == (4, 1)
        np.testing.assert_allclose(one, oracle.feedforward(a[:, [i]]), rtol=1e-12)
        np.testing.assert_allclose(many[:, [i]], one, rtol=1e-12)


def test_backprop_is_the_oracles_and_changes_nothing(rng):
    net, oracle = net_and_oracle([6, 5, 3, 4])
    before = [w.copy() for w in net.weights + net.biases]
    for x, y in make_pairs(3, [6, 4], rng):
        nabla_b, nabla_w = net.backprop(x, y)
        wanted_b, wanted_w = oracle.gradient(x, y)
        for ours, theirs in zip(nabla_b + nabla_w, wanted_b + wanted_w):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-15)
    assert_equal_arrays(net.weights + net.biases, before)


def test_backprop_is_the_finite_difference_of_the_cost(rng):
    net, _ = net_and_oracle([4, 3, 2])
    (x, y), h = make_pairs(1, [4, 2], rng)[0], 1e-5
    nabla_b, nabla_w = net.backprop(x, y)

    def cost():
        return 0.5 * np.sum((net.feedforward(x) - y) ** 2)

    for array, nabla in zip(net.weights + net.biases, nabla_w + nabla_b):
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + h
            above = cost()
            array[index] = value - h
            below = cost()
            array[index] = value
            assert nabla[index] == pytest.approx((above - below) / (2 * h), rel=1e-6, abs=1e-10)


@pytest.mark.parametrize("m", [1, 2, 7])
def test_update_mini_batch_is_the_oracles_step(m, rng):
    net, oracle = net_and_oracle()
    batch = make_pairs(m, [6, 4], rng)
    assert net.update_mini_batch(batch, 3) is None
    oracle.step(batch, 3.0)
    assert_same(net, oracle)


@pytest.mark.parametrize("n", [1, 3, 4, 50])
def test_evaluate_counts_as_the_oracle_does(n, rng):
    net, oracle = net_and_oracle()
    data = make_pairs(n, [6, 4], rng, labelled=True)
    count = net.evaluate(data)
    assert type(count) is int
    assert count == oracle.count_correct(data)
    assert net.evaluate(iter(data)) == count
    X, labels = np.array([x[:, 0] for x, _ in data]), np.array([y for _, y in data])
    assert net.evaluate((X, labels)) == count
    assert net.evaluate((X, np.eye(4)[labels])) == count


def test_cost_derivative_and_the_modules_functions(rng):
    a, y = rng.random((2, 4, 1))
    np.testing.assert_array_equal(Network(SIZES).cost_derivative(a, y), a - y)
    for z in (0.0, -3, np.float32(2), rng.standard_normal((3, 4)), np.arange(4, dtype=np.uint8)):
        np.testing.assert_allclose(sigmoid(z), sigma(np.asarray(z, float)), rtol=1e-6)
        s = sigma(np.asarray(z, float))
        np.testing.assert_allclose(sigmoid_prime(z), s * (1 - s), rtol=1e-5)
        assert np.shape(sigmoid(z)) == np.shape(z)
    assert sigmoid(-1000.0) == 0  # and no warning, which would be an error here
    assert sigmoid(1000) == 1


# ------------------------------------------------ SGD


def sgd(net, data, capsys, *arguments, **options):
    seed_both(9)
    assert net.SGD(data, *arguments, **options) is None
    return capsys.readouterr().out


def test_the_books_lines(capsys, rng):
    net, oracle = net_and_oracle()
    data, test = make_pairs(20, [6, 4], rng), make_pairs(9, [6, 4], rng, labelled=True)
    theirs = list(data)
    assert sgd(net, data, capsys, 2, 5, 3.0) == "Epoch 0 complete\nEpoch 1 complete\n"
    seed_both(9)
    oracle.train(theirs, 2, 5, 3.0)

    out = sgd(net, data, capsys, 3, 5, 3.0, test_data=test)
    seed_both(9)
    for epoch, line in enumerate(out.splitlines(keepends=True)):
        oracle.train(theirs, 1, 5, 3.0)
        assert line == f"Epoch {epoch}: {oracle.count_correct(test)} / 9\n"
    assert epoch == 2
    assert sgd(net, data, capsys, 1, 5, 0.0, []) == "Epoch 0 complete\n"
    assert sgd(net, data, capsys, 0, 5, 3.0) == ""


def test_a_list_is_shuffled_in_place_and_its_order_persists(rng):
    net, oracle = net_and_oracle()
    ours = make_pairs(23, [6, 4], rng)
    theirs = list(ours)
    seed_both(3)
    for _ in range(2):
        net.SGD(ours, 3, 5, 3.0)
    state = random.getstate()
    seed_both(3)
    for _ in range(2):
        oracle.train(theirs, 3, 5, 3.0)
    assert random.getstate() == state
    assert [id(pair) for pair in ours] == [id(pair) for pair in theirs]
    assert_same(net, oracle)


def test_iterables_and_arrays_are_left_alone_and_give_the_same_bits(rng):
    data = make_pairs(23, [6, 4], rng)
    X, Y = np.array([x[:, 0] for x, _ in data]), np.array([y[:, 0] for _, y in data])
    X_before = X.copy()
    forms = {
        "list": lambda: list(data),
        "tuple": lambda: tuple(data),
        "zip": lambda: zip([x for x, _ in data], [y for _, y in data]),
        "generator": lambda: (pair for pair in data),
        "arrays": lambda: (X, Y),
        "arrays with labels": lambda: (X, Y.argmax(axis=1)),
        "Fortran order": lambda: (np.asfortranarray(X), np.asfortranarray(Y)),
        "strided": lambda: (np.repeat(X, 2, axis=0)[::2], Y),
        "byte-swapped": lambda: (X.astype(">f8"), Y.astype(">f8")),
    }
    results = {}
    for name, form in forms.items():
        net, _ = net_and_oracle()
        seed_both(5)
        net.SGD(form(), 3, 5, 3.0)
        results[name] = net.weights + net.biases
    for name, arrays in results.items():
        for a, b in zip(arrays, results["list"]):
            np.testing.assert_array_equal(a, b, err_msg=name)
    np.testing.assert_array_equal(X, X_before)


@pytest.mark.parametrize("stored", [np.float32, np.float16, np.uint8, np.int32, bool])
def test_other_stored_types_train_like_their_float64_values(stored, rng):
    X = (rng.random((23, 6)) * 3).astype(stored)
    labels = rng.integers(0, 4, 23)
    values = X.astype(np.float64)
    results = []
    for form in (X, values):
        net, _ = net_and_oracle()
        seed_both(5)
        net.SGD((form, labels), 2, 5, 0.5)
        results.append(net.weights[0])
    np.testing.assert_array_equal(*results)


def test_pixels_are_their_values_everywhere(rng):
    X, labels = rng.integers(0, 256, (20, 6), np.uint8), rng.integers(0, 4, 20)
    results = []
    for form in (fastbp.Pixels(X), X / 256):
        net, _ = net_and_oracle()
        columns_of = [form[i].reshape(6, 1) for i in range(20)]
        pairs = list(zip(columns_of, labels.tolist()))
        columns = [(x, np.eye(4)[:, [y]]) for x, y in pairs]
        net.update_mini_batch((form, labels), 1.0)
        net.update_mini_batch(columns, 1.0)
        counts = [net.evaluate(pairs), net.evaluate(pairs[:1]), net.evaluate((form, labels))]
        general = CrossEntropy(SIZES)
        general.weights, general.biases = net.weights, net.biases
        general.update_mini_batch((form, labels), 1.0)
        results.append([
            counts, net.weights[0], net.backprop(*columns[0])[1][0],
            net.gradient_norms((form, labels)), general.weights[0],
        ])  # fmt: skip
    assert_equal_arrays(*results)


def test_mini_batch_larger_than_the_data_and_an_integer_eta(rng):
    net, oracle = net_and_oracle()
    data = make_pairs(7, [6, 4], rng)
    theirs = list(data)
    seed_both(2)
    net.SGD(data, 2, 100, 3)
    seed_both(2)
    oracle.train(theirs, 2, 100, 3.0)
    assert_same(net, oracle)


# ------------------------------------------------ weights and biases belong to the user


def test_every_update_binds_new_lists_of_new_arrays(rng):
    net, _ = net_and_oracle()
    data = make_pairs(10, [6, 4], rng)
    for train in (lambda: net.SGD(data, 1, 5, 3.0), lambda: net.update_mini_batch(data, 3.0)):
        weights, biases = net.weights, net.biases
        kept = [(a, a.copy()) for a in weights + biases]
        train()
        assert net.weights is not weights
        assert net.biases is not biases
        for (old, value), new in zip(kept, net.weights + net.biases):
            np.testing.assert_array_equal(old, value)
            assert not np.array_equal(old, new)
            assert not np.shares_memory(old, new)


def replace_list(net, oracle):
    for one in (net, oracle):
        one.weights = [w * 0.5 for w in one.weights]


def replace_item(net, oracle):
    for one in (net, oracle):
        one.weights[1] = np.full_like(one.weights[1], 0.25)


def write_element(net, oracle):
    for one in (net, oracle):
        one.biases[1][3] = 0.125
        one.weights[0][2, 1] = -1.5


def write_in_place(net, oracle):
    for one in (net, oracle):
        one.weights[0] *= 0.5
        one.biases[0] += 1


def write_into_own_array(net, oracle):
    """An array that the user assigned stays the user's: later changes of it count, too."""
    for one in (net, oracle):
        mine = np.array(one.weights[0])
        one.weights[0] = mine
        one.feedforward(np.zeros((6, 1)))
        mine[0] = 2.0


def exchange_layers(net, oracle):
    for one in (net, oracle):
        one.biases[0][:], one.weights = 0.5, list(one.weights)


CHANGES = [
    replace_list,
    replace_item,
    write_element,
    write_in_place,
    write_into_own_array,
    exchange_layers,
]


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_what_the_user_writes_takes_effect_in_the_next_call(change, trained, rng):
    data, test = make_pairs(10, [6, 4], rng), make_pairs(20, [6, 4], rng, labelled=True)
    x, y = data[0]
    for call in ("feedforward", "backprop", "evaluate", "update_mini_batch", "SGD"):
        net, oracle = net_and_oracle()
        if trained:
            net.update_mini_batch(data, 1.0)
            oracle.step(data, 1.0)
        change(net, oracle)
        if call == "feedforward":
            np.testing.assert_allclose(net.feedforward(x), oracle.feedforward(x), rtol=1e-10)
        elif call == "backprop":
            for ours, theirs in zip(net.backprop(x, y)[1], oracle.gradient(x, y)[1]):
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-14)
        elif call == "evaluate":
            assert net.evaluate(test) == oracle.count_correct(test)
        elif call == "update_mini_batch":
            net.update_mini_batch(data, 1.0)
            oracle.step(data, 1.0)
        else:
            ours, theirs = list(data), list(data)
            seed_both(4)
            net.SGD(ours, 2, 3, 1.0)
            seed_both(4)
            oracle.train(theirs, 2, 3, 1.0)
        assert_same(net, oracle)


@pytest.mark.parametrize("trained", [False, True])
def test_pickle_and_copies_are_independent(trained, rng):
    net, _ = net_and_oracle(dtype=np.float32, threads=1)
    data = make_pairs(10, [6, 4], rng)
    if trained:
        net.update_mini_batch(data, 1.0)
    copies = [
        pickle.loads(pickle.dumps(net)),
        copy.deepcopy(net),
        copy.copy(net),
    ]
    values = [w.copy() for w in net.weights + net.biases]
    for other in copies:
        assert other.dtype == np.float32
        assert (other.threads, other.sizes, other.num_layers) == (1, SIZES, 3)
        assert_equal_arrays(other.weights + other.biases, values)
        other.update_mini_batch(data, 1.0)
        assert_equal_arrays(net.weights + net.biases, values)
    deep = copy.deepcopy(net)
    deep.weights[0][:] = 0
    np.testing.assert_array_equal(net.weights[0], values[0])


# ------------------------------------------------ overriding: the reference path


class CrossEntropy(Network):
    """What the book's readers do after chapter 3: a - y, times 1/sigmoid' to undo BP1's factor."""

    def cost_derivative(self, output_activations, y):
        return (output_activations - y) / (output_activations * (1 - output_activations))


class CrossEntropyOracle(Oracle):
    def output_error(self, a, y):
        return a - y


def train_both(net, oracle, rng, test=False):
    data = make_pairs(23, [6, 4], rng)
    theirs = list(data)
    seed_both(8)
    net.SGD(data, 3, 5, 1.0)
    seed_both(8)
    oracle.train(theirs, 3, 5, 1.0)
    assert_same(net, oracle, rtol=1e-8, atol=1e-10)


def test_a_cross_entropy_subclass_learns_as_its_oracle(rng):
    seed_both()
    oracle = CrossEntropyOracle(SIZES)
    seed_both()
    net = CrossEntropy(SIZES)
    train_both(net, oracle, rng)
    x, y = make_pairs(1, [6, 4], rng)[0]
    for ours, theirs in zip(net.backprop(x, y)[0], oracle.gradient(x, y)[0]):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    net.update_mini_batch([(x, y)], 1.0)
    oracle.step([(x, y)], 1.0)
    assert_same(net, oracle, rtol=1e-8, atol=1e-10)


def patched_sigmoid(z):
    return np.tanh(z)


def patched_sigmoid_prime(z):
    return 1 - np.tanh(z) ** 2


def test_a_patched_sigmoid_of_the_module_is_used(monkeypatch, rng):
    net, _ = net_and_oracle()
    x, y = make_pairs(1, [6, 4], rng)[0]
    plain = net.feedforward(x), net.backprop(x, y)[1][0], net.evaluate([(x, 1)] * 5)
    monkeypatch.setattr(network, "sigmoid", patched_sigmoid)
    monkeypatch.setattr(network, "sigmoid_prime", patched_sigmoid_prime)
    a = x
    for w, b in zip(net.weights, net.biases):
        a = np.tanh(w @ a + b)
    np.testing.assert_allclose(net.feedforward(x), a, rtol=1e-12)
    assert net.evaluate([(x, int(a.argmax()))] * 5) == 5
    hidden = np.tanh(net.weights[0] @ x + net.biases[0])
    delta = (a - y) * (1 - a**2)
    np.testing.assert_allclose(net.backprop(x, y)[1][1], delta @ hidden.T, rtol=1e-10)
    w = net.weights[1]
    random.seed(1)
    net.SGD([(x, y)], 1, 1, 0.5)
    np.testing.assert_allclose(net.weights[1], w - 0.5 * delta @ hidden.T, rtol=1e-10)
    assert not np.allclose(plain[0], a)


def test_patching_sigmoid_prime_alone_is_used(monkeypatch, rng):
    net, _ = net_and_oracle()
    x, y = make_pairs(1, [6, 4], rng)[0]
    monkeypatch.setattr(network, "sigmoid_prime", np.zeros_like)
    before = net.weights[0]
    net.update_mini_batch([(x, y)], 1.0)
    np.testing.assert_array_equal(net.weights[0], before)


@pytest.mark.parametrize("how", ["class", "instance", "subclass"])
@pytest.mark.parametrize("name", ["update_mini_batch", "backprop", "cost_derivative"])
def test_changes_of_the_training_chain_are_used(name, how, monkeypatch, rng):
    calls = []
    original = getattr(Network, name)

    def counted(self, *arguments):
        calls.append(arguments)
        return original(self, *arguments)

    cls = type("Mine", (Network,), {name: counted}) if how == "subclass" else Network
    net, oracle = net_and_oracle(cls=cls)
    if how == "class":
        monkeypatch.setattr(Network, name, counted)
    elif how == "instance":
        monkeypatch.setattr(net, name, counted.__get__(net), raising=False)
    train_both(net, oracle, rng)
    per_epoch = 5 if name == "update_mini_batch" else 23
    assert len(calls) == 3 * per_epoch


@pytest.mark.parametrize("name", ["evaluate", "feedforward"])
def test_changes_of_the_evaluation_chain_are_used(name, capsys, rng):
    calls = []

    def counted(self, data):
        calls.append(data)
        return getattr(Network, name)(self, data)

    net, oracle = net_and_oracle(cls=type("Mine", (Network,), {name: counted}))
    data, test = make_pairs(23, [6, 4], rng), make_pairs(9, [6, 4], rng, labelled=True)
    theirs = list(data)
    seed_both(8)
    net.SGD(data, 2, 5, 1.0, test_data=iter(test))
    seed_both(8)
    oracle.train(theirs, 2, 5, 1.0)
    assert_same(net, oracle)
    assert len(calls) == (2 if name == "evaluate" else 18)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"Epoch 1: {oracle.count_correct(test)} / 9"


def test_an_evaluate_that_changes_the_weights_is_used(rng):
    class Decaying(Network):
        def evaluate(self, test_data):
            self.weights = [w * 0.5 for w in self.weights]
            self.biases[0][0] = 7.0
            return 0

    net, oracle = net_and_oracle(cls=Decaying)
    data, test = make_pairs(10, [6, 4], rng), make_pairs(2, [6, 4], rng, labelled=True)
    theirs = list(data)
    seed_both(8)
    net.SGD(data, 2, 5, 1.0, test)
    seed_both(8)
    for _ in range(2):
        oracle.train(theirs, 1, 5, 1.0)
        oracle.weights = [w * 0.5 for w in oracle.weights]
        oracle.biases[0][0] = 7.0
    assert_same(net, oracle)


@pytest.mark.parametrize("name", ["evaluate", "update_mini_batch"])
def test_overrides_may_change_the_training_list(name, rng, monkeypatch):
    """Augmentation: an epoch trains on what is in the list when it begins."""
    more = iter(make_pairs(100, [6, 4], rng))

    class Augmenting(Network):
        def evaluate(self, test_data):
            if name == "evaluate":
                self.data.append(next(more))
                self.data[0] = (self.data[0][0] * 0.5, self.data[0][1])
            return 0

        if name == "update_mini_batch":

            def update_mini_batch(self, mini_batch, eta):
                super().update_mini_batch(mini_batch, eta)
                self.data.append(next(more))

    net, _ = net_and_oracle(cls=Augmenting)
    seen = []
    net.data = make_pairs(7, [6, 4], rng)

    class Spy(engine.Descent):
        def __init__(self, params, plan, samples, *arguments, **how):
            seen.append(len(samples))
            super().__init__(params, plan, samples, *arguments, **how)

    monkeypatch.setattr(engine, "Descent", Spy)
    net.SGD(net.data, 3, 5, 1.0, make_pairs(2, [6, 4], rng, labelled=True))
    if name == "evaluate":
        assert seen == [7, 8, 9]
        assert len(net.data) == 10
    else:  # 2, 2 and 3 mini-batches
        assert sum(seen) == 7 + 9 + 11
        assert len(net.data) == 14


def test_a_list_that_gets_a_nan_meanwhile_is_named(rng):
    class Spoiling(Network):
        def evaluate(self, test_data):
            x = data[3][0].copy()
            x[2] = np.nan
            data[3] = x, data[3][1]
            return 0

    net, data = Spoiling([6, 4]), make_pairs(7, [6, 4], rng)
    with pytest.raises(ValueError, match=r"training_data\[\d\]: x is nan at \[2\]"):
        net.SGD(data, 3, 5, 1.0, make_pairs(2, [6, 4], rng, labelled=True))


def test_slots_survive_copies_and_pickles():
    net = Slotted([3, 2])
    net.extra = 5
    for other in (copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.extra == 5
        np.testing.assert_array_equal(other.weights[0], net.weights[0])


class Slotted(Network):
    __slots__ = ("extra",)


def test_an_overridden_backprop_may_take_other_data(rng):
    """Labels as y are an error for the compiled path; an own backprop may take them."""

    class Labels(Network):
        def backprop(self, x, y):
            return super().backprop(x.reshape(-1, 1), np.eye(4)[:, [y]])

    net, oracle = net_and_oracle(cls=Labels)
    pairs = make_pairs(23, [6, 4], rng, labelled=True)
    theirs = [(x, np.eye(4)[:, [y]]) for x, y in pairs]
    ours = [(x[:, 0], y) for x, y in pairs]
    seed_both(8)
    net.SGD(ours, 2, 5, 1.0)
    seed_both(8)
    oracle.train(theirs, 2, 5, 1.0)
    assert_same(net, oracle)


def test_the_reference_path_takes_arrays_too(rng):
    data = make_pairs(23, [6, 4], rng)
    X, labels = np.array([x[:, 0] for x, _ in data]), np.array([y.argmax() for _, y in data])
    results = []
    for form in (data, (X, labels)):
        seed_both()
        net = CrossEntropy(SIZES)
        seed_both(8)
        net.SGD(form, 2, 5, 1.0, (X, labels))
        results.append(net.weights[0])
    np.testing.assert_array_equal(*results)


def test_a_subclass_with_a_constructor_of_its_own_works(rng):
    class Zeros(Network):
        def __init__(self, sizes):
            self.sizes, self.num_layers = sizes, len(sizes)
            self.weights = [np.zeros((b, a)) for a, b in itertools.pairwise(sizes)]
            self.biases = [np.zeros((b, 1)) for b in sizes[1:]]

    net, oracle = Zeros(SIZES), Oracle(SIZES)
    oracle.weights, oracle.biases = list(net.weights), list(net.biases)
    train_both(net, oracle, rng)


# ------------------------------------------------ progress, interruption, determinism


def test_a_progress_bar_on_a_terminal_only(monkeypatch, capsys, rng):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    data = make_pairs(23, [6, 4], rng)
    net, _ = net_and_oracle()
    for progress, wanted in ((None, True), (False, False), (True, True)):
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setattr(progress_bar, "BAR_DELAY", 0)
        net.SGD(data, 2, 5, 1.0, progress=progress)
        assert ("images" in terminal.getvalue()) == wanted
        assert capsys.readouterr().out == "Epoch 0 complete\nEpoch 1 complete\n"
    silent = io.StringIO()
    monkeypatch.setattr("sys.stderr", silent)
    net.SGD(data, 2, 5, 1.0)
    assert silent.getvalue() == ""


def test_an_interrupted_epoch_leaves_a_mini_batch_boundary(monkeypatch, rng):
    """Ctrl-C between two kernel calls: the weights are the oracle's after so many steps."""
    for name in ("calls.KERNEL_SECONDS", "threads.PROBE_SECONDS"):
        monkeypatch.setattr(f"fastbp.training.compute.{name}", 1e-9)  # one mini-batch per call
    net, oracle = net_and_oracle()
    data, done = make_pairs(23, [6, 4], rng), []

    class Bar(progress_bar._Silent):
        def update(self, count):
            done.append(count)
            if len(done) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr("fastbp.training.run.progress_bar", lambda progress, total: Bar())
    with pytest.raises(KeyboardInterrupt):
        net.SGD(data, 1, 5, 1.0)
    assert done == [5, 5, 5]
    for k in range(0, 15, 5):
        oracle.step(data[k : k + 5], 1.0)
    assert_same(net, oracle)


@pytest.mark.parametrize("m", [10, 64])
def test_same_seed_same_bits_whatever_the_threads(m, monkeypatch, rng):
    monkeypatch.setattr("fastbp.training.compute.threads.mode", "always")
    monkeypatch.setattr("fastbp.training.compute.calls.PARALLEL_FLOPS", 0)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(4), raising=False)
    monkeypatch.setattr("fastbp.training.compute.threads._quota", lambda: 4)
    data, test = make_pairs(150, [20, 10], rng), make_pairs(99, [20, 10], rng, labelled=True)
    results = []
    for threads in (1, 2, 3, 4, None):
        net, _ = net_and_oracle([20, 17, 10], threads=threads)
        random.seed(1)
        net.SGD(list(data), 2, m, 3.0, test)
        results.append((*net.weights, *net.biases, net.evaluate(test)))
    for other in results[1:]:
        assert_equal_arrays(results[0], other)


WARM = """
import numpy as np
from fastbp import network
from fastbp.kernels import drivers
from fastbp.training.compute import engine
from fastbp.training.compute.plans import plan_of

engine.warm_up(plan_of((784, 30, 10)), np.dtype(np.float64))
kernels = [k for k in vars(drivers).values() if hasattr(k, "signatures")]
before = [list(kernel.signatures) for kernel in kernels]
assert any(before)
net, rng = network.Network([784, 30, 10]), np.random.default_rng(1)
X = (rng.random((500, 784)) * (rng.random((500, 784)) < 0.2)).astype(np.float32)
labels = rng.integers(0, 10, 500)
net.SGD((X, labels), 1, 10, 3.0, test_data=(X, labels))
assert [list(kernel.signatures) for kernel in kernels] == before
"""


@pytest.mark.skipif(not JIT, reason="counts what was compiled")
def test_warming_up_compiles_all_that_training_and_evaluating_will_call():
    """In a process of its own: other tests compile, too."""
    subprocess.run([sys.executable, "-c", WARM], check=True)


def test_public_names():
    assert fastbp.Network is Network
    assert set(fastbp.__all__) == {
        "History",
        "Network",
        "Pixels",
        "gradient_check",
        "load_data_wrapper",
        "__version__",
    }

"""Chapter 2: finite differences against backprop, for every legal pair of activation and cost."""

import copy

import numpy as np
import pytest
from helpers import assert_equal_arrays
from reference2 import costs
from test_kernels import compiled
from test_network2 import SIZES, OwnCost, pairs_of, seeded

import fastbp
from fastbp import network, network2
from fastbp.kernels import costs as kernel_costs
from fastbp.kernels.layout import Matrix
from fastbp.kernels.simd import at
from fastbp.network2 import COSTS
from fastbp.training import gradcheck
from fastbp.training.compute import engine, plans
from fastbp.training.compute.plans import OUTPUT_SLOPES

SMALL = [9, 7, 6, 4]


@pytest.fixture
def data(rng):
    X = rng.random((5, 9))
    return X, rng.integers(0, 4, 5)


@pytest.mark.parametrize(("cost", "output"), list(OUTPUT_SLOPES))
@pytest.mark.parametrize("hidden", ["sigmoid", "tanh", "relu", "linear"])
def test_every_legal_pair_passes(cost, output, hidden, data):
    net = seeded(SMALL, COSTS[cost], activation=hidden, output=output)
    errors = fastbp.gradient_check(net, data, most=None)
    assert len(errors) == 3
    assert max(errors) <= 1e-6


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_chapter_1_passes_and_nothing_changes(dtype, data):
    np.random.seed(1)
    net = network.Network(SMALL, dtype=dtype)
    before = copy.deepcopy(net.weights)
    assert max(fastbp.gradient_check(net, data)) <= (1e-6 if dtype == np.float64 else 1e-4)
    assert_equal_arrays(net.weights, before)


def test_a_wrong_gradient_is_found(data):
    class Wrong(network2.Network):
        def backprop(self, x, y):
            nabla_b, nabla_w = super().backprop(x, y)
            nabla_w[1] = nabla_w[1] * 1.01
            return nabla_b, nabla_w

    np.random.seed(1)
    errors = fastbp.gradient_check(Wrong(SMALL), data, most=None)
    assert errors[0] < 1e-6
    assert 0.005 < errors[1] <= 0.0101  # the layer's largest gradient may be a bias'
    assert errors[2] < 1e-6


def test_a_cost_of_the_users_own_is_checked(data):
    assert max(fastbp.gradient_check(seeded(SMALL, OwnCost), data, most=50)) < 1e-6


def test_some_weights_are_checked_or_all(data, monkeypatch):
    net, seen = seeded(SMALL), []
    real = engine.quotients
    monkeypatch.setattr(engine, "quotients", lambda *a: (seen.append(len(a[4])), real(*a))[1])
    fastbp.gradient_check(net, data, most=20)
    assert sum(seen) <= 20
    seen.clear()
    fastbp.gradient_check(net, data, most=None)
    assert sum(seen) == net._plan.n_params


@pytest.mark.parametrize("threads", [1, 3])
def test_quotients_do_not_depend_on_threads(threads, data):
    net = seeded(SMALL)
    net.threads = threads
    X, Y = data[0], np.eye(4)[data[1]]
    seen = gradcheck.quotients(net, np.arange(net._plan.n_params), X, Y)
    whole = engine.quotients(
        net._parameters(), net._plan, X, Y, np.arange(net._plan.n_params), 1e-5
    )
    np.testing.assert_array_equal(seen, whole)


def test_pairs_and_bad_arguments(rng):
    X = rng.random((4, 40)), rng.integers(0, 5, 4)
    net = seeded(SIZES)
    assert max(fastbp.gradient_check(net, pairs_of(X))) < 1e-6
    for options, text in ((dict(h=0), "h is 0.0"), (dict(most=0), "most is 0")):
        with pytest.raises(ValueError, match=text):
            fastbp.gradient_check(net, X, **options)
    with pytest.raises(ValueError, match="X has shape"):
        fastbp.gradient_check(net, (X[0][:, 1:], X[1]))


@compiled
def call_total_cost(A, Y, batch, cost):
    a = Matrix(at(A, 0), A.shape[0], A.shape[1])
    return kernel_costs.total_cost(a, at(Y, 0), at(batch, 0), A.shape[1], cost)


@pytest.mark.parametrize("cost", list(COSTS))
def test_total_cost_against_the_formula(cost, rng):
    A, Y = rng.random((5, 3)), np.eye(3)[[0, 1, 2, 0, 1, 2]]
    order = np.array([3, 1, 0, 5, 5])
    wanted, code = costs(cost, A, Y[order]).sum(), plans.COST_CODES[cost]
    assert call_total_cost(A, Y, order, code) == pytest.approx(wanted, rel=1e-12)
    assert call_total_cost(Y[order].copy(), Y, order, code) == 0


def test_each_layer_is_checked_however_few_weights_are(data):
    class Wrong(network2.Network):
        def backprop(self, x, y):
            nabla_b, nabla_w = super().backprop(x, y)
            nabla_w[-1] = nabla_w[-1] * 2
            return nabla_b, nabla_w

    np.random.seed(1)
    assert fastbp.gradient_check(Wrong(SMALL), data, most=1)[-1] > 1e-3

"""NaN and infinity in data and weights are errors; where training produces them, it ends."""

import copy
import random

import numpy as np
import pytest
from conftest import make_pairs
from helpers import assert_equal_arrays, columns, seed_both

from fastbp import gradient_check, network, network2
from fastbp.data.parameters import layer_views
from fastbp.training.compute import engine
from fastbp.training.compute.divergence import FiniteGuard
from fastbp.training.compute.plans import plan_of

SIZES = [20, 8, 4]
MODULES = {"network": network, "network2": network2}


def data(rng, n, dtype=np.float64, sparse=True):
    X = rng.random((n, 20)) * (rng.random((n, 20)) < (0.2 if sparse else 2))
    return X.astype(dtype), np.eye(4, dtype=dtype)[rng.integers(4, size=n)]


def state_of(net):
    arrays = [array.copy() for array in net.weights + net.biases]
    return [id(net.weights), id(net.biases)], arrays, random.getstate(), np.random.get_state()[1]


def assert_same_state(now, then):
    assert now[0] == then[0]
    assert_equal_arrays(now[1], then[1])
    assert now[2] == then[2]
    np.testing.assert_array_equal(now[3], then[3])


# ------------------------------------------------ data


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", [30, 700])  # fewer samples than are looked at for sparsity, and more
@pytest.mark.parametrize("form", ["sparse", "dense", "list"])
@pytest.mark.parametrize("module", MODULES)
def test_numbers_that_are_not_finite_in_the_training_data(bad, n, form, module, rng):
    X, Y = data(rng, n, sparse=form != "dense")
    X[n - 7, 5] = bad
    net = MODULES[module].Network(SIZES)
    given = columns(X, Y) if form == "list" else (X, Y)
    before, order = state_of(net), list(given)
    with pytest.raises(ValueError, match=rf"training_data\[{n - 7}\]: x is {bad} at \[5\], expec"):
        net.SGD(given, 2, 10, 0.5)
    assert_same_state(state_of(net), before)
    assert all(a is b for a, b in zip(given, order))
    step = (0.5, 0.0, n) if module == "network2" else (0.5,)
    with pytest.raises(ValueError, match=rf"mini_batch\[{n - 7}\]: x is {bad}"):
        net.update_mini_batch(given, *step)
    assert_same_state(state_of(net), before)


@pytest.mark.parametrize("n", [30, 700])
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("on_divergence", ["stop", "continue"])
def test_nan_in_the_targets(n, module, on_divergence, rng):
    X, Y = data(rng, n)
    Y[11, 2] = np.nan
    net = MODULES[module].Network(SIZES)
    before = state_of(net)
    rules = dict(dropout=0.5, on_divergence=on_divergence)
    if module == "network":
        del rules["dropout"]
    with pytest.raises(ValueError, match=r"training_data\[11\]: y is nan at \[2\]"):
        net.SGD((X, Y), 1, 10, 0.5, **rules)
    assert_same_state(state_of(net), before)


@pytest.mark.parametrize("output", ["sigmoid", "tanh", "relu", "linear"])
def test_no_activation_hides_nan(output, rng):
    for what in range(2):
        both = data(rng, 400)
        both[what][123, 3] = np.nan
        net = network2.Network(SIZES, network2.QuadraticCost, activation="relu", output=output)
        with pytest.raises(ValueError, match=rf"training_data\[123\]: {'xy'[what]} is nan at \[3"):
            net.SGD(both, 1, 10, 1e-3)


@pytest.mark.parametrize("n", [30, 700])
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_in_the_test_data(n, module, bad, rng, capsys):
    training, X = data(rng, 300), data(rng, n)[0]
    X[3, 7] = bad
    net = MODULES[module].Network(SIZES)
    before = state_of(net)
    labels = np.zeros(n, int)
    if module == "network":
        with pytest.raises(ValueError, match=rf"test_data\[3\]: x is {bad} at \[7\]"):
            net.SGD(training, 1, 10, 0.5, test_data=(X, labels))
        ask = lambda: net.evaluate((X, labels))  # noqa: E731
    else:
        with pytest.raises(ValueError, match=rf"evaluation_data\[3\]: x is {bad} at \[7\]"):
            net.SGD(training, 1, 10, 0.5, evaluation_data=(X, labels), monitor_evaluation_cost=True)
        ask = lambda: net.accuracy((X, labels))  # noqa: E731
    assert capsys.readouterr().out == ""
    assert_same_state(state_of(net), before)
    with pytest.raises(ValueError, match=rf"data\[3\]: x is {bad} at \[7\]"):
        ask()


@pytest.mark.parametrize("cost", network2.COSTS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_in_evaluation_targets(bad, cost, rng):
    training, (X, Y) = data(rng, 30), data(rng, 30)
    Y[3] = [0, bad, 0, 1]
    net = network2.Network(SIZES, network2.COSTS[cost])
    before, where = state_of(net), rf"data\[3\]: y is {bad} at \[1\], expected finite"
    for given in (X, Y), columns(X, Y):
        with pytest.raises(ValueError, match=f"evaluation_{where}"):
            net.SGD(training, 1, 10, 0.5, evaluation_data=given, monitor_evaluation_cost=True)
        with pytest.raises(ValueError, match=where):
            net.total_cost(given, 0.0)
    assert_same_state(state_of(net), before)


@pytest.mark.parametrize("n", [30, 700])
@pytest.mark.filterwarnings("ignore:.* inputs reach:RuntimeWarning")
def test_what_float32_cannot_hold(n, rng):
    X, Y = data(rng, n)
    X[4, 1] = 1e300
    net = network.Network(SIZES, dtype=np.float32)
    with pytest.raises(ValueError, match=r"training_data\[4\]: x is 1e\+300 at \[1\], .* float32"):
        net.SGD((X, Y), 1, 10, 0.5)


def test_overrides_get_no_nan(rng):
    class Own(network.Network):
        def cost_derivative(self, output_activations, y):
            return output_activations - y

    X, Y = data(rng, 30)
    X[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"training_data\[4\]: x is nan"):
        Own(SIZES).SGD((X, Y), 1, 10, 0.5)


@pytest.mark.parametrize("module", MODULES)
def test_single_samples(module, rng):
    net = MODULES[module].Network(SIZES)
    (x, y), *_ = make_pairs(1, SIZES, rng)
    for bad in (np.nan, np.inf):
        wrong = x.copy()
        wrong[6] = bad
        with pytest.raises(ValueError, match=rf"a is {bad} at \[6, 0\], expected finite numbers"):
            net.feedforward(wrong)
        with pytest.raises(ValueError, match=rf"x is {bad} at \[6, 0\]"):
            net.backprop(wrong, y)
        with pytest.raises(ValueError, match=rf"the batch\[0\]: x is {bad} at \[6\]"):
            net.backprop_batch(wrong.T, y.T)
        with pytest.raises(ValueError, match=rf"data\[0\]: x is {bad} at \[6\]"):
            gradient_check(net, [(wrong, y)])
        y_wrong = np.where(np.arange(4)[:, None] == 2, bad, y)
        with pytest.raises(ValueError, match=rf"the sample\[0\]: y is {bad} at \[2\]"):
            net.backprop(x, y_wrong)


# ------------------------------------------------ weights


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("module", MODULES)
def test_weights(bad, published, module, rng, tmp_path):
    net = MODULES[module].Network(SIZES)
    X, Y = data(rng, 300)
    pairs = columns(X, Y)
    if not published:
        net.weights = [w.copy() for w in net.weights]
    net.weights[1][2, 3] = bad
    labelled = [(x, int(y.argmax())) for x, y in pairs]
    calls = [
        lambda: net.SGD(pairs, 1, 10, 0.5),
        lambda: net.backprop(*pairs[0]),
        lambda: net.backprop_batch(X, Y),
        lambda: net.gradient_norms(pairs),
        lambda: gradient_check(net, pairs[:2]),
        lambda: net.save(tmp_path / "model"),
    ]
    if np.isnan(bad):  # an infinite weight saturates a neuron, for all that we know on purpose
        calls.append(lambda: net.feedforward(pairs[0][0]))
    if module == "network":
        calls.append(lambda: net.update_mini_batch(pairs[:10], 0.5))
        calls.append(lambda: net.evaluate(labelled))
    else:
        calls.append(lambda: net.update_mini_batch(pairs[:10], 0.5, 0.0, 300))
        calls.append(lambda: net.accuracy(labelled))
        calls.append(lambda: net.total_cost(pairs, 0.0))
    before = state_of(net)
    for call in calls:
        with pytest.raises(ValueError, match=rf"weights\[1\] is {bad} at \[2, 3\], expected finit"):
            call()
    assert_same_state(state_of(net), before)
    assert not (tmp_path / "model").exists()


# ------------------------------------------------ divergence


def exploding(cls=network2.Network, **options):
    """Return a network whose outputs have no bound: too large an eta, and they grow for ever."""
    seed_both(3)
    return cls(SIZES, network2.QuadraticCost, activation="linear", output="linear", **options)


RULES = {
    "plain": {},
    "regularised": dict(lmbda=0.1, l1=0.1),
    "momentum": dict(momentum=0.9, nesterov=True),
    "dropout": dict(dropout=0.2),
}


@pytest.mark.parametrize("own_cost", [False, True])
def test_weights_whose_squares_are_beyond_all_numbers_are_not_shortened_to_zero(own_cost, rng):
    class Own(network2.QuadraticCost):
        pass

    cost = Own if own_cost else network2.QuadraticCost
    net = network2.Network(SIZES, cost, dtype=np.float32)
    X, labels = rng.random((50, 20)), rng.integers(4, size=50)
    with pytest.raises(FloatingPointError, match="became infinite or NaN"):
        net.SGD((X, labels), 1, 50, 1e22, max_norm=1.0, verbose=False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [200, 3000])
@pytest.mark.parametrize("rules", RULES)
def test_a_run_stops_at_the_mini_batch(dtype, n, rules, rng, capsys):
    X, Y = data(rng, n, dtype)
    eta = 0.55 if dtype == np.float32 else 0.9
    net = exploding(dtype=dtype)
    with pytest.raises(FloatingPointError, match=r"became infinite or NaN in epoch") as raised:
        net.SGD((X, Y), 200, 10, eta, **RULES[rules])
    words = str(raised.value).replace(",", "").replace(":", "").split()
    epoch = int(words[words.index("epoch") + 1])
    batch = int(words[words.index("mini-batch") + 1])
    assert capsys.readouterr().out.count("complete") == epoch
    assert all(np.isfinite(array).all() for array in net.weights + net.biases)

    # The same run, let go on: at that mini-batch it holds these weights, and after it none.
    other = exploding(dtype=dtype)
    seen = []

    class OneAtATime(engine.Descent):
        def __iter__(self):
            order = self.order
            for k in range(0, len(order), self.m):
                params = self.flat[0].copy()
                self.layout.unpack(self.packed[0], layer_views(params, self.plan))
                is_last = (seen_epochs[0], k) == (epoch, batch * self.m)
                if is_last:
                    seen.append(params)
                self.call_driver(order, k, min(k + self.m, len(order)))
                if is_last:
                    after = params.copy()
                    self.layout.unpack(self.packed[0], layer_views(after, self.plan))
                    seen.append(after)
                    raise KeyboardInterrupt
                self.done = min(k + self.m, len(order))
                yield self.done - k
            seen_epochs[0] += 1

    seen_epochs = [0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "Descent", OneAtATime)
        with pytest.raises(KeyboardInterrupt):
            other.SGD((X, Y), 200, 10, eta, on_divergence="continue", **RULES[rules])
    before, after = seen[-2:]
    np.testing.assert_array_equal(net._parameters(), before)
    assert not np.isfinite(after).all()


def test_on_divergence_continue_trains_on_as_the_book_does(rng, capsys):
    net = exploding()
    X, Y = data(rng, 300)
    counts = net.SGD(
        (X, Y), 30, 10, 2.0, evaluation_data=(X, Y), monitor_evaluation_accuracy=True,
        on_divergence="continue",
    )[1]  # fmt: skip
    assert len(counts) == 30
    assert capsys.readouterr().out.count("complete") == 30
    assert not np.isfinite(net.weights[0]).all()
    with pytest.raises(ValueError, match=r"weights\[0\] is (nan|-?inf) at"):
        net.SGD((X, Y), 1, 10, 0.1)


def test_schedules_and_costs_that_are_not_finite(rng):
    """Weight decay that overflows; an own cost or schedule that returns NaN."""
    X, Y = data(rng, 300)
    net = network2.Network(SIZES)
    for eta in (0.5, 1e4):
        with pytest.raises(
            FloatingPointError, match=r"0, mini-batch [0-9]+: lmbda 1e\+307 may be too large"
        ):
            net.SGD((X, Y), 3, 10, eta, lmbda=1e307)
    assert all(np.isfinite(array).all() for array in net.weights)
    with pytest.raises(ValueError, match="schedule is nan, expected a finite number"):
        net.SGD((X, Y), 3, 10, 1.0, schedule=lambda epoch: np.nan)

    class Cost(network2.QuadraticCost):
        calls = 0

        @classmethod
        def delta(cls, z, a, y):
            cls.calls += 1
            return (a - y) * (np.nan if cls.calls > 400 else 0.1)

    net = network2.Network(SIZES, Cost)
    with pytest.raises(FloatingPointError, match=r"in epoch 1, between the mini-batches .* and"):
        net.SGD((X, Y), 3, 10, 1.0)
    assert all(np.isfinite(array).all() for array in net.weights)


@pytest.mark.parametrize("module", MODULES)
def test_update_mini_batch_beyond_float32(module, rng):
    net = MODULES[module].Network(SIZES, dtype=np.float32)
    X, Y = data(rng, 10)
    Y *= 1e37
    before = copy.deepcopy(net.weights)
    step = (1e37, 0.0, 10) if module == "network2" else (1e37,)
    with pytest.raises(FloatingPointError, match="mini_batch: numbers beyond float32"):
        net.update_mini_batch((X, Y), *step)
    assert_equal_arrays(net.weights, before)


def test_checks_of_the_weights_are_cheap(rng):
    """Less than a hundredth, by its own account: what it cost is waited out many times."""
    plan = plan_of((20, 8, 4))
    monitor = FiniteGuard([np.zeros(plan.n_params)])
    assert monitor.is_due(0.0)
    assert monitor.check(10)
    monitor.cost = 1.0
    monitor.arrays[0][0] = np.nan
    assert not monitor.is_due(199.0)
    assert monitor.is_due(2.0)
    assert not monitor.check(20)
    assert monitor.restore() == 10
    assert monitor.arrays[0][0] == 0


def test_on_divergence_is_one_of_two(rng):
    net = network.Network(SIZES)
    for value in ("Stop", None, 1):
        with pytest.raises(ValueError, match=r"on_divergence is .*, expected 'stop' or 'continue'"):
            net.SGD(data(rng, 30), 1, 10, 1.0, on_divergence=value)


# ------------------------------------------------ finite numbers with results that are not


def test_outputs_that_overflow(rng):
    X, Y = data(rng, 300)
    x, y = X[0][:, None], Y[0][:, None]
    net = network2.Network(SIZES, network2.QuadraticCost, activation="linear", output="linear")
    for w in net.weights:
        w[...] = 1e200
    for call in (
        lambda: net.feedforward(x + 1),
        lambda: net.accuracy((X, Y)),
        lambda: net.accuracy((X[:20], Y[:20])),
        lambda: net.total_cost((X, Y), 0.0),
        lambda: net.backprop(x + 1, y),
        lambda: net.backprop_batch(X, Y),
        lambda: net.update_mini_batch((X, Y), 1.0, 0.0, 300),
    ):
        with pytest.raises(FloatingPointError, match=r"beyond float64 come of it"):
            call()


def test_an_own_cost_derivative_that_is_nan(rng):
    class Own(network.Network):
        def cost_derivative(self, output_activations, y):
            return output_activations * np.nan

    X, Y = data(rng, 10)
    net = Own(SIZES)
    before = state_of(net)
    with pytest.raises(FloatingPointError, match=r"mini_batch|the sample"):
        net.update_mini_batch((X, Y), 1.0)
    with pytest.raises(FloatingPointError, match="the sample: numbers beyond float64"):
        net.backprop(X[0][:, None], Y[0][:, None])
    assert_same_state(state_of(net), before)


def test_a_copy_made_in_the_middle_of_a_run_checks_its_numbers(rng):
    class Copying(network.Network):
        def evaluate(self, test_data):
            copies.append(copy.deepcopy(self))
            return 0

    copies, (X, Y) = [], data(rng, 30)
    Copying(SIZES).SGD((X, Y), 1, 10, 1.0, (X, Y))
    Y[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"mini_batch\[3\]: y is nan"):
        copies[0].update_mini_batch((X, Y), 1.0)

"""Chapter 3 in the kernels: activations, costs and the rules of a step, against their oracle."""

import numpy as np
import pytest
from conftest import JIT
from reference2 import DERIVATIVES, FUNCTIONS, Oracle2, costs, dropout_mask
from test_kernels import activated, call_multiply_slope, compiled, guards, padded, read_sparsely  # noqa: F401

from fastbp.data import parameters
from fastbp.kernels import activations, drivers, dropout, lagging, layout, ranges
from fastbp.kernels.layout import Matrix
from fastbp.kernels.simd import at
from fastbp.training.compute import calls, engine, threads
from fastbp.training.compute.plans import ACTIVATION_CODES, OUTPUT_SLOPES, plan_of
from fastbp.training.compute.rules import LARGE_DECAY, NO_RULES, Rules
from fastbp.training.compute.samples import Samples

DTYPES = [np.float64, np.float32]
PAIRS = list(OUTPUT_SLOPES)
HIDDEN = ["sigmoid", "tanh", "relu", "linear"]
RULES = {
    "none": {},
    "L2": dict(l2=0.02),
    "L1": dict(l1=0.01),
    "L1 and L2": dict(l2=0.02, l1=0.01),
    "momentum": dict(momentum=0.9),
    "Nesterov": dict(momentum=0.9, nesterov=True),
    "momentum and L2": dict(momentum=0.5, l2=0.02, l1=0.01),
    "Nesterov and L2": dict(momentum=0.5, nesterov=True, l2=0.02, l1=0.01),
    "dropout": dict(dropout=(0.2, 0.5, 0.0), key=123456789),
    "dropout of hidden neurons": dict(dropout=(0.0, 0.5, 0.0), key=5),
    "max-norm": dict(max_norm=1.3),
    "Adam": dict(momentum=0.9, adam=True),
    "Adam and L2": dict(momentum=0.8, adam=True, beta2=0.99, epsilon=1e-3, l2=0.02, l1=0.01),
    "Adam, dropout and max-norm": dict(
        momentum=0.9, adam=True, dropout=(0.2, 0.5, 0.0), key=11, max_norm=1.3
    ),
    "all": dict(
        l2=0.02, l1=0.01, momentum=0.9, nesterov=True, dropout=(0.2, 0.5, 0.0), key=7, max_norm=1.3
    ),
}


def close(a, b, dtype, rtol=None):
    rtol = rtol or (1e-9 if dtype == np.float64 else 1e-3)
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol / 10)


def problem(sizes, activations, cost, n, dtype, seed=0):
    """(plan, params, X, Y, oracle), X half zeros; softmax and friends want Y that sums to 1."""
    rng = np.random.default_rng(seed)
    np.random.seed(seed)
    oracle = Oracle2(list(sizes), list(activations), cost)
    plan = plan_of(tuple(sizes), tuple(activations), cost)
    params = np.empty(plan.n_params, dtype)
    for (w, b), given_w, given_b in zip(
        parameters.layer_views(params, plan), oracle.weights, oracle.biases
    ):
        w[...], b[...] = given_w, given_b[:, 0]
    oracle.weights = [w.astype(float) for w, _ in parameters.layer_views(params, plan)]
    oracle.biases = [b.astype(float)[:, None] for _, b in parameters.layer_views(params, plan)]
    oracle.forget()
    X = (rng.random((n, sizes[0])) * (rng.random((n, sizes[0])) < 0.5)).astype(np.float32)
    Y = np.eye(sizes[-1], dtype=dtype)[rng.integers(0, sizes[-1], n)]
    return plan, params, X, Y, oracle


def flat_of(oracle):
    pairs = zip(oracle.weights, oracle.biases)
    return np.concatenate([np.concatenate([w.ravel(), b.ravel()]) for w, b in pairs])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_against_their_formulas(name, dtype, rng):
    for n in (1, 5, 70):
        z = (rng.standard_normal(n) * 3).astype(dtype)
        a = activated(z, ACTIVATION_CODES[name])
        close(a, FUNCTIONS[name](z.astype(float)[None])[0], dtype, 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DERIVATIVES)
def test_slopes_follow_from_activations(name, dtype, rng):
    Z = rng.standard_normal((4, 6))
    A = padded(FUNCTIONS[name](Z) / 0.5, dtype)
    Delta, S = np.ones_like(A), layout.zeros(A.size, dtype)
    call_multiply_slope(Delta, A, S, 6, 1.0, 0.5, ACTIVATION_CODES[name])
    close(Delta[:, :6], DERIVATIVES[name](Z), dtype, 1e-5)


def test_activations_in_the_limit():
    big = np.finfo(float).max
    z = np.array([-np.inf, -big, -800.0, 800.0, big, np.inf, np.nan])
    wanted = {"tanh": [-1, -1, -1, 1, 1, 1], "relu": [0, 0, 0, 800, big, np.inf]}
    for name, values in wanted.items():
        with np.errstate(over="ignore", invalid="ignore"):  # without the JIT, NumPy warns
            a = activated(z, ACTIVATION_CODES[name])
        np.testing.assert_array_equal(a, [*values, np.nan])
    for z, values in (
        ([-800.0, 0.0, 800.0], [0, 0, 1]),
        ([1000.0, 1000.0, -1000.0], [0.5, 0.5, 0]),
        ([np.nan, 0.0, 1.0], [np.nan] * 3),
    ):
        seen = activated(np.array(z), activations.SOFTMAX)
        np.testing.assert_array_equal(seen, np.array(values, float))


@compiled
def call_drop(A, batch, l, key, rate):
    a, limit = Matrix(at(A, 0), A.shape[0], A.shape[1]), dropout.drop_threshold(rate)
    dropout.drop_rows(a, at(batch, 0), 0, A.shape[1], l, key, limit, 1 / (1 - rate))


def masked(rows, n, l, key, rate):
    A = np.ones((rows, n))
    call_drop(A, np.arange(rows), l, key, rate)
    return A


@pytest.mark.parametrize("drop", [0.1, 0.5, 0.9])
def test_dropout_leaves_out_that_share(drop):
    A = masked(20, 1000 if JIT else 50, 1, 99, drop)
    np.testing.assert_array_equal(A, dropout_mask(99, 1, np.arange(20), A.shape[1], drop))
    if JIT:
        assert (A == 0).mean() == pytest.approx(drop, abs=0.01)
        assert A.mean() == pytest.approx(1, abs=0.07)
        assert abs(np.corrcoef(A)[np.triu_indices(20, 1)]).max() < 0.15  # samples differ
        assert not np.array_equal(A, masked(20, 1000, 2, 99, drop))  # layers do, too


@pytest.mark.parametrize(("cost", "output"), PAIRS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_gradient_is_the_finite_difference_for_every_legal_pair(cost, output, hidden):
    plan, params, X, Y, oracle = problem((5, 4, 3), (hidden, output), cost, 4, np.float64)
    nabla = engine.gradient(params, plan, X, Y)
    nabla_b, nabla_w = oracle.gradient(X.astype(float), Y)
    expected = np.concatenate([[*w.ravel(), *b.ravel()] for w, b in zip(nabla_w, nabla_b)])
    close(nabla, expected, np.float64)
    h = 1e-5
    for p in range(plan.n_params):
        step = np.zeros_like(params)
        step[p] = h
        both = [
            costs(cost, engine.feedforward(params + s, plan, X), Y).sum() for s in (step, -step)
        ]
        assert nabla[p] == pytest.approx((both[0] - both[1]) / (2 * h), rel=1e-6, abs=1e-9)


def total_cost(oracle, X, Y, rules, n):
    """The cost that a step descends: of all samples under their masks, with its regularisation."""
    drops = rules.dropout or (0.0,) * len(oracle.sizes)
    masks = [
        dropout_mask(rules.key, l, np.arange(len(X)), width, drop)
        for l, (width, drop) in enumerate(zip(oracle.sizes, drops))
    ]
    a = X * masks[0]
    layers = zip(oracle.weights, oracle.biases, oracle.activations, masks[1:])
    for w, b, name, mask in layers:
        a = FUNCTIONS[name](a @ w.T + b.T) * mask
    squares = sum((w**2).sum() for w in oracle.weights)
    sizes = sum(np.abs(w).sum() for w in oracle.weights)
    mean = costs(oracle.cost_name, a, Y).sum() / n
    return mean + 0.5 * rules.l2 * squares + rules.l1 * sizes


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize(("cost", "output"), PAIRS)
@pytest.mark.parametrize("name", ["L2", "L1", "L1 and L2", "dropout"])
def test_a_step_is_the_finite_difference_of_all_that_it_descends(
    is_sparse, cost, output, name, monkeypatch
):
    """Of the mean cost under a fixed mask of dropout, with the terms of L1 and L2."""
    read_sparsely(is_sparse, monkeypatch)
    sizes, rules, n = (5, 4, 3), Rules(**RULES[name]), 6
    plan, params, X, Y, oracle = problem(sizes, ("tanh", output), cost, n, np.float64)
    eta = 1e-3
    after = trained(plan, params, X, Y, np.arange(n), n, rules, eta, 1)
    seen, h = (params - after) / eta, 1e-5
    numeric, wide = np.empty(plan.n_params), X.astype(float)
    for p in range(plan.n_params):
        both = []
        for side in (h, -h):
            moved = params.copy()
            moved[p] += side
            layers = parameters.layer_views(moved, plan)
            oracle.weights = [w for w, _ in layers]
            oracle.biases = [b[:, None] for _, b in layers]
            both.append(total_cost(oracle, wide, Y, rules, n))
        numeric[p] = (both[0] - both[1]) / (2 * h)
    assert np.abs(seen - numeric).max() <= 1e-6 * np.abs(numeric).max()


def trained(plan, params, X, Y, order, m, rules, eta=0.3, epochs=2):
    params = params.copy()
    moments = [np.zeros_like(params) for _ in range(rules.n_moments)]
    samples, steps = Samples(X, Y), 0
    for _ in range(epochs):
        how = dict(rules=rules, moments=moments, steps_before=steps)
        engine.train(params, plan, samples, order, m, eta, **how)
        steps += -(-len(order) // m)
    return params


SIZES = (37, 40, 5) if JIT else (4, 3, 2)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rules_against_the_oracle(is_sparse, name, dtype, monkeypatch, guards):  # noqa: F811
    read_sparsely(is_sparse, monkeypatch)
    rules = Rules(**RULES[name])
    hidden = "relu" if name == "max-norm" else "tanh"
    data = problem(SIZES, (hidden, "sigmoid"), "cross-entropy", 23, dtype)
    plan, params, X, Y, oracle = data
    order = np.random.default_rng(1).permutation(23)
    seen = trained(plan, params, X, Y, order, 7, rules)
    given = dict(RULES[name])
    given["lmbda"], given["l1"] = given.pop("l2", 0) * 23, given.pop("l1", 0) * 23
    for _ in range(2):
        oracle.train(X.astype(float), Y.astype(float), order, 7, 0.3, **given)
    close(seen, flat_of(oracle), dtype)
    if name == "max-norm":
        norms = [np.linalg.norm(w, axis=1).max() for w, _ in parameters.layer_views(seen, plan)]
        assert max(norms) == pytest.approx(1.3, rel=1e-6)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize(("cost", "output"), PAIRS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_every_pair_trains_as_the_oracle_does(is_sparse, cost, output, hidden, monkeypatch):
    read_sparsely(is_sparse, monkeypatch)
    sizes = (20, 17, 33, 4) if JIT else (3, 2, 3, 2)
    plan, params, X, Y, oracle = problem(sizes, (hidden, hidden, output), cost, 23, np.float64)
    seen = trained(plan, params, X, Y, np.arange(23), 5, NO_RULES, 0.02, 1)
    oracle.train(X.astype(float), Y, np.arange(23), 5, 0.02)
    close(seen, flat_of(oracle), np.float64)
    close(engine.feedforward(seen, plan, X), oracle.feedforward(X.astype(float)), np.float64)


# One to four hidden layers; on three threads a layer is wide from 192 neurons on, on two from 128.
DEPTHS = [
    (37, 20, 10), (37, 300, 5), (37, 130, 200, 5), (33, 20, 300, 17, 10),
    (65, 200, 20, 192, 150, 10),
]  # fmt: skip
DEPTHS = DEPTHS if JIT else [(4, 3, 2), (4, 9, 3, 2, 70, 2)]
SLOW = [pytest.param(sizes, marks=pytest.mark.slow) for sizes in DEPTHS[2:]]


class Counted:
    """A driver that counts its calls."""

    def __init__(self, driver):
        self.driver, self.calls = driver, 0
        self.compile = getattr(driver, "compile", None)

    def __call__(self, *arguments):
        self.calls += 1
        return self.driver(*arguments)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("sizes", DEPTHS[:2] + SLOW, ids=str)
def test_rules_give_the_same_bits_on_any_number_of_threads(
    is_sparse, dtype, name, sizes, monkeypatch
):
    """Of a mini-batch of one, and of as few as make fewer groups than threads, too."""
    read_sparsely(is_sparse, monkeypatch)
    n, given, n_hidden = (67 if JIT else 7), dict(RULES[name]), len(sizes) - 2
    if "dropout" in given:
        of_inputs, of_hidden, _ = given["dropout"]
        given["dropout"] = (of_inputs, *(of_hidden,) * n_hidden, 0.0)
    if not JIT:
        monkeypatch.setattr(ranges, "WIDE", 3)
    rules, functions = Rules(**given), ("relu", "sigmoid", "tanh", "linear")[:n_hidden]
    plan, params, X, Y, _ = problem(sizes, (*functions, "softmax"), "log-likelihood", n, dtype)
    for m in (13, 4, 1) if JIT else (5, 1):
        results, order = [], np.arange(n if m > 1 else 7)
        for n_threads in (1, 2, 3):
            parallel = Counted(drivers.sgd_steps_parallel)
            with monkeypatch.context() as patch:
                patch.setattr(drivers, "sgd_steps_parallel", parallel)
                patch.setattr(threads, "mode", "never" if n_threads == 1 else "always")
                patch.setattr(threads, "usable", lambda limit, n=n_threads: n)
                results.append(trained(plan, params, X, Y, order, m, rules, 0.1))
            assert (parallel.calls > 0) is (n_threads > 1)
        assert np.isfinite(results[0]).all()
        assert not np.array_equal(results[0], params)
        for other in results[1:]:
            np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("l2", [0, 1e-4, 0.3])
@pytest.mark.parametrize("momentum", [0, 0.5, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_lagging_inputs_catch_up(dtype, l2, momentum, nesterov, rng, monkeypatch):
    """Of a sparse first layer: several steps at once are as good as each at its time."""
    sizes, m, eta, n = (137, 20, 10), 5, 1.0, 700 if JIT else 60
    X = (rng.random((n, 137)) * (rng.random((n, 137)) < 0.2)).astype(dtype)
    Y = rng.random((n, 10)).astype(dtype)
    plan, order, results = plan_of(sizes), rng.permutation(n), []
    start = rng.standard_normal(plan.n_params).astype(dtype)
    for most in (1, 7, 1000):  # 1: every step decays every weight
        monkeypatch.setattr("fastbp.training.compute.rules.MOST_PERIOD", most)
        params = start.copy()
        samples, velocity = Samples(X, Y), np.zeros_like(start)
        assert samples.sparse
        rules = Rules(l2=l2, momentum=momentum, nesterov=nesterov)
        how = dict(rules=rules, moments=[velocity] if momentum else [])
        engine.train(params, plan, samples, order, m, eta, 1, **how)
        results.append((params, velocity))
    for params, velocity in results[1:]:
        close(params, results[0][0], dtype)
        close(velocity, results[0][1], dtype)
        none_lags = momentum == 0 and (l2 == 0 or l2 > LARGE_DECAY)
        assert (params == results[0][0]).all() == none_lags


@pytest.mark.skipif(not JIT, reason="a mini-batch of a hundred samples takes long in Python")
def test_no_input_lags_in_a_large_mini_batch(rng, monkeypatch):
    X = rng.random((700, 137)) * (rng.random((700, 137)) < 0.01)
    plan, Y, results = plan_of((137, 20, 10)), rng.random((700, 10)), []
    start = rng.standard_normal(plan.n_params)
    for m in (lagging.MANY, lagging.MANY - 1):
        for most in (1, 1000):
            monkeypatch.setattr("fastbp.training.compute.rules.MOST_PERIOD", most)
            params = start.copy()
            how = dict(rules=Rules(l2=0.01, momentum=0.9), moments=[np.zeros_like(start)])
            engine.train(params, plan, Samples(X, Y), np.arange(700), m, 1.0, 1, **how)
            results.append(params)
    np.testing.assert_array_equal(results[0], results[1])
    close(results[2], results[3], np.float64)
    assert (results[2] != results[3]).any()


def test_the_bits_of_a_decay_do_not_depend_on_when_calls_end(rng, monkeypatch):
    X = rng.random((900, 40)) * (rng.random((900, 40)) < 0.2)
    plan, order = plan_of((40, 20, 10)), rng.permutation(900)
    start, Y, results = rng.standard_normal(plan.n_params), rng.random((900, 10)), []
    monkeypatch.setattr("fastbp.training.compute.rules.MOST_PERIOD", 8)
    for seconds in (1e-9, 1e-4, 0.1):
        monkeypatch.setattr(calls, "KERNEL_SECONDS", seconds)
        params, ends = start.copy(), []
        engine.train(
            params, plan, Samples(X, Y), order, 7, 1.0, 1, ends.append,
            rules=Rules(l2=1e-3),
        )  # fmt: skip
        results.append(params)
        assert all(count % (7 * 8) == 0 for count in ends[:-1])
    for params in results[1:]:
        np.testing.assert_array_equal(params, results[0])


def test_the_bits_of_a_decay_do_not_depend_on_where_a_run_pauses(rng, monkeypatch):
    """A period whose first mini-batch is the last of an epoch is a period of several still."""
    X = rng.random((119, 40)) * (rng.random((119, 40)) < 0.2)  # 17 mini-batches of 7
    plan, order = plan_of((40, 20, 10)), rng.permutation(119)
    start, Y, results = rng.standard_normal(plan.n_params), rng.random((119, 10)), []
    monkeypatch.setattr("fastbp.training.compute.rules.MOST_PERIOD", 8)
    read_sparsely(True, monkeypatch)
    for parts in (order,), (order[:56], order[56:112], order[112:]):
        params = start.copy()
        for part in parts:
            engine.train(params, plan, Samples(X, Y), part, 7, 1.0, 1, rules=Rules(l2=1e-3))
        results.append(params)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("d", [1e-6, 3e-7])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_small_decay_in_float32_is_as_large_as_asked(d, momentum, monkeypatch):
    """1 - d, rounded to float32, is up to twice too far from 1, or not at all."""
    read_sparsely(False, monkeypatch)
    n, sizes = 2000 if JIT else 20, (30, 8, 2)
    plan, rng = plan_of(sizes), np.random.default_rng(3)
    start = rng.uniform(1, 2, plan.n_params).astype(np.float32)
    X, Y = np.zeros((n, 30), np.float32), np.zeros((n, 2), np.float32)
    params, velocity = start.copy(), np.zeros_like(start)
    rules = Rules(l2=d, momentum=momentum)
    engine.train(params, plan, Samples(X, Y), np.arange(n), 1, 1.0, 1, rules=rules,
                 moments=[velocity] if momentum else [])  # fmt: skip
    w, _ = parameters.layer_views(params, plan)[0]
    v, _ = parameters.layer_views(start, plan)[0]
    asked = -d * n / (1 - momentum)
    if n > 1000:
        assert np.log(w.astype(float) / v).mean() == pytest.approx(asked, rel=0.1)


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "linear", "tanh"])
@pytest.mark.parametrize("dropout", [(), (0.0, 0.3, 0.3, 0.0)])
def test_what_pads_the_weights_stays_zero(activation, dropout, rng):
    """A padded neuron that learned would be looked at by the divergence monitor."""
    plan = plan_of((20, 5, 7, 3), (activation, activation, "linear"), "quadratic")
    params = rng.standard_normal(plan.n_params)
    X, Y = rng.random((30, 20)) * (rng.random((30, 20)) < 0.3), rng.random((30, 3))
    packed = []
    real = layout.Layout.unpack
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            layout.Layout, "unpack",
            lambda self, weights, layers: (packed.append((self, weights.copy())),
                                           real(self, weights, layers)),
        )  # fmt: skip
        engine.train(params, plan, Samples(X, Y), np.arange(30), 4, 0.01, 1,
                     rules=Rules(dropout=dropout, key=3))  # fmt: skip
    (here, weights), *_ = packed
    ones = here.pack([(np.ones(s), np.ones(s[0])) for s in plan.shapes])
    assert (weights[: here.n_packed][ones[: here.n_packed] == 0] == 0).all()


def test_subnormal_weights_are_flushed_on_any_number_of_threads(monkeypatch):
    read_sparsely(True, monkeypatch)
    plan, results = plan_of((40, 20, 10)), []
    start = np.ones(plan.n_params, np.float32)
    w, _ = parameters.layer_views(start, plan)[0]
    w[:, 0] = 1.2e-38
    X, Y = np.ones((60, 40), np.float32), np.zeros((60, 10), np.float32)
    X[:, 0] = 0
    for n_threads in (1, 2, 3):
        monkeypatch.setattr(threads, "mode", "never" if n_threads == 1 else "always")
        monkeypatch.setattr(threads, "usable", lambda limit, n=n_threads: n)
        params = start.copy()
        engine.train(params, plan, Samples(X, Y), np.arange(60), 6, 1.0,
                     rules=Rules(l2=0.008))  # fmt: skip
        results.append(params)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("decay", [5e-8, 1.7e-7, 5e-5])
def test_biases_do_not_decay(decay, is_sparse, monkeypatch):
    """Their sums would, if they were rounded as the weights are, in one direction."""
    read_sparsely(is_sparse, monkeypatch)
    n = 20_000 if JIT else 40
    plan = plan_of((30, 8, 2))
    X, Y = np.zeros((n, 30), np.float32), np.full((n, 2), 0.5, np.float32)
    params = np.zeros(plan.n_params, np.float32)  # outputs are 0.5: there is no gradient
    (w, b), _ = parameters.layer_views(params, plan)
    w[:] = b[:] = 1
    engine.train(params, plan, Samples(X, Y), np.arange(n), 1, 1.0, 1, rules=Rules(l2=decay))
    assert (b == 1).all()
    if is_sparse:  # with one rounding per period; else see decay_weights
        np.testing.assert_allclose(w, (1 - decay) ** n, rtol=1e-5)


def test_sparse_and_dense_decay_where_no_input_lags(rng, monkeypatch):
    X = rng.random((60, 70)) * (rng.random((60, 70)) < 0.1)
    plan, Y, results = plan_of((70, 20, 10)), rng.random((60, 10)), []
    start = rng.standard_normal(plan.n_params)
    for is_sparse in (False, True):
        read_sparsely(is_sparse, monkeypatch)
        params = start.copy()
        engine.train(params, plan, Samples(X, Y), np.arange(60), 5, 1.0, 1, rules=Rules(l2=0.3))
        results.append(params)
    np.testing.assert_array_equal(*results)


def test_subnormal_inputs_lag_alike_on_any_number_of_threads(rng, monkeypatch):
    read_sparsely(True, monkeypatch)
    n = 300 if JIT else 20
    X = (rng.random((n, 40)) * (rng.random((n, 40)) < 0.1)).astype(np.float32)
    X[:, 0] = 1e-40
    plan, Y, results = plan_of((40, 24, 10)), rng.random((n, 10)).astype(np.float32), []
    start = rng.standard_normal(plan.n_params).astype(np.float32)
    for n_threads in (1, 2, 3):
        monkeypatch.setattr(threads, "mode", "never" if n_threads == 1 else "always")
        monkeypatch.setattr(threads, "usable", lambda limit, n=n_threads: n)
        params, velocity = start.copy(), np.zeros_like(start)
        engine.train(params, plan, Samples(X, Y), np.arange(n), 5, 0.1,
                     rules=Rules(l2=1e-3, momentum=0.9), moments=[velocity])  # fmt: skip
        results.append(params)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)

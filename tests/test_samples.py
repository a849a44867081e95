"""How samples are stored and weighed: compressed sparse rows, weights, costs summed in training."""

import numpy as np
import pytest
from conftest import JIT
from reference2 import Oracle2, costs
from test_kernels import guards  # noqa: F401

from fastbp.data import parameters
from fastbp.training.compute import engine, threads
from fastbp.training.compute.plans import plan_of
from fastbp.training.compute.rules import NO_RULES, Rules, StepSettings
from fastbp.training.compute.samples import NonFiniteInput, Samples

sparse = pytest.importorskip("scipy.sparse")
SIZES = (300, 20, 3) if JIT else (140, 4, 3)
N, M = (230, 17) if JIT else (12, 5)


def problem(dtype, seed=0):
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((N, SIZES[0])) * (rng.random((N, SIZES[0])) < 0.1)).astype(dtype)
    X[3] = 0
    Y = np.eye(3, dtype=dtype)[rng.integers(0, 3, N)]
    plan = plan_of(SIZES, ("tanh", "softmax"), "log-likelihood")
    return plan, (rng.standard_normal(plan.n_params) * 0.3).astype(dtype), X, Y, rng.permutation(N)


def trained(plan, params, samples, order, rules, **how):
    params = params.copy()
    moments = [np.zeros_like(params) for _ in range(rules.n_moments)]
    settings = StepSettings(M, 0.05, rules, moments)
    with engine.Descent(params, plan, samples, order, settings, **how) as descent:
        for _ in descent:
            pass
    return params, descent


RULES = {
    "none": NO_RULES,
    "L2": Rules(l2=0.01),
    "momentum": Rules(momentum=0.9, l2=0.01),
    "Adam": Rules(momentum=0.9, adam=True),
    "dropout": Rules(dropout=(0.2, 0.5, 0.0), key=3),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", RULES)
def test_sparse_rows_train_as_dense_rows_do(dtype, name, monkeypatch, guards):  # noqa: F811
    plan, params, X, Y, order = problem(dtype)
    dense, csr = Samples(X, Y), Samples(sparse.csr_array(X), Y)
    assert dense.sparse
    wanted, _ = trained(plan, params, dense, order, RULES[name])
    for n_threads in (1, 2, 3):
        monkeypatch.setattr(threads, "mode", "never" if n_threads == 1 else "always")
        monkeypatch.setattr(threads, "usable", lambda limit, n=n_threads: n)
        seen, _ = trained(plan, params, csr, order, RULES[name])
        if name == "momentum":  # dense rows: inputs lag
            rtol = 1e-3 if dtype == np.float32 else 1e-9
            np.testing.assert_allclose(seen, wanted, rtol=rtol, atol=rtol / 10)
        else:
            np.testing.assert_array_equal(seen, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_rows_are_evaluated_as_dense_rows_are(dtype):
    plan, params, X, Y, _ = problem(dtype)
    csr = sparse.csr_matrix(X)
    wanted = engine.feedforward(params, plan, X)
    np.testing.assert_array_equal(engine.feedforward(params, plan, csr), wanted)
    wanted = engine.gradient(params, plan, X, Y)
    np.testing.assert_array_equal(engine.gradient(params, plan, csr, Y), wanted)


def test_sparse_rows_that_hold_nan_or_zeros():
    plan, params, X, Y, order = problem(np.float64)
    csr = sparse.csr_array(X)
    csr.data[5] = 0  # stored, and zero
    wanted, _ = trained(plan, params, Samples(csr.toarray(), Y), order, NO_RULES)
    seen, _ = trained(plan, params, Samples(csr, Y), order, NO_RULES)
    np.testing.assert_allclose(seen, wanted, rtol=1e-12)
    csr.data[-1] = np.nan
    with pytest.raises(NonFiniteInput):
        trained(plan, params, Samples(csr, Y), order, NO_RULES)
    empty = sparse.csr_array((N, SIZES[0]))
    outputs = engine.feedforward(params, plan, empty)
    np.testing.assert_array_equal(outputs, engine.feedforward(params, plan, 0 * X))


@pytest.mark.parametrize("name", ["none", "Adam"])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_weights_of_samples_against_the_oracle(name, n_threads, monkeypatch):
    monkeypatch.setattr(threads, "mode", "never" if n_threads == 1 else "always")
    monkeypatch.setattr(threads, "usable", lambda limit: n_threads)
    plan, params, X, Y, order = problem(np.float64)
    weight = np.random.default_rng(1).random(N) * 2
    seen, descent = trained(
        plan, params, Samples(X, Y), order, RULES[name], sample_weight=weight, sums_loss=True
    )
    oracle = Oracle2(list(SIZES), ["tanh", "softmax"], "log-likelihood")
    layers = parameters.layer_views(params, plan)
    oracle.weights, oracle.biases = [w for w, _ in layers], [b[:, None] for _, b in layers]
    oracle.forget()
    real, losses = oracle.gradient, []

    def weighted(X, Y, masks=None):
        """The sum of the samples' gradients, each by itself, times their weights."""
        losses.append(
            (w[:, None] * costs(oracle.cost_name, oracle.feedforward(X), Y)[:, None]).sum()
        )
        parts = [real(x[None], y[None]) for x, y in zip(X, Y)]
        return [
            [sum(v * part[kind][l] for v, part in zip(w, parts)) for l in range(2)]
            for kind in range(2)
        ]

    monkeypatch.setattr(oracle, "gradient", weighted)
    adam = dict(momentum=0.9, adam=True) if name == "Adam" else {}
    for k in range(0, N, M):
        batch = order[k : k + M]
        w = weight[batch]
        oracle.step(X[batch], Y[batch], 0.05, N, **adam)
    layers = zip(oracle.weights, oracle.biases)
    wanted = np.concatenate([np.concatenate([w.ravel(), b.ravel()]) for w, b in layers])
    np.testing.assert_allclose(seen, wanted, rtol=1e-8, atol=1e-9)
    assert descent.loss == pytest.approx(sum(losses), rel=1e-9)


@pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])
def test_the_sum_of_costs_does_not_depend_on_calls_and_threads(cost, monkeypatch):
    plan, params, X, Y, order = problem(np.float32)
    plan, results = plan_of(SIZES, (), cost), []
    for seconds, n_threads in ((0.1, 1), (1e-9, 1), (1e-9, 3)):
        monkeypatch.setattr("fastbp.training.compute.calls.KERNEL_SECONDS", seconds)
        monkeypatch.setattr(threads, "mode", "never" if n_threads == 1 else "always")
        monkeypatch.setattr(threads, "usable", lambda limit, n=n_threads: n)
        _, descent = trained(plan, params, Samples(X, Y), order, NO_RULES, sums_loss=True)
        results.append(descent.loss)
    assert results[0] > 0
    assert len(set(results)) == 1

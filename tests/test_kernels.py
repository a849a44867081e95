"""Each kernel against the oracle's formulas, an invariant or finite difference, nasty sizes.

This file also runs with the JIT off, where it must cover every line, and with bounds checked.
"""

import itertools
import random

import numpy as np
import pytest
from conftest import JIT, needs_panels, needs_threads
from reference import Oracle, sigma

from fastbp import engine, kernels, programs, threads, vectors

DTYPES = [np.float64, np.float32]
# m and n_out on both sides of the tiles 5 and 3, and 1; n_in odd, 1, and beyond a vector.
SHAPES = list(itertools.product([1, 2, 4, 5, 6, 11], [1, 2, 3, 4, 7], [1, 5, 33]))
NETS = [[2, 2, 1], [1, 1], [7, 5, 4, 3], [33, 13, 10]]

exact_bits = pytest.mark.skipif(not JIT, reason="a property of compiled code")


def close(a, b, dtype):
    rtol = 1e-10 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def randoms(rng, dtype, *shapes):
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def pixels_of(X):
    return engine._pixels(X)


def none(sizes):
    """No dropout."""
    return np.zeros(len(sizes))


def problem(sizes, n, dtype, seed=0):
    """(plan, params, X, Y) of a random network and data set, and the oracle with these weights."""
    rng = np.random.default_rng(seed)
    plan = engine.plan_of(tuple(sizes))
    params, X, Y = randoms(rng, dtype, plan.n_params, (n, sizes[0]), (n, sizes[-1]))
    Y = np.abs(np.tanh(Y))
    oracle = Oracle(sizes)
    at = 0
    for l, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        oracle.weights[l] = params[at : at + n_in * n_out].reshape(n_out, n_in).astype(float)
        at += n_in * n_out
        oracle.biases[l] = params[at : at + n_out].reshape(n_out, 1).astype(float)
        at += n_out
    return plan, params, X, Y, oracle


def flat_of(weights, biases):
    return np.concatenate([a.ravel() for pair in zip(weights, biases) for a in pair])


def oracle_gradient(oracle, X, Y):
    total = 0
    for x, y in zip(X.astype(float), Y.astype(float)):
        nabla_b, nabla_w = oracle.gradient(x[:, None], y[:, None])
        total = total + flat_of(nabla_w, nabla_b)
    return total


# ------------------------------------------------ sigmoid


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_is_within_4_ulp(dtype, rng):
    most = 700 if dtype == np.float64 else 86
    count = 100_000 if JIT else 500
    z = np.concatenate(
        [np.linspace(-most, most, count), rng.standard_normal(count), [0.0, -0.0, 1e-300]]
    ).astype(dtype)
    rows = z[None].copy()
    kernels.sigmoid_rows(rows, np.zeros(z.size, dtype))
    wide = z.astype(np.longdouble)
    exact = 1 / (1 + np.exp(-wide))
    ulp = np.spacing(exact.astype(dtype)).astype(np.longdouble)
    assert np.max(np.abs(rows[0] - exact) / ulp) <= 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_in_the_limit(dtype):
    big = np.finfo(dtype).max
    z = np.array([[-np.inf, -big, -800, 800, big, np.inf, np.nan]], dtype)
    kernels.sigmoid_rows(z, np.zeros(7, dtype))
    np.testing.assert_array_equal(z[0], np.array([0, 0, 0, 1, 1, 1, np.nan], dtype))
    edge = np.linspace(-110, -86, 50) if dtype == np.float32 else np.linspace(-760, -700, 50)
    edge = edge.astype(dtype)[None]
    kernels.sigmoid_rows(edge, np.zeros(50, dtype))
    assert ((edge >= 0) & (edge < np.finfo(dtype).tiny * 1e8)).all()


def test_sigmoid_is_symmetric_and_monotonic():
    z = np.linspace(-30, 30, 501)
    rows = np.array([z, -z])
    kernels.sigmoid_rows(rows, np.zeros(501))
    np.testing.assert_allclose(rows[0] + rows[1], 1, rtol=1e-15)
    assert (np.diff(rows[0]) >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_columns_adds_a_bias_per_row(dtype, rng):
    Z, b = randoms(rng, dtype, (5, 3), (5, 1))
    wanted = sigma(Z.astype(float) + b)
    kernels.sigmoid_columns(Z, b)
    close(Z, wanted, dtype)


# ------------------------------------------------ layers: the four equations


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_layer_against_the_formula_at_nasty_sizes(dtype, rng):
    for m, n_out, n_in in SHAPES:
        A, w, b = randoms(rng, dtype, (m, n_in), (n_out, n_in), n_out)
        out = np.full((m, n_out), np.nan, dtype)
        kernels.forward_layer(out, A, w, b, kernels.SIGMOID)
        close(out, sigma(A.astype(float) @ w.T.astype(float) + b), dtype)


@exact_bits
@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_layer_treats_every_sample_alike(dtype, rng):
    """A chunk that starts at a multiple of the tile gives the same bits as the whole."""
    A, w, b = randoms(rng, dtype, (13, 40), (10, 40), 10)
    whole, part = np.empty((13, 10), dtype), np.empty((3, 10), dtype)
    kernels.forward_layer(whole, A, w, b, kernels.SIGMOID)
    kernels.forward_layer(part, A[10:], w, b, kernels.SIGMOID)
    np.testing.assert_array_equal(whole[10:], part)


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_layer_saturates_without_a_warning(dtype):
    A, w = np.full((5, 3), 800, dtype), np.ones((4, 3), dtype)
    w[::2] = -1
    out = np.empty((5, 4), dtype)
    kernels.forward_layer(out, A, w, np.zeros(4, dtype), kernels.SIGMOID)
    np.testing.assert_array_equal(out, np.tile(np.array([0, 1, 0, 1], dtype), (5, 1)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_output_delta_is_BP1(dtype, rng):
    for m, n_out in itertools.product([1, 4, 5], [1, 3, 10]):
        Z, Y = randoms(rng, dtype, (m, n_out), (m + 3, n_out))
        A = sigma(Z).astype(dtype)
        order = rng.permutation(m + 3)[:m]
        Delta = np.empty((m, n_out), dtype)
        kernels.output_delta(Delta, A, Y, order, kernels.SIGMOID)
        close(Delta, (A - Y[order]) * A * (1 - A), dtype)


def test_output_delta_is_the_derivative_of_the_cost(rng):
    z, y = rng.standard_normal((2, 6))
    Delta = np.empty((1, 6))
    order = np.zeros(1, np.int64)
    kernels.output_delta(Delta, sigma(z)[None], y[None], order, kernels.SIGMOID)
    h = 1e-6
    numeric = [(0.5 * (sigma(z + s) - y) ** 2) for s in (h, -h)]
    np.testing.assert_allclose(Delta[0], (numeric[0] - numeric[1]) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_layer_is_BP2_at_nasty_sizes(dtype, rng):
    for m, n_out, n_in in SHAPES:
        Delta, w, Z = randoms(rng, dtype, (m, n_out), (n_out, n_in), (m, n_in))
        A = sigma(Z).astype(dtype)
        out = np.full((m, n_in), np.nan, dtype)
        kernels.backward_layer(out, Delta, w, A, kernels.SIGMOID, dtype(1))
        close(out, (Delta.astype(float) @ w) * A * (1 - A), dtype)


def test_backward_layer_of_saturated_neurons_is_zero(rng):
    w, Delta = rng.standard_normal((3, 6)), rng.standard_normal((5, 3))
    out = np.empty((5, 6))
    A = np.repeat([[0.0, 1.0]], 3, 1).repeat(5, 0)
    kernels.backward_layer(out, Delta, w, A, kernels.SIGMOID, 1.0)
    np.testing.assert_array_equal(out, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_update_layer_is_BP3_and_BP4_with_the_step_at_nasty_sizes(dtype, rng):
    for m, n_out, n_in in SHAPES:
        w, b, Delta, A = randoms(rng, dtype, (n_out, n_in), n_out, (m, n_out), (m, n_in))
        w_wanted = w - 0.25 * Delta.T.astype(float) @ A
        b_wanted = b - 0.25 * Delta.sum(axis=0, dtype=float)
        kernels.update_layer(w, b, Delta, A, dtype(0.25), 0, n_out)
        close(w, w_wanted, dtype)
        close(b, b_wanted, dtype)


@exact_bits
@pytest.mark.parametrize("dtype", DTYPES)
def test_update_layer_in_parts_is_the_whole(dtype, rng):
    w, b, Delta, A = randoms(rng, dtype, (10, 40), 10, (7, 10), (7, 40))
    w2, b2 = w.copy(), b.copy()
    kernels.update_layer(w, b, Delta, A, dtype(0.5), 0, 10)
    kernels.update_layer(w2, b2, Delta, A, dtype(0.5), 6, 10)
    kernels.update_layer(w2, b2, Delta, A, dtype(0.5), 0, 6)
    np.testing.assert_array_equal(w, w2)
    np.testing.assert_array_equal(b, b2)


def test_update_layer_leaves_other_rows_alone(rng):
    w, b, Delta, A = randoms(rng, np.float64, (7, 5), 7, (4, 7), (4, 5))
    w_before, b_before = w.copy(), b.copy()
    kernels.update_layer(w, b, Delta, A, 1.0, 3, 5)
    changed = np.flatnonzero((w != w_before).any(axis=1) | (b != b_before))
    np.testing.assert_array_equal(changed, [3, 4])


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_layer_adds_to_what_is_there(dtype, rng):
    for m, n_out, n_in in SHAPES[::4]:
        nabla_w, nabla_b, Delta, A = randoms(
            rng, dtype, (n_out, n_in), n_out, (m, n_out), (m, n_in)
        )
        w_wanted = nabla_w + Delta.T.astype(float) @ A
        b_wanted = nabla_b + Delta.sum(axis=0, dtype=float)
        kernels.gradient_layer(nabla_w, nabla_b, Delta, A)
        close(nabla_w, w_wanted, dtype)
        close(nabla_b, b_wanted, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", [np.uint8, np.float32, np.float64])
def test_gather_converts_and_orders(dtype, stored, rng):
    X = (rng.random((6, 9)) * 200).astype(stored)
    order = np.array([5, 0, 0, 3])
    A = np.full((4, 9), np.nan, dtype)
    kernels.gather(A, *pixels_of(X), order)
    values = X[order] / 256 if stored is np.uint8 else X[order]  # bytes are pixels
    np.testing.assert_array_equal(A, values.astype(dtype))


# ------------------------------------------------ the panel form: vector tiles and lists of pixels

PANEL_NETS = [[37, 5], [5, 1], [16, 32, 48, 3], [33, 47, 31, 17, 4], [20, 300, 280, 10]]


def sparse(rng, stored, m, n_in, density=0.3):
    """Images with an empty first one, in a type that data may be stored in."""
    X = rng.random((m, n_in)) * (rng.random((m, n_in)) < density)
    X[0] = 0
    return (X * 255).astype(np.uint8) if stored is np.uint8 else X.astype(stored)


def run(steps, m, dtype):
    """Run steps once, for one mini-batch of samples 0..m-1."""
    table, now = programs.as_table(steps), np.zeros(vectors.NOW, np.int64)
    tiles = vectors.tiles_for(np.dtype(dtype), table)
    team = np.zeros(vectors.TEAM, np.int64)
    vectors.run_program(team, 0, 1, tiles, table, table, now, np.arange(m), m)


@exact_bits
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("n_in", [1, 15, 16, 37, 63, 64, 65, 128, 300])
def test_a_group_lists_what_is_not_zero_in_all_of_it(dtype, stored, n_in, rng):
    X = sparse(rng, stored, 7, n_in)
    if stored is not np.uint8:
        X[1, 0], X[2, -1] = np.nan, -0.0
    for batch in ([0], [1], [2, 6], [1, 4, 5][: vectors.GROUP]):
        plan, m = engine.plan_of((n_in, 5)), len(batch)
        data = *pixels_of(X[batch]), True, None
        group = programs.Programs(plan, np.empty(0, dtype), data, m)
        group.columns[...] = group.values[...] = 99
        run(group.read(m, 0), m, dtype)
        columns, (count,), values = group.columns, group.counts, group.values
        lit = np.flatnonzero((X[batch] != 0).any(axis=0))
        np.testing.assert_array_equal(columns[:count], [*lit, n_in])  # the last is the biases'
        wanted = X[batch] / 256 if stored is np.uint8 else X[batch]
        wanted = np.vstack([wanted.astype(dtype).T[lit], np.ones(len(batch), dtype)])
        np.testing.assert_array_equal(values[: wanted.size].reshape(wanted.shape), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", PANEL_NETS, ids=str)
def test_panels_and_back_is_nothing_changed(dtype, sizes, rng):
    plan = engine.plan_of(tuple(sizes))
    (params,) = randoms(rng, dtype, plan.n_params)
    panels = plan.layout(dtype).to_panels(params, plan)
    assert panels.ctypes.data % 64 == 0
    back = np.empty_like(params)
    plan.layout(dtype).from_panels(panels, back, plan)
    np.testing.assert_array_equal(back, params)
    assert np.count_nonzero(panels) == plan.n_params  # all the rest is zero


def samples_in(form, X, Y, monkeypatch):
    """Samples in the form wanted, although there are few of them."""
    monkeypatch.setattr(engine, "MANY", 1)
    monkeypatch.setattr(engine, "MOST_LISTED", 2 if form == "lists" else 0)
    monkeypatch.setenv("FASTBP_LOOPS", "1" if form == "rows" else "0")
    samples = engine.Samples(X, Y)
    assert (samples.form, samples.listed) == (
        "rows" if form == "rows" else "panels",
        form == "lists",
    )
    return samples


FORMS = ["rows", "panels", "lists"]


@exact_bits
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", PANEL_NETS, ids=str)
@pytest.mark.parametrize("m", [1, 4, 10, 22])
def test_every_form_trains_as_the_oracle_does(form, dtype, sizes, m, rng, monkeypatch):
    """23 samples: the last mini-batch is ragged."""
    plan, params, _, Y, oracle = problem(sizes, 23, dtype)
    X = sparse(rng, np.float32, 23, sizes[0])
    samples = samples_in(form, X, Y, monkeypatch)
    order = rng.permutation(23)
    engine.train(params, plan, samples, order, m, 0.1)
    pairs = [(X[i][:, None].astype(float), Y[i][:, None].astype(float)) for i in order]
    for k in range(0, 23, m):
        oracle.step(pairs[k : k + m], 0.1)
    close(params, flat_of(oracle.weights, oracle.biases), dtype)


@exact_bits
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", [np.uint8, np.float32, np.float64])
def test_every_form_reads_every_type(form, dtype, stored, rng, monkeypatch):
    plan, params, _, Y, _ = problem([37, 20, 10], 23, dtype)
    X = sparse(rng, stored, 23, 37)
    values = (X / 256 if stored is np.uint8 else X).astype(np.float64)
    other = params.copy()
    for data, result in ((X, params), (values, other)):
        samples = samples_in(form, data, Y, monkeypatch)
        engine.train(result, plan, samples, np.arange(23), 5, 0.7)
    close(params, other, dtype)


@exact_bits
@pytest.mark.parametrize("form", ["panels", "lists"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", PANEL_NETS, ids=str)
def test_a_team_gives_the_bits_of_one_thread(form, dtype, sizes, rng, monkeypatch):
    plan, start, _, Y, _ = problem(sizes, 67, dtype)
    X = sparse(rng, np.float32, 67, sizes[0])
    samples = samples_in(form, X, Y, monkeypatch)
    monkeypatch.setattr(threads, "mode", "always")
    monkeypatch.setattr(engine, "SHARED_FLOPS", 0)
    results, outputs = [], []
    for n_threads in (1, 2, 3, 4):
        monkeypatch.setattr(threads, "usable", lambda limit, n=n_threads: n)
        params = start.copy()
        engine.train(params, plan, samples, np.arange(67), 13, 0.7)
        results.append(params)
        outputs.append(engine.feedforward(params, plan, X))
    for params, out in zip(results[1:], outputs[1:]):
        np.testing.assert_array_equal(params, results[0])
        np.testing.assert_array_equal(out, outputs[0])


@exact_bits
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", PANEL_NETS, ids=str)
@pytest.mark.parametrize("n", [1, 5, 23])
def test_evaluation_in_panels_against_the_oracle(dtype, sizes, n, monkeypatch):
    monkeypatch.setattr(engine, "MANY", 1)
    monkeypatch.setattr(engine, "EVALUATION_ROWS", 7)
    plan, params, X, _, oracle = problem(sizes, n, dtype)
    wanted = np.array([oracle.feedforward(x[:, None].astype(float))[:, 0] for x in X])
    close(engine.feedforward(params, plan, X), wanted, dtype)


@exact_bits
@pytest.mark.parametrize("dtype", DTYPES)
def test_saturated_neurons_stop_learning_but_nothing_else(dtype, rng, monkeypatch):
    """Deltas too small for the type count as zero; the caller's float mode is left as it was."""
    plan, params, _, Y, _ = problem([37, 5], 23, dtype)
    params[...] = 1000
    X = sparse(rng, np.float32, 23, 37) + np.float32(0.1)
    before = params.copy()
    samples = samples_in("panels", X, Y, monkeypatch)
    engine.train(params, plan, samples, np.arange(23), 10, 0.7)
    np.testing.assert_array_equal(params, before)
    tiny = np.finfo(np.float64).tiny
    assert tiny / 2 > 0
    assert np.array([tiny]) / 2 > 0


@exact_bits
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_vector_sigmoid_is_the_scalar_one(dtype, rng):
    big = np.finfo(dtype).max
    edges = [-np.inf, -big, -800, -709, -87, -0.0, 0, 1e-30, 40, 87, 709, 800, big, np.inf, np.nan]
    z = np.concatenate([edges, 100 * rng.standard_normal(9985), np.linspace(-110, -80, 6000)])
    wanted = z.astype(dtype)[None].copy()
    kernels.sigmoid_rows(wanted, np.zeros(z.size, dtype))
    A = programs.zeros(z.size, dtype)
    A[...] = z
    at = programs.address(A)
    vectors_, code = A.size // vectors.LANES, kernels.SIGMOID
    run([(programs.ACTIVATE, at, 0, vectors_, 1, at, 0, code, 0)], 1, dtype)
    np.testing.assert_allclose(A, wanted[0], rtol=2 * np.finfo(dtype).eps)


@needs_panels
@exact_bits
def test_which_form_runs(rng, monkeypatch):
    """By the number of samples and the data; never by the number of threads."""
    n = engine.MANY
    X, Y = sparse(rng, np.float32, n, 37), rng.random((n, 10))

    def form(X, Y):
        samples = engine.Samples(X, Y)
        return samples.form, samples.listed

    assert form(X, Y) == ("panels", True)
    assert form(X + 1, Y) == ("panels", False)  # no pixel is zero
    assert form(X[1:], Y[1:]) == ("rows", False)  # few
    monkeypatch.setenv("FASTBP_LOOPS", "1")
    assert form(X, Y) == ("rows", False)


@exact_bits
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 10, 22])
def test_to_leave_out_zeros_changes_no_bit(dtype, m, rng, monkeypatch):
    plan, start, _, Y, _ = problem([137, 40, 10], 67, dtype)
    X, results = sparse(rng, np.float32, 67, 137), []
    for form in ("panels", "lists"):
        params = start.copy()
        samples = samples_in(form, X, Y, monkeypatch)
        engine.train(params, plan, samples, np.arange(67), m, 0.7)
        results.append((params, engine.feedforward(params, plan, X)))
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)


# ------------------------------------------------ drivers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", NETS, ids=str)
def test_feedforward_batch_against_the_oracle(dtype, sizes):
    plan, params, X, _, oracle = problem(sizes, 11, dtype)
    wanted = np.array([oracle.feedforward(x[:, None].astype(float))[:, 0] for x in X])
    for rows in (5, 11, 64):
        out = np.full((11, sizes[-1]), np.nan, dtype)
        work = np.full(rows * plan.forward_units, np.nan, dtype)
        args = (out, work, *pixels_of(X), np.arange(11), params, plan.table, rows, 5, none(sizes))
        kernels.feedforward_batch(*args)
        close(out, wanted, dtype)


def gradient(driver, plan, params, X, Y, chunk):
    m = len(X)
    partials = np.zeros((-(-m // chunk), plan.n_params), params.dtype)
    work = np.full(m * plan.units, np.nan, params.dtype)
    data = *pixels_of(X), engine._fixed(Y), np.arange(m)
    driver(partials, work, *data, params, plan.table, chunk, none(plan.sizes), 0)
    return partials[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", NETS, ids=str)
def test_backprop_batch_against_the_oracle(dtype, sizes):
    for m, chunk in ((1, 5), (5, 5), (11, 5), (11, 30)):
        plan, params, X, Y, oracle = problem(sizes, m, dtype)
        nabla = gradient(kernels.backprop_batch, plan, params, X, Y, chunk)
        close(nabla, oracle_gradient(oracle, X, Y), dtype)


def test_backprop_batch_is_the_finite_difference_of_the_cost():
    sizes = [4, 3, 3, 2]
    plan, params, X, Y, _ = problem(sizes, 5, np.float64)
    nabla = gradient(kernels.backprop_batch, plan, params, X, Y, 5)

    def cost(p):
        return 0.5 * np.sum((engine.feedforward(p, plan, X) - Y) ** 2)

    h = 1e-5
    for p in range(plan.n_params):
        step = np.zeros_like(params)
        step[p] = h
        numeric = (cost(params + step) - cost(params - step)) / (2 * h)
        assert nabla[p] == pytest.approx(numeric, rel=1e-6, abs=1e-9)


def steps(driver, plan, params, X, Y, m, eta=0.7):
    order = np.random.default_rng(5).permutation(len(X))
    work = np.full(m * plan.units, np.nan, params.dtype)
    params = params.copy()
    Y = engine._fixed(Y)
    data = *pixels_of(X), Y, order
    driver(params, work, *data, plan.table, m, eta, engine._chunk(m, 8), none(plan.sizes))
    return params, order


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", NETS, ids=str)
@pytest.mark.parametrize("m", [1, 3, 10, 23, 40])
def test_sgd_steps_against_the_oracle(dtype, sizes, m):
    """23 samples: a ragged last mini-batch, one that is exactly full, m > n."""
    plan, params, X, Y, oracle = problem(sizes, 23, dtype)
    seen, order = steps(kernels.sgd_steps, plan, params, X, Y, m)
    pairs = [(X[i][:, None].astype(float), Y[i][:, None].astype(float)) for i in order]
    for k in range(0, 23, m):
        oracle.step(pairs[k : k + m], 0.7)
    close(seen, flat_of(oracle.weights, oracle.biases), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[33, 13, 10], [50, 40, 30, 7]] if JIT else [[3, 2, 1]], ids=str)
@needs_threads
@pytest.mark.parametrize("threads", [1, 2, 3, 4] if JIT else [1])
def test_parallel_drivers_give_the_bits_of_the_serial_ones(dtype, sizes, threads):
    plan, params, X, Y, _ = problem(sizes, 131, dtype)
    out = [np.full((131, sizes[-1]), np.nan, dtype) for _ in range(2)]
    work = np.empty(65 * plan.forward_units, dtype)
    rest = (work, *pixels_of(X), np.arange(131), params, plan.table, 65, 10, none(sizes))
    before = kernels.get_num_threads()
    kernels.set_num_threads(threads)
    try:
        kernels.feedforward_batch(out[0], *rest)
        kernels.feedforward_batch_parallel(out[1], *rest)
        np.testing.assert_array_equal(*out)
        nabla = [
            gradient(driver, plan, params, X, Y, 15)
            for driver in (kernels.backprop_batch, kernels.backprop_batch_parallel)
        ]
        np.testing.assert_array_equal(*nabla)
        for m in (1, 10, 50, 200):
            serial, _ = steps(kernels.sgd_steps, plan, params, X, Y, m)
            parallel, _ = steps(kernels.sgd_steps_parallel, plan, params, X, Y, m)
            np.testing.assert_array_equal(serial, parallel)
    finally:
        kernels.set_num_threads(before)


# ------------------------------------------------ the book's order of samples


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000])
def test_shuffle_is_random_shuffle(n):
    random.seed(n)
    wanted = list(range(n))
    random.shuffle(wanted)
    state_after, next_draw = random.getstate(), random.random()

    random.seed(n)
    order = np.arange(n)
    engine.shuffle(order)
    assert order.tolist() == wanted
    assert random.getstate() == state_after
    assert random.random() == next_draw


def test_shuffle_goes_on_from_any_state_and_keeps_a_pending_gauss():
    random.seed(7)
    random.gauss(0, 1)  # leaves a second value in the state
    for n in (5, 700, 3):
        state = random.getstate()
        wanted = list(range(n))
        random.shuffle(wanted)
        after = random.getstate()
        random.setstate(state)
        order = np.arange(n)
        engine.shuffle(order)
        assert order.tolist() == wanted
        assert random.getstate() == after


# ------------------------------------------------ one compilation per kernel and dtype


@exact_bits
def test_every_depth_storage_and_flag_shares_one_specialisation():
    """Layers, stored types, read-only data and ragged batches must not compile anything new."""
    drivers = (kernels.feedforward_batch, kernels.backprop_batch, kernels.sgd_steps)
    for sizes in ([5, 4], [5, 6, 4], [9, 8, 7, 6, 3]):
        for stored in (np.float64, np.float32, np.uint8):
            for dtype in DTYPES:
                plan, params, X, Y, _ = problem(sizes, 7, dtype)
                X = np.abs(X).astype(stored)
                X.flags.writeable = Y.flags.writeable = False
                engine.feedforward(params, plan, X)
                engine.gradient(params, plan, X, Y)
                samples = engine.Samples(X, Y)
                engine.train(params, plan, samples, np.arange(7), 3, 0.1)
    every = np.arange(len(vectors.STEPS))[:, None]
    vectors.tiles_for(np.dtype(np.float64), every)
    before = list(vectors.run_program.signatures)
    for m in (3, 300):
        for stored in (np.float32, np.uint8):
            plan, params, X, Y, _ = problem([5, 6, 4], 300, np.float64)
            X = np.abs(X).astype(stored)
            engine.train(params, plan, engine.Samples(X, Y), np.arange(300), m, 0.1)
            engine.feedforward(params, plan, X)
    assert vectors.run_program.signatures == before
    for driver in drivers:
        dtypes = sorted(str(signature[0].dtype) for signature in driver.signatures)
        assert dtypes == ["float32", "float64"], driver.signatures

"""Each kernel against the oracle's formulas, an invariant or finite difference, awkward sizes.

This file also runs with the JIT off, where it must cover every line.
"""

import itertools
import random

import numpy as np
import pytest
from conftest import JIT
from numba import njit
from reference import Oracle, sigma

from fastbp import Pixels
from fastbp.data import parameters
from fastbp.distributed import tree
from fastbp.distributed.chunks import ChunkGradients
from fastbp.kernels import activations, jit, layers, layout, ranges, simd, sparse
from fastbp.kernels.layout import Matrix
from fastbp.kernels.simd import at
from fastbp.training.compute import engine, threads
from fastbp.training.compute.plans import plan_of
from fastbp.training.compute.rules import NO_RULES
from fastbp.training.compute.samples import NonFiniteInput, Samples

DTYPES = [np.float64, np.float32]
# One more and one less than a tile, a register and a vector, and 1.
SHAPES = list(itertools.product([1, 2, 3, 4, 7, 11], [1, 3, 16, 17, 33], [1, 5, 33, 129]))
SHAPES = SHAPES if JIT else SHAPES[::5]
NETS = [[1, 1], [37, 5], [7, 5, 4, 3], [16, 32, 48, 3], [33, 47, 31, 17, 4]]
NETS += [[128, 300, 280, 10], [65, 200, 20, 192, 150, 10]] if JIT else []
exact_bits = pytest.mark.skipif(not JIT, reason="a property of compiled code")


def close(a, b, dtype):
    rtol = 1e-10 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def randoms(rng, dtype, *shapes):
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def compiled(function):
    """Compile a function that calls kernels, as a driver is, but keep no code of it."""
    return njit(**jit.OPTIONS, _nrt=False, **jit.WHOLE)(function) if JIT else function


def problem(sizes, n, dtype, seed=0):
    """(plan, params, X, Y) of a random network and data set, and the oracle with these weights."""
    rng = np.random.default_rng(seed)
    plan = plan_of(tuple(sizes))
    params, X, Y = randoms(rng, dtype, plan.n_params, (n, sizes[0]), (n, sizes[-1]))
    Y = np.abs(np.tanh(Y))
    oracle = Oracle(sizes)
    for l, (w, b) in enumerate(parameters.layer_views(params.astype(float), plan)):
        oracle.weights[l], oracle.biases[l] = w, b[:, None]
    return plan, params, X, Y, oracle


def flat_of(weights, biases):
    return np.concatenate([a.ravel() for pair in zip(weights, biases) for a in pair])


def oracle_gradient(oracle, X, Y):
    total = 0
    for x, y in zip(X.astype(float), Y.astype(float)):
        nabla_b, nabla_w = oracle.gradient(x[:, None], y[:, None])
        total = total + flat_of(nabla_w, nabla_b)
    return total


def sparse_images(rng, stored, m, n_in, density=0.3):
    """Images with an empty first one, in a type that data may be stored in."""
    X = rng.random((m, n_in)) * (rng.random((m, n_in)) < density)
    X[0] = 0
    return (X * 255).astype(np.uint8) if stored is np.uint8 else X.astype(stored)


GUARDS, GUARD = 64, 12345


@pytest.fixture
def guards(monkeypatch):
    """Surround all memory of a call with values that must not change; NaN would show, if read."""
    buffers = []

    def guarded(count, dtype):
        whole = np.full(int(count) + 2 * GUARDS, GUARD, dtype)
        buffers.append(whole)
        whole[GUARDS:-GUARDS] = 0
        return whole[GUARDS:-GUARDS]

    monkeypatch.setattr(layout, "zeros", guarded)
    yield
    assert buffers
    for whole in buffers:
        assert (whole[:GUARDS] == GUARD).all()
        assert (whole[-GUARDS:] == GUARD).all()


# ------------------------------------------------ sigmoid


@compiled
def call_activate(a, m, n, stride, activation):
    activations.activate(Matrix(at(a, 0), m, stride), n, activation)


def activated(z, activation):
    """f(z) of a flat array of any length, by the kernel."""
    a = layout.zeros(-(-z.size // 64) * 64, z.dtype)
    a[: z.size] = z
    call_activate(a, 1, z.size, a.size, activation)
    return a[: z.size].copy()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_is_within_4_ulp(dtype, rng):
    most = 700 if dtype == np.float64 else 86
    z = np.concatenate(
        [np.linspace(-most, most, 100_000), rng.standard_normal(100_000), [0.0, -0.0, 1e-300]]
    ).astype(dtype)[:: 1 if JIT else 100]
    wide = z.astype(np.longdouble)
    exact = 1 / (1 + np.exp(-wide))
    ulp = np.spacing(exact.astype(dtype)).astype(np.longdouble)
    assert np.max(np.abs(activated(z, activations.SIGMOID) - exact) / ulp) <= 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_in_the_limit(dtype):
    big = np.finfo(dtype).max
    z = np.array([-np.inf, -big, -800, 800, big, np.inf, np.nan], dtype)
    wanted = np.array([0, 0, 0, 1, 1, 1, np.nan], dtype)
    np.testing.assert_array_equal(activated(z, activations.SIGMOID), wanted)
    edge = np.linspace(-110, -86, 50) if dtype == np.float32 else np.linspace(-760, -700, 50)
    edge = activated(edge.astype(dtype), activations.SIGMOID)
    assert ((edge >= 0) & (edge < np.finfo(dtype).tiny * 1e8)).all()


def test_sigmoid_is_symmetric_and_monotonic():
    z = np.linspace(-30, 30, 501)
    a, b = activated(z, activations.SIGMOID), activated(-z, activations.SIGMOID)
    np.testing.assert_allclose(a + b, 1, rtol=1e-15)
    assert (np.diff(a) >= 0).all()


# ------------------------------------------------ layers: the four equations


def packed(w, b, dtype):
    """(Layout, packed weights) of the layers n_in -> n_out -> 1: W of one, T of its transpose."""
    n_out, n_in = w.shape
    here = layout.Layout((n_in, n_out, 1), dtype, 1)
    return here, here.pack([(w, b), (np.zeros((1, n_out), dtype), np.zeros(1, dtype))])


def padded(A, dtype, extra=1):
    """A in rows padded to whole vectors, with room for `extra` columns."""
    v = simd.VECTOR // np.dtype(dtype).itemsize
    stride = -(-(A.shape[1] + extra) // v) * v
    flat = layout.zeros(A.shape[0] * stride, dtype).reshape(A.shape[0], stride)
    flat[:, : A.shape[1]] = A
    return flat


@compiled
def call_forward(Z, A, W, n_in, n_out, panels):
    z, a = Matrix(at(Z, 0), Z.shape[0], Z.shape[1]), Matrix(at(A, 0), A.shape[0], A.shape[1])
    layers.set_bias_inputs(a, n_in)
    layers.forward_layer(z, a, Matrix(at(W, 0), panels, W.size // panels), n_in, n_out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_forward_layer_at_awkward_sizes(dtype, rng, guards):
    for m, n_out, n_in in SHAPES:
        A, w, b = randoms(rng, dtype, (m, n_in), (n_out, n_in), n_out)
        here, weights = packed(w, b, dtype)
        Z, W = padded(np.zeros((m, n_out)), dtype), here._panels(weights, 1).reshape(-1)
        call_forward(Z, padded(A, dtype), W, n_in, n_out, here.table[1, layout.PANELS])
        close(Z[:, :n_out], A.astype(float) @ w.T.astype(float) + b, dtype)


@compiled
def call_backward(D, D_out, T, n, n_out, strips):
    d = Matrix(at(D, 0), D.shape[0], D.shape[1])
    d_out = Matrix(at(D_out, 0), D_out.shape[0], D_out.shape[1])
    layers.backward_layer(d, d_out, Matrix(at(T, 0), strips, T.size // strips), n, n_out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_layer_is_BP2_at_awkward_sizes(dtype, rng, guards):
    for m, n_out, n in SHAPES:
        Delta_out, w = randoms(rng, dtype, (m, n_out), (n_out, n))
        here = layout.Layout((1, n, n_out), dtype, 1)
        zeros = np.zeros((n, 1), dtype), np.zeros(n, dtype)
        T = here._transposed(here.pack([zeros, (w, np.zeros(n_out, dtype))]), 2)
        D = padded(np.zeros((m, n)), dtype)
        call_backward(D, padded(Delta_out, dtype), T.reshape(-1), n, n_out, len(T))
        close(D[:, :n], Delta_out.astype(float) @ w, dtype)


@compiled
def call_update(W, A, S, n_in, n_out, panels, k0, rows):
    a, v = Matrix(at(A, 0), A.shape[0], A.shape[1]), simd.lanes(at(W, 0))
    layers.set_bias_inputs(a, n_in)
    s = Matrix(at(S, 0), panels, A.shape[0] * v)
    w = Matrix(at(W, 0), panels, W.size // panels)
    layers.update_layer(w, a, s, n_out, k0, rows, A.shape[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_update_layer_is_BP3_and_BP4_at_awkward_sizes(dtype, rng, guards):
    for m, n_out, n_in in SHAPES:
        A, w, b, S = randoms(rng, dtype, (m, n_in), (n_out, n_in), n_out, (m, n_out))
        here, weights = packed(w, b, dtype)
        W, v = here._panels(weights, 1).reshape(-1), here.lanes
        count = here.table[1, layout.PANELS]
        wide = layout.zeros(m * count * v, dtype).reshape(m, count * v)
        wide[:, :n_out] = S
        S_packed = np.ascontiguousarray(wide.reshape(m, count, v).transpose(1, 0, 2)).reshape(-1)
        half = n_in // 2
        call_update(W, padded(A, dtype), S_packed, n_in, n_out, count, 0, half)
        call_update(W, padded(A, dtype), S_packed, n_in, n_out, count, half, n_in + 1 - half)
        here.unpack(weights, [(w2 := w.copy(), b2 := b.copy())])
        close(w2, w + S.T.astype(float) @ A, dtype)
        close(b2, b + S.sum(axis=0, dtype=float), dtype)


@compiled
def call_output_delta(D, A, Y, batch, n):
    d, a = Matrix(at(D, 0), D.shape[0], D.shape[1]), Matrix(at(A, 0), A.shape[0], A.shape[1])
    layers.output_delta(d, a, at(Y, 0), at(batch, 0), n)


@compiled
def call_multiply_slope(D, A, S, n, rate, keep, slope):
    d, a = Matrix(at(D, 0), D.shape[0], D.shape[1]), Matrix(at(A, 0), A.shape[0], A.shape[1])
    v = simd.lanes(d.place)
    s = Matrix(at(S, 0), D.shape[1] // v, D.shape[0] * v)
    layers.multiply_slope(d, a, s, n, rate, keep, slope)


@pytest.mark.parametrize("dtype", DTYPES)
def test_output_delta_is_BP1(dtype, rng, guards):
    for m, n in itertools.product([1, 4], [1, 3, 10, 40]):
        A, Y = randoms(rng, dtype, (m, n), (m + 3, n))
        A = sigma(A).astype(dtype)
        batch = rng.permutation(m + 3)[:m]
        D, a = padded(np.full((m, n), np.nan), dtype, 0), padded(A, dtype, 0)
        S = layout.zeros(D.size, dtype)
        call_output_delta(D, a, Y, batch, n)
        call_multiply_slope(D, a, S, n, -0.5, 1.0, activations.SIGMOID)
        wanted = (A - Y[batch]) * A * (1 - A)
        close(D[:, :n], wanted, dtype)
        assert (D[:, n:] == 0).all()
        v = simd.VECTOR // np.dtype(dtype).itemsize
        S = S.reshape(-1, m, v).transpose(1, 0, 2).reshape(m, -1)
        close(S[:, :n], -0.5 * wanted, dtype)


@exact_bits
def test_what_pads_the_deltas_forgets_numbers_that_were_not_finite(rng):
    """Else weights that are finite again would stay beside some that are not."""
    D, A = padded(np.full((2, 3), np.nan), np.float64, 0), padded(rng.random((2, 3)), np.float64, 0)
    D[...] = np.nan
    call_output_delta(D, A, rng.random((2, 3)), np.arange(2), 3)
    assert np.isfinite(D).all()


@compiled
def call_transpose(T, W, n_out, panels, k0, rows):
    t = Matrix(at(T, 0), T.shape[0], T.shape[1])
    layers.transpose_weights(t, Matrix(at(W, 0), panels, W.size // panels), n_out, k0, rows)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed_weights_are_those_of_the_layout(dtype, rng, guards):
    for n_in, n_out in ((5, 3), (16, 40), (70, 33)):
        w, b = randoms(rng, dtype, (n_out, n_in), n_out)
        here = layout.Layout((1, n_in, n_out), dtype, 1)
        zeros = np.zeros((n_in, 1), dtype), np.zeros(n_in, dtype)
        weights, v = here.pack([zeros, (w, b)]), here.lanes
        wanted, W = here._transposed(weights, 2), here._panels(weights, 2)
        for strip, k in zip(wanted, range(0, n_in, v)):
            T = layout.zeros(strip.size, dtype).reshape(strip.shape)
            call_transpose(T, W.reshape(-1), n_out, len(W), k, min(v, n_in - k))
            rows = min(v, n_in - k)
            np.testing.assert_array_equal(T[:n_out, :rows], strip[:n_out, :rows])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_layout_writes_transposed_weights_anew(dtype, rng):
    sizes = (7, 70, 33, 5)
    here = layout.Layout(sizes, dtype, 1)
    shapes = list(zip(sizes[1:], sizes))
    layers = [(rng.standard_normal(s).astype(dtype), np.ones(s[0], dtype)) for s in shapes]
    wanted = here.pack(layers)
    weights = wanted.copy()
    weights[here.n_packed :] = 9
    here.write_transposed(weights)
    np.testing.assert_array_equal(weights, wanted)
    for l, (w, _) in enumerate(layers, 1):
        panels = here.weights_into(weights, l)
        np.testing.assert_array_equal(np.hstack(list(panels))[:, : len(w)], w.T)


# ------------------------------------------------ the first layer


@compiled
def call_read(columns, starts, values, pixels, kind, n, scale, check, batch, rows):
    X = layout.PixelSource(at(pixels, 0), kind, n, scale, check, at(columns, 0), at(batch, 0))
    sparse.list_nonzero(at(columns, 0), at(starts, 0), X, at(batch, 0), rows)
    count = starts[n // layout.KC + 1]
    return sparse.read_values(at(values, 0), at(columns, 0), count, X, at(batch, 0), rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 15, 63, 64, 65, 128, 300] if JIT else [37, 128])
def test_a_group_lists_what_is_not_zero_in_all_of_it(dtype, stored, n, rng, guards):
    X = sparse_images(rng, stored, 7, n)
    if stored is not np.uint8:
        X[1, 0] = np.nan
    pixels, kind, *_ = Samples(X, X).stored
    scale = dtype(1 / 256 if stored is np.uint8 else 1)
    for batch in ([0], [1], [2, 6], [1, 4, 5]):
        rows = len(batch)
        columns = layout.zeros(n + 1 + layout.UNROLL, np.int32)
        starts = layout.zeros(n // layout.KC + 2, np.int32)
        values = layout.zeros(rows * (n + 1), dtype)
        finite = call_read(
            columns, starts, values, pixels, kind, n, scale, dtype(1), np.array(batch),
            np.intp(rows),
        )  # fmt: skip
        count = starts[-1]
        lit = np.flatnonzero((X[batch] != 0).any(axis=0))
        np.testing.assert_array_equal(columns[:count], [*lit, n])  # the last is the biases'
        for b, start in enumerate(starts[:-1]):
            assert start == np.searchsorted(columns[:count], b * layout.KC)
        wanted = np.vstack([X[batch].astype(dtype).T[lit] * scale, np.ones(rows, dtype)])
        np.testing.assert_array_equal(values[: wanted.size].reshape(wanted.shape), wanted)
        assert finite == np.isfinite(wanted).all()


@compiled
def call_all_in_range(numbers, n, check):
    return sparse.all_in_range(at(numbers, 0), n, check)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 15, 16, 33, 64, 300])
def test_numbers_beyond_16_or_not_finite_are_not_in_range(dtype, n):
    numbers = layout.zeros(n, dtype)
    numbers[:] = np.tile([16, -16, 0, 1e-30], n)[:n]
    first, later = dtype(np.finfo(dtype).max / 16), dtype(1)
    assert call_all_in_range(numbers, np.intp(n), first)
    for k in {0, n // 2, n - 1}:
        for x in (16.1, -17, 1e30, np.nan, np.inf, -np.inf):
            changed = numbers.copy()
            changed[k] = x
            with np.errstate(all="ignore"):
                assert not call_all_in_range(changed, np.intp(n), first)
                assert bool(call_all_in_range(changed, np.intp(n), later)) == np.isfinite(x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", NETS, ids=str)
def test_pack_and_unpack_change_nothing(dtype, sizes, rng):
    plan = plan_of(tuple(sizes))
    (params,) = randoms(rng, dtype, plan.n_params)
    here = plan.layout(np.dtype(dtype), 3)
    weights = here.pack(parameters.layer_views(params, plan))
    assert weights.ctypes.data % 64 == 0
    back = np.empty_like(params)
    here.unpack(weights, parameters.layer_views(back, plan))
    np.testing.assert_array_equal(back, params)
    assert np.count_nonzero(weights[: here.n_packed]) == plan.n_params  # all the rest is zero
    places = here.places(parameters.layer_views(np.arange(1.0, plan.n_params + 1), plan))
    np.testing.assert_array_equal(weights[places], params)


# ------------------------------------------------ drivers

BATCHES = [1, 4, 10, 22, 40] if JIT else [1, 5]


def read_sparsely(is_sparse, monkeypatch):
    monkeypatch.setattr("fastbp.training.compute.samples.MOST_NONZERO", 2 if is_sparse else 0)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", NETS, ids=str)
@pytest.mark.parametrize("m", BATCHES)
def test_sgd_steps_against_the_oracle(is_sparse, dtype, sizes, m, rng, monkeypatch, guards):
    """23 samples: a ragged last mini-batch, m > n."""
    read_sparsely(is_sparse, monkeypatch)
    n = 23 if JIT else 7
    plan, params, _, Y, oracle = problem(sizes, n, dtype)
    X, order = sparse_images(rng, np.float32, n, sizes[0]), rng.permutation(n)
    engine.train(params, plan, Samples(X, Y), order, m, 0.1)
    pairs = [(X[i][:, None].astype(float), Y[i][:, None].astype(float)) for i in order]
    for k in range(0, n, m):
        oracle.step(pairs[k : k + m], 0.1)
    close(params, flat_of(oracle.weights, oracle.biases), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", NETS, ids=str)
@pytest.mark.parametrize("n", [1, 5, 23] if JIT else [8])
def test_feedforward_against_the_oracle(dtype, sizes, n, monkeypatch, guards):
    monkeypatch.setattr(engine, "BATCH", 7)
    plan, params, X, _, oracle = problem(sizes, n, dtype)
    wanted = np.array([oracle.feedforward(x[:, None].astype(float))[:, 0] for x in X])
    close(engine.feedforward(params, plan, X), wanted, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", NETS, ids=str)
@pytest.mark.parametrize("n", [1, 5, 23] if JIT else [8])
def test_backprop_batch_against_the_oracle(dtype, sizes, n, monkeypatch, guards):
    monkeypatch.setattr(engine, "BATCH", 7)
    plan, params, X, Y, oracle = problem(sizes, n, dtype)
    before = params.copy()
    nabla = engine.gradient(params, plan, X, Y)
    wanted = oracle_gradient(oracle, X, Y)
    scale = 1 if dtype == np.float64 else np.abs(wanted).max()
    close(nabla / scale, wanted / scale, dtype)
    np.testing.assert_array_equal(params, before)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", NETS[2:], ids=str)
def test_chunks_are_summed_in_the_order_of_the_tree(
    n_threads, is_sparse, dtype, sizes, monkeypatch, guards
):
    """To the bit, for each part of the tree; there are empty chunks, too."""
    read_sparsely(is_sparse, monkeypatch)
    monkeypatch.setattr(threads, "mode", "never" if n_threads == 1 else "always")
    monkeypatch.setattr(threads, "usable", lambda limit: n_threads)
    for m, chunks in ((34, 5), (8, 4), (7, 6), (1, 2)):
        plan, params, _, Y, _ = problem(sizes, m + 3, dtype)
        X, leaves = sparse_images(np.random.default_rng(1), dtype, m + 3, sizes[0]), {}
        order = np.arange(m + 3)[::-1].copy()
        for c, (first, last) in enumerate(itertools.pairwise(layout.chunk_bounds(m, chunks)[1])):
            part = order[3:][first:last]
            nabla = np.zeros_like(params)
            if len(part):
                nabla = engine.gradient(params, plan, X[part], Y[part], n_threads)
            leaves[c, c + 1] = nabla
        packed = plan.layout(np.dtype(dtype), m)
        weights = packed.pack(parameters.layer_views(params, plan))
        nodes = tree.nodes_within((0, chunks), (0, chunks - 1)) + [(0, chunks)]
        how = weights, Samples(X, Y), order, nodes, m, chunks, n_threads, NO_RULES
        sums, found = ChunkGradients(plan, *how), np.empty_like(params)
        for node in nodes * 2:  # what stands there from before is of no account
            packed.unpack(sums.sum_node(node, order, 3, m + 3), parameters.layer_views(found, plan))
            expected = tree.total(node, {key: leaf.copy() for key, leaf in leaves.items()})
            np.testing.assert_array_equal(found, expected)


@compiled
def call_group_start(g, size):
    return layout.group_start(g, size)


def test_chunks_are_whole_groups_of_samples():
    """In a mini-batch, and in a part of it that begins and ends with a chunk."""
    for m, chunks in itertools.product([*range(1, 30), 512], (1, 2, 5, 12)):
        groups, starts = layout.chunk_bounds(m, chunks)
        assert (groups[-1], starts[-1]) == (-(-m // simd.MR), m)
        for first, last in itertools.combinations(range(chunks + 1), 2):
            size, begin = int(starts[last] - starts[first]), groups[first]
            for c in range(first, last + 1):
                sample = call_group_start(int(groups[c] - begin), size)
                assert sample == starts[c] - starts[first], (m, chunks, first, last)


def test_backprop_batch_is_the_finite_difference_of_the_cost():
    sizes = [4, 3, 3, 2]
    plan, params, X, Y, _ = problem(sizes, 5, np.float64)
    nabla = engine.gradient(params, plan, X, Y)
    numeric = engine.quotients(params, plan, X, Y, np.arange(plan.n_params), 1e-5)
    np.testing.assert_allclose(nabla, numeric, rtol=1e-6, atol=1e-9)

    def cost(p):
        return 0.5 * np.sum((engine.feedforward(p, plan, X) - Y) ** 2)

    for p in range(0, plan.n_params, 3):
        step = np.zeros_like(params)
        step[p] = 1e-5
        slow = (cost(params + step) - cost(params - step)) / 2e-5
        assert numeric[p] == pytest.approx(slow, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", [np.uint8, np.float32, np.float64])
def test_every_stored_type_trains_alike(is_sparse, dtype, stored, rng, monkeypatch):
    read_sparsely(is_sparse, monkeypatch)
    plan, params, _, Y, _ = problem([37, 20, 10], 23, dtype)
    X = sparse_images(rng, stored, 23, 37)
    scale = 1 / 256 if stored is np.uint8 else 1.0
    other = params.copy()
    values = (X * scale).astype(dtype)
    X = Pixels(X) if stored is np.uint8 else X
    for data, result in ((X, params), (values, other)):
        engine.train(result, plan, Samples(data, Y), np.arange(23), 5, 0.7)
    np.testing.assert_array_equal(params, other)  # 1/256 is a power of two
    assert np.array_equal(
        engine.feedforward(params, plan, X), engine.feedforward(params, plan, values)
    )


def test_bytes_mean_what_they_say(rng):
    plan, params, _, Y, _ = problem([5, 4, 3], 6, np.float64)
    X = rng.integers(0, 4, (6, 5)).astype(np.uint8)
    for function in (engine.feedforward, lambda *a: engine.gradient(*a, Y)):
        a, b = function(params, plan, X), function(params, plan, X.astype(float))
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", NETS, ids=str)
def test_threads_give_the_bits_of_one(is_sparse, dtype, sizes, rng, monkeypatch, guards):
    read_sparsely(is_sparse, monkeypatch)
    n, m = (67, 13) if JIT else (8, 5)
    plan, start, _, Y, _ = problem(sizes, n, dtype)
    X, results = sparse_images(rng, np.float32, n, sizes[0]), []
    for n_threads in (1, 2, 3, 4):
        monkeypatch.setattr(threads, "mode", "never" if n_threads == 1 else "always")
        monkeypatch.setattr(threads, "usable", lambda limit, n=n_threads: n)
        params = start.copy()
        engine.train(params, plan, Samples(X, Y), np.arange(n), m, 0.7)
        out, nabla = engine.feedforward(params, plan, X), engine.gradient(params, plan, X, Y)
        results.append((params, out, nabla))
    for result in results[1:]:
        for one, other in zip(results[0], result):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_input_that_is_not_finite_is_found(n_threads, is_sparse, dtype, bad, rng, monkeypatch):
    """In each layout, by whichever thread reads it."""
    read_sparsely(is_sparse, monkeypatch)
    monkeypatch.setattr(threads, "mode", "never" if n_threads == 1 else "always")
    monkeypatch.setattr(threads, "usable", lambda limit: n_threads)
    plan, params, _, Y, _ = problem([37, 5], 8, dtype)
    for i, k in ((0, 0), (3, 36), (7, 20)):
        X = sparse_images(rng, np.float64, 8, 37)
        X[i, k] = bad
        with np.errstate(all="ignore"), pytest.raises(NonFiniteInput):
            engine.train(params, plan, Samples(X, Y), np.arange(8), 4, 0.0)


@exact_bits
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 10, 22])
def test_to_leave_out_zeros_changes_no_bit(dtype, m, rng, monkeypatch):
    plan, start, _, Y, _ = problem([137, 40, 10], 67, dtype)
    X, results = sparse_images(rng, np.float32, 67, 137), []
    for is_sparse in (False, True):
        read_sparsely(is_sparse, monkeypatch)
        params = start.copy()
        engine.train(params, plan, Samples(X, Y), np.arange(67), m, 0.7)
        results.append((params, engine.feedforward(params, plan, X)))
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)


def test_the_first_layer_is_sparse_where_most_pixels_are_zero(rng):
    X, Y = sparse_images(rng, np.float32, 40, 37), rng.random((40, 3))
    assert Samples(X, Y).sparse
    assert not Samples(X + 1, Y).sparse


@exact_bits
@pytest.mark.parametrize("dtype", DTYPES)
def test_saturated_neurons_stop_learning_but_nothing_else(dtype, rng):
    """Deltas too small for the type count as zero; the caller's float mode is left as it was."""
    plan, params, _, Y, _ = problem([37, 5], 23, dtype)
    params[...] = 1000
    X, before = sparse_images(rng, np.float32, 23, 37) + np.float32(0.1), params.copy()
    engine.train(params, plan, Samples(X, Y), np.arange(23), 10, 0.7)
    np.testing.assert_array_equal(params, before)
    tiny = np.finfo(np.float64).tiny
    assert tiny / 2 > 0
    assert np.array([tiny]) / 2 > 0


@pytest.mark.skipif(JIT, reason="with the JIT, guard values tell")
def test_without_the_jit_a_matrix_ends_with_its_rows():
    a = np.arange(64.0)
    A = layout.matrix(a, 0, 2, 16)
    assert layout.row(A, 1)[15] == 31
    for wrong in (
        lambda: layout.row(A, 2),
        lambda: layout.matrix(a, 16, 4, 16),
        lambda: layout.row(A, 1)[16],
        lambda: simd.load(layout.row(A, 1), 8),
        lambda: simd.store(layout.row(A, 1), 8, np.zeros(16)),
        lambda: at(a, 65),
    ):
        with pytest.raises(IndexError):
            wrong()


def test_parts_of_a_layer_are_all_of_it():
    for count, n in itertools.product((1, 2, 5, 16), (1, 2, 3)):
        parts = [share(count, t, n) for t in range(n)]
        assert [k for first, last in parts for k in range(first, last)] == list(range(count))
    for size in range(1, 30):
        starts = [first_of(g, size) for g in range(-(-size // simd.MR) + 1)]
        assert starts[0] == 0
        assert starts[-1] == size
        assert {b - a for a, b in itertools.pairwise(starts)} <= ({2, 3} if size > 1 else {1})


share = compiled(lambda count, t, n: ranges.divide(count, t, n))
first_of = compiled(lambda g, size: layout.group_start(g, size))


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


# ------------------------------------------------ one compilation per driver and type


@exact_bits
def test_every_depth_storage_and_flag_shares_one_specialisation():
    """Layers, stored types, read-only data and ragged batches must not compile anything new."""
    from fastbp.kernels import drivers

    names = "sgd_steps", "feedforward_batch", "backprop_batch"
    for sizes in ([5, 4], [5, 6, 4], [9, 8, 7, 6, 3]):
        for stored, dtype in itertools.product((np.float64, np.float32, np.uint8), DTYPES):
            plan, params, X, Y, _ = problem(sizes, 7, dtype)
            X = np.abs(X).astype(stored)
            X.flags.writeable = Y.flags.writeable = False
            engine.feedforward(params, plan, X)
            engine.gradient(params, plan, X, Y)
            engine.train(params, plan, Samples(X, Y), np.arange(7), 3, 0.1)
    for name in names:  # sgd_steps with rules, too
        signatures = getattr(drivers, name).signatures
        assert len(signatures) <= (4 if name == "sgd_steps" else 2), signatures

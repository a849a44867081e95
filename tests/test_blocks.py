"""The order of shuffle="blocks", and training by it: against the oracle, and any source of data."""

import random

import numpy as np
import pytest
from conftest import JIT
from formats import digits
from helpers import assert_equal_arrays, columns, seed_both
from reference import Oracle
from test_kernels import guards  # noqa: F401

from fastbp import Pixels, network, network2
from fastbp.data import file_rows
from fastbp.expand_mnist import Deformation
from fastbp.kernels import layout
from fastbp.training import run
from fastbp.training.compute import deform_calls, threads
from fastbp.training.epoch_data import new_data, orders
from fastbp.training.epoch_data.orders import BlockOrder
from fastbp.training.epoch_data.windows import Windows

SIZES = [784, 12, 10] if JIT else [784, 3, 10]
N, M = (431, 10) if JIT else (47, 5)
ROWS = 7 if JIT else 3  # per block


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(orders, "BLOCK_BYTES", 784 * ROWS + 5)
    monkeypatch.setattr(orders, "WINDOW_BYTES", 784 * 10 * ROWS)
    monkeypatch.setattr(file_rows, "PART_BYTES", 784 * 64)


@pytest.fixture
def data():
    images, labels = digits(N, 3)
    return images.reshape(N, 784), labels


def mapped(path, array, **how):
    """Write an array to an .npy file, and return it as a memory map."""
    np.save(path, array)
    return np.load(path, mmap_mode=how.get("mode", "r"))


# ------------------------------------------------ the order


def samples_of(order):
    return np.concatenate([order.samples_of(w) for w in range(order.n_windows)])


@pytest.mark.parametrize("n", [1, 2, 6, 7, 8, 69, 70, 71, 500])
@pytest.mark.parametrize("m", [1, 3, 10, 70, 71, 10**9])
def test_it_is_a_permutation_in_windows_of_whole_mini_batches(n, m):
    random.seed(1)
    order = BlockOrder(n, 784, m)
    for _ in range(2):
        order.shuffle()
        assert sorted(samples_of(order).tolist()) == list(range(n))
    sizes = [order.size_of(w) for w in range(order.n_windows)]
    assert sum(sizes) == n
    assert all(size % min(m, n) == 0 for size in sizes[:-1])


@pytest.mark.parametrize("n", [1, 8, 71, 500])
@pytest.mark.parametrize("m", [1, 10, 71])
@pytest.mark.parametrize("chunks", [1, 2, 5])
def test_each_chunk_has_rows_of_its_own_part_of_a_window(n, m, chunks):
    random.seed(1)
    order = BlockOrder(n, 784, m, chunks)
    order.shuffle()
    assert sorted(samples_of(order).tolist()) == list(range(n))
    for w in range(order.n_windows):
        within, parts = order.within(w), [order.rows_of(w, (c, c + 1)) for c in range(chunks)]
        assert order.rows_of(w, (0, chunks)) == (0, order.size_of(w))
        for start in range(0, len(within), order.m):
            batch = within[start : start + order.m]
            bounds = layout.chunk_bounds(len(batch), chunks)[1]
            for (first, last), a, b in zip(parts, bounds, bounds[1:]):
                assert all(first <= row < last for row in batch[a:b])
        pieces = [order.pieces(w, part) for part in parts]
        assert sum(count for piece in pieces for _, count in piece) == order.size_of(w)


def test_it_follows_from_the_seed_alone_and_differs_from_epoch_to_epoch():
    def epochs(seed):
        random.seed(seed)
        order, found = BlockOrder(500, 784, 10), []
        for _ in range(3):
            order.shuffle()
            found.append(samples_of(order).tolist())
        return found, random.random()

    assert epochs(1) == epochs(1)
    first, second, third = epochs(1)[0]
    assert first != second != third != first
    assert first != epochs(2)[0][0]


def test_pieces_are_blocks_and_a_window_holds_what_they_hold():
    random.seed(2)
    order = BlockOrder(500, 784, 10)
    order.shuffle()
    starts = [first for w in range(order.n_windows) for first, _ in order.pieces(w)]
    assert starts != sorted(starts)
    for w in range(order.n_windows):
        pieces = order.pieces(w)
        assert all(0 < count <= ROWS for _, count in pieces)
        assert sum(count for _, count in pieces) == order.size_of(w)
        rows = {first + i for first, count in pieces for i in range(count)}
        assert set(order.samples_of(w).tolist()) == rows


def test_every_sample_may_come_anywhere():
    """Over many epochs the mean place of each sample is the middle, as by the book's order."""
    random.seed(3)
    order, n, total = BlockOrder(200, 784, 10), 200, np.zeros(200)
    for _ in range(1000):
        order.shuffle()
        total[samples_of(order)] += np.arange(n)
    assert np.abs(total / 1000 - (n - 1) / 2).max() < 5 * n / np.sqrt(12 * 1000)


def test_a_checkpoint_holds_the_key():
    order = BlockOrder(500, 784, 10)
    order.shuffle()
    again = BlockOrder(500, 784, 10).from_array(order.to_array())
    assert samples_of(again).tolist() == samples_of(order).tolist()
    with pytest.raises(ValueError, match="its order is the book's, expected one of blocks"):
        order.from_array(np.arange(500))
    with pytest.raises(ValueError, match="its order is one of blocks, expected the book's"):
        orders.BookOrder(500).from_array(order.to_array())


# ------------------------------------------------ training


def trained(data, dtype=np.float64, epochs=2, n_threads=None, **how):
    seed_both(1)
    net = network.Network(SIZES, dtype=dtype, threads=n_threads)
    net.SGD(data, epochs, M, 1.5, shuffle="blocks", verbose=False, **how)
    return net, random.random()


def assert_same(one, other):
    assert_equal_arrays(one[0].weights + one[0].biases, other[0].weights + other[0].biases)
    assert one[1:] == other[1:]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_it_trains_as_the_oracle_does_in_that_order(data, dtype, tmp_path, guards):  # noqa: F811
    images, labels = data
    seed_both(1)
    oracle, order = Oracle(SIZES), BlockOrder(N, 784, M)
    pairs = columns(images / 256, np.eye(10)[labels])
    for _ in range(2):
        order.shuffle()
        rows = samples_of(order).tolist()
        for start in range(0, N, M):
            oracle.step([pairs[i] for i in rows[start : start + M]], 1.5)
    images = mapped(tmp_path / "x.npy", images)
    net, _ = trained((Pixels(images), labels), dtype)
    tolerance = 1e-10 if dtype == np.float64 else 1e-4
    for ours, theirs in zip(net.weights + net.biases, oracle.weights + oracle.biases):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


SOURCES = {
    "Pixels in memory": lambda path, x: Pixels(x),
    "float32": lambda path, x: (x / 256).astype(np.float32),
    "a map": lambda path, x: Pixels(mapped(path, x)),
    "a map of float32": lambda path, x: mapped(path, (x / 256).astype(np.float32)),
    "a part of a map": lambda path, x: Pixels(mapped(path, np.vstack([x[:5], x, x[:9]]))[5:-9]),
    "a map as an array": lambda path, x: Pixels(np.asarray(mapped(path, x))),
    "a map with changes": lambda path, x: Pixels(with_a_change(mapped(path, x, mode="c"), x)),
    "every other row of a map": lambda path, x: Pixels(mapped(path, np.repeat(x, 2, 0))[::2]),
    "raw bytes": lambda path, x: Pixels(raw_map(path, x)),
}


def with_a_change(copy_on_write, x):
    copy_on_write[3] = 0
    copy_on_write[3] = x[3]
    return copy_on_write


def raw_map(path, x):
    path.write_bytes(b"abc" + x.tobytes())
    return np.memmap(path, np.uint8, "r", 3, x.shape)


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_bits_from_any_source(name, data, tmp_path, monkeypatch):
    images, labels = data
    wanted = trained((Pixels(images), labels), np.float32)
    X = SOURCES[name](tmp_path / "x.npy", images)
    # float32 blocks hold a fourth of the rows
    if X.dtype == np.float32:
        monkeypatch.setattr(orders, "BLOCK_BYTES", 784 * 4 * ROWS + 20)
        monkeypatch.setattr(orders, "WINDOW_BYTES", 784 * 40 * ROWS)
    Y = mapped(tmp_path / "y.npy", np.eye(10, dtype=np.float32)[labels])
    for y in (labels, labels[:, None], Y, np.asarray(Y, np.float64)):
        assert_same(trained((X, y), np.float32), wanted)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4])
def test_the_same_bits_for_any_number_of_threads(n_threads, data, tmp_path, monkeypatch):
    images, labels = data
    wanted = trained((Pixels(images), labels))
    monkeypatch.setattr(threads, "mode", "never" if n_threads == 1 else "always")
    monkeypatch.setattr(threads, "usable", lambda limit: n_threads)
    X = Pixels(mapped(tmp_path / "x.npy", images))
    assert_same(trained((X, labels), n_threads=n_threads), wanted)


def test_changes_in_a_map_that_is_written_to_are_seen(data, tmp_path):
    """Mode "c": changes are in memory only. Mode "r+": in the file, too."""
    images, labels = data
    other = images.copy()
    other[:50] //= 2
    wanted = trained((Pixels(other), labels))
    for mode in ("c", "r+"):
        X = mapped(tmp_path / "x.npy", images, mode=mode)
        X[:50] //= 2
        assert_same(trained((Pixels(X), labels)), wanted)


@pytest.mark.slow
def test_chapter_3_and_what_it_monitors(data, tmp_path):
    """Masks of dropout, momentum, weight decay, costs and counts: the same from file and memory."""
    images, labels = data

    def curves(X, T):
        seed_both(4)
        net = network2.Network(SIZES, activation="tanh")
        history = net.SGD(
            (X, labels), 2, M, 0.1, 2.0, (T, labels[:N]), True, True, True, True, momentum=0.5,
            dropout=0.25, shuffle="blocks", monitor_every=4, verbose=False,
        )  # fmt: skip
        return net, history

    one, wanted = curves(Pixels(images), Pixels(images))
    other, seen = curves(Pixels(mapped(tmp_path / "x.npy", images)), Pixels(images))
    assert_equal_arrays(one.weights, other.weights)
    assert wanted[1::2] == seen[1::2]  # counts
    np.testing.assert_allclose(wanted[::2], seen[::2], rtol=1e-12)  # sums of parts


@pytest.mark.slow
@pytest.mark.parametrize("windows", [1, 4])
def test_masks_of_dropout_differ_from_window_to_window(windows, data, monkeypatch):
    """The samples of a window are numbered from 0: without keys of its own their masks recur."""
    images, labels = data
    monkeypatch.setattr(orders, "WINDOW_BYTES", 784 * (N + M) // windows)
    seen = []
    for distance in (run.WINDOW_KEY_STRIDE, 0):
        monkeypatch.setattr(run, "WINDOW_KEY_STRIDE", distance)
        seed_both(1)
        net = network2.Network(SIZES)
        how = dict(dropout=0.5, shuffle="blocks", verbose=False)
        net.SGD((Pixels(images), labels), 1, M, 0.1, **how)
        seen.append(net.weights[1])
    assert (seen[0] == seen[1]).all() == (windows == 1)


# ------------------------------------------------ deformed images


DEFORMED = dict(elastic=(20, 4), rotation=10, halved=(3,))


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("as_map", [False, True])
def test_deformed_images_of_windows_are_those_of_their_numbers(
    as_map, n_threads, data, tmp_path, monkeypatch
):
    """Image i of epoch e, whichever window it is in, is Deformation.apply_from(i, ..., e)'s."""
    images, labels = data
    monkeypatch.setattr(threads, "mode", "never" if n_threads == 1 else "always")
    monkeypatch.setattr(threads, "usable", lambda limit: n_threads)
    monkeypatch.setattr(deform_calls, "FEW_PIXELS", 0)
    seen, real = [], Windows.window

    def window(self, order, w):
        samples, within = real(self, order, w)
        if len(seen) < 2 * order.n_windows and (order.key, w) not in [key for key, _ in seen]:
            seen.append(((order.key, w), samples.X.array[within].copy()))
        return samples, within

    monkeypatch.setattr(Windows, "window", window)
    X = mapped(tmp_path / "x.npy", images) if as_map else images
    random.seed(1)
    seed, order = new_data.seed_of_run(), BlockOrder(N, 784, M)
    net, _ = trained((Pixels(X), labels), n_threads=n_threads, deform=DEFORMED)
    chosen, start = Deformation(**DEFORMED), iter(seen)
    seed_both(1)
    by_hand = network.Network(SIZES)
    for epoch in range(2):
        order.shuffle()
        for w in range(order.n_windows):
            key, array = next(start)
            assert key == (order.key, w)
            numbers = order.samples_of(w)
            for row, i in zip(array, numbers.tolist(), strict=True):
                one = slice(i, i + 1)
                made = chosen.apply_from(i, images[one], labels[one], seed, epoch)
                np.testing.assert_array_equal(row, made[0])
            for first in range(0, len(numbers), M):
                some = slice(first, first + M)
                Y = np.eye(10)[labels[numbers[some]]]
                by_hand.update_mini_batch((Pixels(array[some]), Y), 1.5)
    assert next(start, None) is None
    assert_equal_arrays(net.weights + net.biases, by_hand.weights + by_hand.biases)


# ------------------------------------------------ errors


def test_where_blocks_cannot_be(data):
    images, labels = data
    pairs = columns(images / 256, np.eye(10)[labels])
    net = network.Network(SIZES)
    with pytest.raises(ValueError, match="'book' or None where training_data is a list of pairs"):
        net.SGD(pairs, 1, M, 1.0, shuffle="blocks")
    with pytest.raises(ValueError, match="'book' or None where training_data is a list of pairs"):
        net.SGD(pairs, 1, M, 1.0, shuffle="blocks", deform={})
    with pytest.raises(ValueError, match=r"shuffle is 'random'.*expected 'book' or 'blocks'"):
        net.SGD(pairs, 1, M, 1.0, shuffle="random")

    class Own(network.Network):
        def cost_derivative(self, output_activations, y):
            return output_activations - y

    with pytest.raises(ValueError, match="where a method, the cost or the sigmoid is overridden"):
        Own(SIZES).SGD((Pixels(images), labels), 1, M, 1.0, shuffle="blocks")


@pytest.mark.parametrize("as_map", [False, True])
def test_labels_and_targets_that_do_not_fit(as_map, data, tmp_path):
    images, labels = data
    net, X = network.Network(SIZES), Pixels(images)
    wrong = labels.astype(np.int64)
    wrong[40] = 11
    if as_map:
        wrong = mapped(tmp_path / "y.npy", wrong)
    with pytest.raises(ValueError, match=r"training_data\[40\]: label 11 is outside 0..9"):
        net.SGD((X, wrong), 1, M, 1.0, shuffle="blocks")
    with pytest.raises(ValueError, match=r"Y has shape \(\d+, 4\), expected \(n, 10\)"):
        net.SGD((X, np.zeros((N, 4))), 1, M, 1.0, shuffle="blocks")


@pytest.mark.parametrize("where", ["x", "y"])
def test_numbers_that_are_not_finite_in_a_map(where, data, tmp_path):
    images, labels = data
    X, Y = (images / 256).astype(np.float32), np.eye(10, dtype=np.float32)[labels]
    (X if where == "x" else Y)[30, 5] = np.nan
    X, Y = mapped(tmp_path / "x.npy", X), mapped(tmp_path / "y.npy", Y)
    net = network.Network(SIZES)
    before = [w.copy() for w in net.weights]
    for deform in (None, {}):
        random.seed(5)
        state = random.getstate()
        with pytest.raises(ValueError, match=rf"training_data\[30\]: {where} is nan at \[5\]"):
            net.SGD((X, Y), 1, M, 1.0, shuffle="blocks", deform=deform)
        assert_equal_arrays(net.weights, before)
        assert random.getstate() == state


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.float32])
@pytest.mark.parametrize("cost", network2.COSTS)
def test_costs_of_targets_of_any_type(dtype, cost, data):
    images, labels = data
    costs = []
    for Y in (np.eye(10)[labels], np.eye(10, dtype=dtype)[labels]):
        seed_both()
        net = network2.Network([784, 10, 10], network2.COSTS[cost])
        how = dict(shuffle="blocks", monitor_training_cost=True, verbose=False)
        costs.append(net.SGD((Pixels(images), Y), 2, 10, 0.1, **how)[2])
    assert costs[0] == costs[1]

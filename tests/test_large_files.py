"""Memory maps larger than the free memory: chosen, read from their files, and what may go wrong."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc

import numpy as np
import pytest
from formats import IDX_NAMES, digits, idx
from helpers import assert_equal_arrays, refused, run_command, seed_both

from fastbp import Pixels, network, network2
from fastbp.data import file_rows, free_memory
from fastbp.data.file_rows import OpenFile, ReadError
from fastbp.training import checkpoint
from fastbp.training.compute import engine
from fastbp.training.compute.samples import Samples
from fastbp.training.epoch_data import orders
from fastbp.training.epoch_data.windows import Windows
from fastbp.training.run import Run

SIZES, N, M = [784, 12, 10], 431, 10
OUTPUTS = np.ones((10, 1))


@pytest.fixture(autouse=True)
def small_memory(monkeypatch):
    """All maps are larger than the free memory, and windows are small."""
    monkeypatch.setattr(orders, "BLOCK_BYTES", 784 * 7)
    monkeypatch.setattr(orders, "WINDOW_BYTES", 784 * 70)
    monkeypatch.setattr(file_rows, "PART_BYTES", 784 * 64)
    monkeypatch.setattr(file_rows, "free_memory", lambda: 1000)


@pytest.fixture
def labels():
    return digits(N, 3)[1]


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "x.npy", digits(N, 3)[0].reshape(N, 784))
    return tmp_path / "x.npy"


def map_of(path):
    return Pixels(np.load(path, mmap_mode="r"))


def trained(data, epochs=3, **how):
    seed_both(1)
    net = network.Network(SIZES)
    net.SGD(data, epochs, M, 1.5, **how)
    return net


def assert_same(one, other):
    assert_equal_arrays(one.weights + one.biases, other.weights + other.biases)
    assert one.history == other.history


# ------------------------------------------------ which maps


def test_a_map_larger_than_the_free_memory_is_read_in_blocks(path, labels, monkeypatch):
    X = map_of(path)
    in_blocks = trained((X, labels), shuffle="blocks")
    by_the_book = trained((X, labels), shuffle="book")
    assert (in_blocks.weights[0] != by_the_book.weights[0]).any()
    assert_same(trained((X, labels)), in_blocks)
    monkeypatch.setattr(file_rows, "free_memory", lambda: X.array.nbytes)
    assert_same(trained((X, labels)), by_the_book)


def test_arrays_in_memory_and_lists_keep_the_books_order(path, labels):
    X = Pixels(np.array(map_of(path).array))
    assert_same(trained((X, labels)), trained((X, labels), shuffle="book"))


def test_a_map_that_the_kernels_cannot_read(path, labels, tmp_path):
    np.save(tmp_path / "big.npy", np.zeros((N, 784), ">f4"))
    for X, seen in (
        (np.load(tmp_path / "big.npy", mmap_mode="r"), ">f4"),
        (Pixels(np.load(path, mmap_mode="r")[::2]), "rows that are not contiguous"),
    ):
        with pytest.raises(ValueError, match=rf"larger than the free memory \(1,000\).*{seen}"):
            trained((X, labels[: len(X)]))


@pytest.mark.parametrize("method", ["cost_derivative", "update_mini_batch"])
def test_methods_of_the_users_own_need_all_in_memory(method, path, labels):
    Own = type("Own", (network.Network,), {method: lambda self, *a: 0.0 * OUTPUTS})
    with pytest.raises(ValueError, match=r"take fewer, \(X\[:n\], Y\[:n\]\)"):
        Own(SIZES).SGD((map_of(path), labels), 1, M, 1.0)
    X, Y, n = map_of(path), labels, 1
    Own(SIZES).SGD((X[:n], Y[:n]), 1, M, 1.0)


# ------------------------------------------------ evaluation


def test_evaluation_reads_the_file_part_by_part(path, labels):
    X = map_of(path)
    memory = Pixels(np.array(X.array))
    net = trained((memory, labels))
    one_hot = np.eye(10)[labels]
    for Y in (labels, one_hot, labels[:, None]):
        assert net.evaluate((X, Y)) == net.evaluate((memory, Y)) > 0
    assert net.evaluate((X[5:-3], labels[5:-3])) == net.evaluate((memory[5:-3], labels[5:-3]))
    third = network2.Network(SIZES)
    third.weights, third.biases = net.weights, net.biases
    for Y in (labels, one_hot):
        assert third.accuracy((X, Y)) == third.accuracy((memory, Y))
        wanted = third.total_cost((memory, Y), 0.1)
        assert third.total_cost((X, Y), 0.1) == pytest.approx(wanted, rel=1e-12)
        for data in ((X, Y), (memory, Y)):
            assert third.accuracy(data, convert=True) == third.accuracy((memory, labels))


def test_test_data_and_early_stopping_on_files(path, labels):
    X, memory = map_of(path), Pixels(np.array(map_of(path).array))

    def stopped(T):
        seed_both(1)
        net = network2.Network(SIZES)
        return net, net.SGD(
            (X, labels), 6, M, 0.5, 0.1, (T, labels), False, True, early_stopping_n=1,
            verbose=False,
        )  # fmt: skip

    one, other = stopped(X), stopped(memory)
    assert one[1] == other[1]
    assert_equal_arrays(one[0].weights, other[0].weights)
    seen = trained((X, labels), test_data=(X, labels), verbose=False).history
    assert seen == trained((X, labels), test_data=(memory, labels), verbose=False).history


def test_labels_of_a_file_that_are_wrong_are_named(path, labels):
    wrong = np.eye(10)[labels]
    wrong[200] = 0.5
    net = network2.Network(SIZES)
    with pytest.raises(ValueError, match=r"data\[200\]: y is \[0.5, 0.5"):
        net.accuracy((map_of(path), wrong), convert=True)


def test_a_system_without_more_threads(path, labels, monkeypatch):
    def trained_and_evaluated():
        return trained((map_of(path), labels), test_data=(map_of(path), labels))

    wanted, started = trained_and_evaluated(), []

    def start(self):
        started.append(self)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    assert_same(trained_and_evaluated(), wanted)
    assert len(started) > 1


# ------------------------------------------------ memory


def test_nothing_makes_a_copy_of_the_whole(tmp_path, monkeypatch):
    """The data have 24 MB; two windows of 0.8 MB and parts of 0.8 MB are in memory."""
    n = 30_000
    for name in ("orders.BLOCK_BYTES", "orders.WINDOW_BYTES"):
        monkeypatch.setattr(f"fastbp.training.epoch_data.{name}", 784 * 1000)
    monkeypatch.setattr(file_rows, "PART_BYTES", 784 * 1000)
    monkeypatch.setattr(checkpoint, "BLOCK", 784 * 1000)
    images = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (n, 784))
    images[::3, ::5] = 100
    images.flush()
    labels, X = np.arange(n) % 10, map_of(tmp_path / "x.npy")
    how = dict(shuffle="blocks", checkpoint=tmp_path / "run.npz", verbose=False)

    def run(X, labels):
        net = network2.Network([784, 5, 10], dtype=np.float32, threads=1)  # compiles nothing later
        net.SGD((X, labels), 1, 100, 0.1, 0.1, (X, labels), True, True, True, True, **how)

    run(X[:2000], labels[:2000])  # compiles
    tracemalloc.start()
    run(X, labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 2e6 < peak < 8e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no files with holes")
def test_rows_behind_two_and_four_gigabytes(tmp_path, monkeypatch):
    """6.4 GB, nearly all of them a hole: some rows are written, and read where they are."""
    monkeypatch.setattr(orders, "BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr(orders, "WINDOW_BYTES", 1 << 27)
    path, n = tmp_path / "x.raw", 8_100_000
    with open(path, "wb") as file:
        file.truncate(n * 784)
    rows = np.array([0, 1, 2_739_137, 2_739_138, 5_478_274, 5_478_275, n - 2, n - 1])
    some, labels = digits(len(rows), 4)[0].reshape(-1, 784), np.zeros(n, np.uint8)
    writable = np.memmap(path, np.uint8, "r+", 0, (n, 784))
    writable[rows], labels[rows] = some, np.arange(len(rows))
    writable.flush()
    X, found = Pixels(np.memmap(path, np.uint8, "r", 0, (n, 784))), 0
    net = network.Network([784, 5, 10], dtype=np.float32)
    in_map, in_memory = net._parameters(), net._parameters()
    targets = np.zeros((n, 10), np.float32)
    targets[rows, labels[rows]] = 1
    for params, order, samples in (
        (in_map, rows, Samples(X, targets)),
        (in_memory, np.arange(len(rows)), Samples(Pixels(some), targets[rows])),
    ):
        engine.train(params, net._plan, samples, order, 3, 1.0)
    np.testing.assert_array_equal(in_map, in_memory)
    order = orders.BlockOrder(n, 784, 10)
    order.shuffle()
    stored = file_rows.streamed_rows(X, "always", "X")
    with Windows(stored, labels, 10, net.dtype, "X") as windows:
        for w in range(order.n_windows):
            numbers = order.samples_of(w)
            for place in np.flatnonzero(np.isin(numbers, rows)).tolist():
                samples, within = windows.window(order, w)
                k = rows.tolist().index(numbers[place])
                np.testing.assert_array_equal(samples.X.array[within[place]], some[k])
                assert samples.Y[within[place]].argmax() == k
                found += 1
    assert found == len(rows)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
def test_training_under_a_limit_of_memory_below_the_size_of_the_file(tmp_path):
    """1.6 GB of images under a limit of 1 GB, under which they cannot be copied."""
    program = """
        import resource, sys
        import numpy as np
        from fastbp import Pixels, network2
        resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
        images, labels = (np.load(path, mmap_mode="r") for path in sys.argv[1:3])
        try:
            images.copy()
        except MemoryError:
            print("no copy")
        net = network2.Network([784, 30, 10], dtype=np.float32)
        X, n = Pixels(images), len(images) // 6
        how = dict(shuffle="blocks", checkpoint=sys.argv[3], resume=True, verbose=False)
        for epochs in (1, 2):
            history = net.SGD(
                (X[n:], labels[n:]), epochs, 10, 0.5, 0.1, (X[:n], labels[:n]), True, True,
                False, True, **how,
            )
        print(history[1][1] > 0.9 * n, history[3][1] > 0.9 * (len(images) - n))
    """
    some, some_labels = digits_that_differ(10_000)
    count = 200
    images = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (count * 10_000, 784))
    for i in range(count):
        images[i * 10_000 : (i + 1) * 10_000] = some
    images.flush()
    np.save(tmp_path / "y.npy", np.tile(some_labels, count))
    files = (tmp_path / name for name in ("x.npy", "y.npy", "run.npz"))
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, files)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.stdout.split("\n")[:2] == ["no copy", "True True"], run.stderr


def digits_that_differ(n):
    """Return images of digits that a network can tell apart, and their labels."""
    from fastbp.data import digits as drawn

    labels = np.random.default_rng(0).integers(0, 10, n).astype(np.uint8)
    return drawn.draw(labels, 0), labels


# ------------------------------------------------ checkpoints


@pytest.mark.parametrize("deform", [None, dict(rotation=9)])
@pytest.mark.parametrize("whole", [0, 1 << 28])
def test_resumed_after_any_interrupt_it_ends_the_same(
    whole, deform, path, labels, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(checkpoint, "WHOLE", whole)
    wanted = trained((map_of(path), labels), deform=deform)
    printed = capsys.readouterr().out
    real, chance, stops = Run._note_progress, random.Random(5), 0
    left = [0]

    def stop(self, count):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return real(self, count)

    monkeypatch.setattr(Run, "_note_progress", stop)
    how = dict(checkpoint=tmp_path / "run.npz", checkpoint_every=0.0, resume=True, deform=deform)
    while True:
        left[0] = chance.randint(2, 12)
        try:
            net = trained((map_of(path), labels), **how)
            break
        except KeyboardInterrupt:
            stops += 1
        capsys.readouterr()
    assert stops > 1
    assert_same(net, wanted)
    assert capsys.readouterr().out == printed


def test_a_checkpoint_of_another_order(path, labels, tmp_path):
    X, files = map_of(path), [tmp_path / "blocks.npz", tmp_path / "book.npz"]
    for file, shuffle in zip(files, ("blocks", "book")):
        trained((X, labels), 1, checkpoint=file, shuffle=shuffle)
    with pytest.raises(ValueError, match=r'shuffle "blocks of 7, windows .*, this one has "book"'):
        trained((X, labels), checkpoint=files[0], resume=True, shuffle="book")
    with pytest.raises(ValueError, match=r'a run with shuffle "book", this one has "blocks of 7'):
        trained((X, labels), checkpoint=files[1], resume=True, shuffle="blocks")


def test_the_fingerprint_of_a_large_map_is_of_its_size_time_and_some_blocks(path, monkeypatch):
    X = map_of(path)
    memory = Pixels(np.array(X.array))
    assert checkpoint.fingerprint(X) == checkpoint.fingerprint(memory)  # of all its values
    rows = file_rows.streamed_rows(X, "always", "X")
    assert checkpoint.fingerprint(rows) == checkpoint.fingerprint(memory)
    monkeypatch.setattr(checkpoint, "WHOLE", 1000)
    monkeypatch.setattr(checkpoint, "SAMPLED_BYTES", 784)
    monkeypatch.setattr(checkpoint, "SAMPLED", 10)
    read, real = [], OpenFile.read_into
    monkeypatch.setattr(OpenFile, "read_into", lambda *a: read.append(len(a[1])) or real(*a))
    seen = [checkpoint.fingerprint(X), checkpoint.fingerprint(X[1:])]
    assert sum(read) == 20 * 784
    assert checkpoint.fingerprint(file_rows.streamed_rows(X, "always", "X")) == seen[0]
    assert checkpoint.fingerprint(memory) not in seen
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)  # in the last block, which is read
        file.write(b"\xff")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    seen.append(checkpoint.fingerprint(map_of(path)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    seen.append(checkpoint.fingerprint(map_of(path)))
    assert len(set(seen)) == 4


def test_it_is_resumed_in_its_order_whatever_memory_is_free_by_then(
    path, labels, tmp_path, monkeypatch
):
    """shuffle=None: the same call goes on, and ends as the run that had the memory it began with"""
    for i, (before, then) in enumerate(((1000, 10**9), (10**9, 1000))):
        file = tmp_path / f"run{i}.npz"
        monkeypatch.setattr(file_rows, "free_memory", lambda free=before: free)
        wanted = trained((map_of(path), labels))
        trained((map_of(path), labels), 1, checkpoint=file)
        monkeypatch.setattr(file_rows, "free_memory", lambda free=then: free)
        assert_same(trained((map_of(path), labels), checkpoint=file, resume=True), wanted)
        memory = Pixels(np.array(map_of(path).array))  # of these the order is the book's
        if then > before:
            with pytest.raises(ValueError, match=r'shuffle "blocks of .*, this one has "book"'):
                trained((memory, labels), checkpoint=file, resume=True)


@pytest.mark.parametrize("reads", [5, 60])
def test_ctrl_c_while_it_waits_for_a_slow_disk(reads, path, labels, tmp_path, monkeypatch):
    wanted, real, left, sent = trained((map_of(path), labels)), OpenFile.read_into, [reads], []

    def slow(self, view, position):
        left[0] -= 1
        if left[0] == 0:
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1 if left[0] <= 0 else 0.0)  # 11 reads are a window
        return real(self, view, position)

    how = dict(checkpoint=tmp_path / "run.npz", resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(OpenFile, "read_into", slow)
        with pytest.raises(KeyboardInterrupt):
            trained((map_of(path), labels), **how)
    assert time.monotonic() - sent[0] < 0.6  # two reads, and what is needed to end
    assert_same(trained((map_of(path), labels), **how), wanted)


# ------------------------------------------------ files that change


def damaged(path, how):
    content = path.read_bytes()
    if how == "cut off":
        os.truncate(path, len(content) // 2)
    elif how == "written to":
        with open(path, "ab") as file:
            file.write(b"more")
    elif how == "cannot be read":

        class Failing:
            def __init__(self, file):
                self.fileno, self.seek, self.close = file.fileno, file.seek, file.close

            def readinto(self, view):
                raise OSError(5, "Input/output error")

        return content, Failing
    return content, None


@pytest.mark.parametrize("how", ["cut off", "written to", "cannot be read"])
@pytest.mark.parametrize("reads", [3, 30, 75, 101])
def test_a_file_damaged_in_mid_run(how, reads, path, labels, tmp_path, monkeypatch):
    """The run ends with OSError and the last good weights; repaired, it goes on to the same end."""
    wanted, real, left, kept = trained((map_of(path), labels)), OpenFile.read_into, [reads], []
    X = map_of(path)

    def read_into(self, view, position):
        left[0] -= 1
        if left[0] == 0:
            content, failing = damaged(path, how)
            kept.append(content)
            if failing:
                self._file = failing(self._file)
        return real(self, view, position)

    monkeypatch.setattr(OpenFile, "read_into", read_into)
    seed_both(1)
    net = network.Network(SIZES)
    before = net.weights[0].copy()
    file = tmp_path / "run.npz"
    with pytest.raises(OSError, match=rf"x\.npy.*{how}"):
        net.SGD((X, labels), 3, M, 1.5, checkpoint=file, checkpoint_every=1000.0)
    assert all(np.isfinite(array).all() for array in net.weights + net.biases)
    assert (net.weights[0] != before).any() == (reads > 12)  # in the first window nothing is done
    path.write_bytes(kept[0])
    assert_same(trained((map_of(path), labels), checkpoint=file, resume=True), wanted)


@pytest.mark.parametrize("how", ["cut off", "written to", "cannot be read"])
def test_a_test_file_damaged_while_it_is_evaluated(how, path, labels, tmp_path, monkeypatch):
    """The epoch is complete and its figures are not: resumed, only they are made again."""
    test_path, file, real, kept = tmp_path / "t.npy", tmp_path / "run.npz", OpenFile.read_into, []
    np.save(test_path, map_of(path).array[:200])
    memory = Pixels(np.array(map_of(path).array))

    def run(**more):
        return trained((memory, labels), test_data=(map_of(test_path), labels[:200]), **more)

    def read_into(self, view, position):
        if str(self.path) == str(test_path) and not kept and epochs:
            content, failing = damaged(test_path, how)
            kept.append(content)
            if failing:
                self._file = failing(self._file)
        return real(self, view, position)

    wanted, epochs = run(), []
    more = dict(checkpoint=file, callback=lambda figures: epochs.append(figures["epoch"]))
    with monkeypatch.context() as patch:
        patch.setattr(OpenFile, "read_into", read_into)
        with pytest.raises(OSError, match=rf"t\.npy.*{how}"):
            run(checkpoint_every=1000.0, **more)
    assert epochs == [0]
    test_path.write_bytes(kept[0])
    assert_same(run(checkpoint=file, resume=True), wanted)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_file_that_was_cut_off_after_it_was_mapped(checkpointed, path, labels, tmp_path):
    X = map_of(path)
    os.truncate(path, 128 + 784 * 300)
    how = dict(checkpoint=tmp_path / "run.npz") if checkpointed else {}
    told = r"x\.npy has 235,328 bytes, at least 338,032 were there when it was mapped: it was cut"
    with pytest.raises(OSError, match=told):
        trained((X, labels), **how)
    with pytest.raises(OSError, match=told):
        network.Network(SIZES).evaluate((X, labels))


def test_a_file_that_has_grown_before_it_is_read(path, labels):
    X, wanted = map_of(path), trained((map_of(path), labels))
    with open(path, "ab") as file:
        file.write(bytes(784 * 50))
    assert_same(trained((X, labels)), wanted)


def test_the_disk_of_the_checkpoint_is_full(path, labels, tmp_path, monkeypatch):
    """The run warns and goes on; only its last checkpoint has to be written."""
    wanted, file = trained((map_of(path), labels)), tmp_path / "run.npz"

    def full(*arguments):
        if done:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    real, done = checkpoint.write, []
    trained((map_of(path), labels), 1, checkpoint=file)
    before = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", full)
        done.append(True)
        with (
            pytest.warns(RuntimeWarning, match="no checkpoint was written: .*No space left"),
            pytest.raises(OSError, match="No space left"),
        ):
            trained((map_of(path), labels), checkpoint=file, checkpoint_every=1, resume=True)
    assert file.read_bytes() == before
    assert_same(trained((map_of(path), labels), checkpoint=file, resume=True), wanted)


def test_the_weights_are_those_of_the_last_window(path, labels):
    X, order = map_of(path), orders.BlockOrder(N, 784, M)
    random.seed(1)
    order.shuffle()
    first = order.samples_of(0)
    wanted = trained_on(Pixels(X.array[first]), labels[first])
    real, left = OpenFile.read_into, [len(order.pieces(0)) + 1]

    def read_into(self, view, position):
        left[0] -= 1
        if left[0] == 0:
            os.truncate(path, 1000)
        return real(self, view, position)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenFile, "read_into", read_into)
        seed_both(1)
        net = network.Network(SIZES)
        with pytest.raises(ReadError):
            net.SGD((X, labels), 1, M, 1.5)
    assert_equal_arrays(net.weights, wanted)


def trained_on(X, Y):
    """Return the weights after steps over samples in the order in which they are given."""
    seed_both(1)
    net = network.Network(SIZES)
    for start in range(0, len(Y), M):
        batch = X[start : start + M], np.eye(10)[Y[start : start + M]]
        net.update_mini_batch(batch, 1.5)
    return net.weights


def test_a_file_that_has_vanished(path, labels):
    X = map_of(path)
    os.rename(path, f"{path}.old")
    with pytest.raises(OSError, match=r"x\.npy cannot be opened: No such file"):
        trained((X, labels))
    np.save(path, np.zeros((3, 784), np.uint8))
    with pytest.raises(OSError, match=r"x\.npy is not the file that was mapped"):
        network.Network(SIZES).evaluate((X, labels))


def test_a_file_that_has_vanished_leaves_the_checkpoint_as_it_was(path, labels, tmp_path):
    X, file = map_of(path), tmp_path / "run.npz"
    trained((X, labels), 1, checkpoint=file)
    before = file.read_bytes()
    path.unlink()
    with pytest.raises(OSError, match=r"x\.npy cannot be opened"):
        trained((X, labels), checkpoint=file, resume=True)
    np.save(path, X.array)
    real, left = OpenFile.read_into, [1]

    def read_into(self, view, position):
        left[0] -= 1
        if left[0] == 0:
            os.truncate(path, 1000)
        return real(self, view, position)

    X = map_of(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenFile, "read_into", read_into)
        with pytest.raises(OSError, match="cut off"):
            trained((X, labels), checkpoint=file, resume=True)
    assert file.read_bytes() == before


def test_a_file_that_is_removed_meanwhile_is_read_to_the_end(path, labels):
    wanted, X = trained((map_of(path), labels)), map_of(path)
    net = trained((X, labels), callback=lambda figures: path.unlink(missing_ok=True))
    assert_same(net, wanted)


# ------------------------------------------------ the command line


@pytest.fixture
def folder(tmp_path):
    x, y = digits_that_differ(600)
    folder = tmp_path / "idx"
    folder.mkdir()
    contents = x.reshape(-1, 28, 28), y, x[:100].reshape(-1, 28, 28), y[:100]
    for name, array in zip(IDX_NAMES, contents):
        (folder / name).write_bytes(idx(array))
    return folder


def test_train_and_evaluate_by_path(folder, monkeypatch, tmp_path):
    model = tmp_path / "model.npz"
    command = ["train", "--data", folder, "--epochs", 2, "--seed", 1]
    wanted = run_command(*command, "--shuffle", "blocks")
    for reader in ("idx_files.image_sets", "image_sets"):
        monkeypatch.setattr(f"fastbp.data.readers.{reader}.MAP_BYTES", 1000)
    seen = run_command(*command, "--save", model)
    assert seen.stdout.splitlines()[:3] == wanted.stdout.splitlines()[:3]
    done = run_command("evaluate", model, "--data", folder)
    assert done.stdout.split()[1] == seen.stdout.splitlines()[1].split()[2]


def test_train_saves_the_last_good_weights(folder, monkeypatch, tmp_path):
    monkeypatch.setattr("fastbp.data.readers.image_sets.MAP_BYTES", 1000)
    real, left, path = OpenFile.read_into, [50], folder / IDX_NAMES[0]

    def read_into(self, view, position):
        left[0] -= 1
        if left[0] == 0:
            os.truncate(path, 1000)
        return real(self, view, position)

    monkeypatch.setattr(OpenFile, "read_into", read_into)
    model = tmp_path / "model.npz"
    line = run_command("train", "--data", folder, "--seed", 1, "--save", model)
    assert line.returncode == 2
    assert "error: " in line.stderr
    assert "it was cut off meanwhile; restore it, and call again" in line.stderr
    net = network.load(model)
    assert all(np.isfinite(w).all() for w in net.weights)


def test_final_training_on_parts_of_one_file_stays_in_it(folder, monkeypatch):
    wanted = run_command("train", "--data", folder, "--epochs", 2, "--seed", 1, "--final")
    monkeypatch.setattr("fastbp.data.readers.image_sets.MAP_BYTES", 1000)
    monkeypatch.setattr(file_rows, "free_memory", lambda: 10**9)  # the book's order
    copied, real = [], np.concatenate
    monkeypatch.setattr(
        np, "concatenate", lambda parts, *a: copied.append(parts) or real(parts, *a)
    )
    seen = run_command("train", "--data", folder, "--epochs", 2, "--seed", 1, "--final")
    assert seen.stdout.splitlines()[:3] == wanted.stdout.splitlines()[:3]
    assert "600 training and 100 test images" in seen.stderr
    assert not [parts for parts in copied if np.ndim(parts[0]) == 2]


def test_maps_that_are_side_by_side_are_joined(path, tmp_path):
    whole = np.load(path, mmap_mode="r")
    np.save(tmp_path / "other.npy", whole)
    other = np.load(tmp_path / "other.npy", mmap_mode="r")
    for array in (whole, whole.reshape(-1, 28, 28)):
        joined = file_rows.joined(array[3:50], array[50:])
        assert isinstance(joined, np.memmap)
        np.testing.assert_array_equal(joined, array[3:])
    for pair in (
        (whole[:50], whole[51:]), (whole[50:], whole[:50]), (whole[:50], other[50:]),
        (whole[:50], np.array(whole[50:])), (whole[:50, :9], whole[50:, :9]),
        (whole[:50], whole[50:].reshape(-1, 28, 28)), (whole[:50], whole[50:].view(np.int8)),
    ):  # fmt: skip
        assert file_rows.joined(*pair) is None


def test_an_unknown_order():
    assert "invalid choice: 'none'" in refused("train", "--shuffle", "none")


# ------------------------------------------------ free memory


def write_group(folder, names, limit, usage, cached):
    folder.mkdir(parents=True)
    for name, text in zip((*names, "memory.stat"), (limit, usage, f"inactive_file {cached}\nx")):
        (folder / name).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        ("0::/a/b", "a", ("memory.max", "memory.current")),
        ("4:cpu,memory:/a/b", "memory/a", ("memory.limit_in_bytes", "memory.usage_in_bytes")),
    ],
)
def test_free_memory_is_that_of_the_machine_or_of_a_control_group(line, folder, names, tmp_path):
    meminfo, own = tmp_path / "meminfo", tmp_path / "own"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    own.write_text(f"1:name=systemd:/\n{line}\n")

    def free():
        return free_memory.free_memory(meminfo, tmp_path, own)

    assert free() == 5000 * 1024
    write_group(tmp_path / folder, names, 4_000_000, 1_500_000, 700_000)
    assert free() == 3_200_000
    write_group(tmp_path / folder / "b", names, "max", 10, 0)
    assert free() == 3_200_000
    (tmp_path / folder / names[0]).write_text("100\n")
    assert free() == 0


def test_free_memory_of_this_machine():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free_memory.free_memory() <= total
    assert free_memory.free_memory("/none", own="/none") == total

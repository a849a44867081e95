"""Writing IDX pairs: of given images, and of generated ones, also after a kill."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from formats import digits, idx
from helpers import refused, run_command

from fastbp import Pixels, mnist_loader
from fastbp.data import generated, generated_folder
from fastbp.data.readers import find, image_sets

NAME = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"

# ------------------------------------------------ mnist_loader.write


def write_both(folder, images, labels, end=""):
    mnist_loader.write(folder / f"{NAME}{end}", images, labels)
    mnist_loader.write(folder / f"t10k-images-idx3-ubyte{end}", images[:7], labels[:7])
    return folder


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("form", ["cubes", "rows", "Pixels", "float32", "float64", "a map"])
def test_what_is_written_is_read(form, end, tmp_path, monkeypatch):
    monkeypatch.setattr(image_sets, "BLOCK_ROWS", 16)
    x, y = digits(60, 1)
    rows = x.reshape(60, 784)
    np.save(tmp_path / "x.npy", rows)
    images = {
        "cubes": x, "rows": rows, "Pixels": Pixels(rows), "float32": np.float32(rows) / 256,
        "float64": rows / 256, "a map": np.load(tmp_path / "x.npy", mmap_mode="r"),
    }[form]  # fmt: skip
    folder = write_both(tmp_path, images, y.astype(np.int64), end)
    if not end:
        assert (folder / NAME).read_bytes() == idx(x)
        assert (folder / LABELS).read_bytes() == idx(y)
    training, validation, test = mnist_loader.load_data(folder / f"{NAME}{end}", pixels=True)
    np.testing.assert_array_equal(training[0].array, rows[:50])
    np.testing.assert_array_equal(validation[1], y[50:])
    np.testing.assert_array_equal(test[0].array, rows[:7])


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    x, y = digits(60, 1)
    write_both(tmp_path, x, y, ".gz")
    before = {path: path.read_bytes() for path in tmp_path.glob("*.gz")}
    floats = x.reshape(60, 784) / 256
    floats[59, 3] = 0.3
    with pytest.raises(ValueError, match=r"images: pixel 3 of image 59 is 0.3, .*; use np.rint"):
        mnist_loader.write(tmp_path / f"{NAME}.gz", floats, y)
    assert {path: path.read_bytes() for path in tmp_path.glob("*.gz")} == before
    write_both(tmp_path, x, y, ".gz")  # the same bytes at any time
    assert {path: path.read_bytes() for path in tmp_path.glob("*.gz")} == before
    assert sorted(os.listdir(tmp_path)) == sorted([*(path.name for path in before), "work"])


X = np.zeros((3, 784), np.uint8)


@pytest.mark.parametrize(
    ("path", "images", "labels", "message"),
    [
        ("digits.idx", X, [1, 2, 3], "path is 'digits.idx', expected a name such as train-images"),
        (LABELS, X, [1, 2, 3], f"path is '{LABELS}', expected a name such as train-images"),
        (NAME, X, [1, 2], "images has 3 rows and labels 2, expected as many"),
        (NAME, X[:0], np.zeros(0, int), "images has 0 rows and labels 0, expected as many, and at"),
        (NAME, X, [1, 256, 3], r"labels\[1\] is 256, expected 0..255"),
        (NAME, X, [1.0, 2.0, 3.0], "labels has shape .3,. and dtype float64, expected .n,. integ"),
        (NAME, np.zeros((3, 5), np.uint8), [1, 2, 3], r"images has shape \(3, 5\), expected"),
        (NAME, np.zeros((3, 784), int), [1, 2, 3], "for integers 0..255 use images.astype"),
        (NAME, Pixels(X, 1.0), [1, 2, 3], "images are Pixels of scale 1, expected 1/256"),
    ],
)
def test_what_cannot_be_written(path, images, labels, message):
    with pytest.raises((ValueError, TypeError), match=message):
        mnist_loader.write(path, images, labels)
    assert os.listdir() == []


def test_more_than_can_be_read_back_from_gz(monkeypatch):
    monkeypatch.setattr("fastbp.data.readers.bounded_reader.MAX_BYTES", 2000)
    with pytest.raises(ValueError, match=r"3 images are more than are read from a \.gz file; l"):
        mnist_loader.write(f"{NAME}.gz", X, [1, 2, 3])
    mnist_loader.write(NAME, X, [1, 2, 3])


@contextlib.contextmanager
def no_file_longer_than(size):
    """Have the system refuse to write more bytes than these to a file, as a full disk does."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    x, y = digits(60, 1)
    write_both(tmp_path, x[::-1], y)
    before = {path: path.read_bytes() for path in tmp_path.glob("t*")}
    with (
        no_file_longer_than(20_000),
        pytest.raises(OSError, match=f"{NAME}: File too large; it is"),
    ):
        mnist_loader.write(tmp_path / NAME, x, y)
    assert {path: path.read_bytes() for path in tmp_path.glob("*t*")} == before


# ------------------------------------------------ write_generated


def make_block(start, n):
    numbers = np.arange(start, start + n)
    return np.repeat(numbers[:, None] % 256, 784, 1).astype(np.uint8), numbers % 10


def check(folder, count):
    images, labels = make_block(0, count)
    assert (folder / NAME).read_bytes() == idx(images.reshape(count, 28, 28))
    assert (folder / LABELS).read_bytes() == idx(labels.astype(np.uint8))
    assert sorted(os.listdir(folder)) == [NAME, LABELS]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "BLOCK", 8)
    monkeypatch.setattr(generated, "SYNC_BYTES", 16 * 784)
    (tmp_path / "g").mkdir()
    return tmp_path / "g"


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 100])
def test_any_number_of_images(count, folder):
    seen = []
    generated.write_generated(folder / NAME, count, make_block, {}, seen.append)
    check(folder, count)
    assert sum(seen) == count


class Stop(Exception):
    pass


@pytest.mark.parametrize("stops_at", [0, 3, 5, 11])
@pytest.mark.parametrize("torn", [0, 1000])
def test_it_goes_on_where_it_was_stopped(stops_at, torn, folder):
    """A kill may leave bytes behind those that the record speaks of."""
    made = []

    def make(start, n, stops=False):
        if stops and len(made) == stops_at:
            raise Stop
        made.append(start)
        return make_block(start, n)

    with pytest.raises(Stop):
        generated.write_generated(folder / NAME, 100, lambda *a: make(*a, True), {"seed": 1})
    assert generated.is_unfinished(folder / NAME)
    for name in (NAME, LABELS):
        with open(folder / f"{name}.part", "ab") as file:
            file.write(b"x" * torn)
        assert not (folder / name).exists()
    if stops_at:
        other = r"is of another call, with seed 1, this one has 2; .* remove"
        with pytest.raises(ValueError, match=other):
            generated.write_generated(folder / NAME, 100, make, {"seed": 2})
    generated.write_generated(folder / NAME, 100, make, {"seed": 1})
    check(folder, 100)
    assert made == list(range(0, 100, 8))
    assert not generated.is_unfinished(folder / NAME)


def test_it_was_stopped_between_the_two_renames(folder, monkeypatch):
    real = os.replace

    def replace(a, b):
        if str(b).endswith(LABELS):
            raise Stop
        real(a, b)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Stop):
        generated.write_generated(folder / NAME, 20, make_block, {})
    monkeypatch.setattr(os, "replace", real)
    generated.write_generated(folder / NAME, 20, lambda *a: 1 / 0, {})
    check(folder, 20)


def test_a_disk_that_is_or_becomes_full(folder, monkeypatch):
    usage = shutil.disk_usage(folder)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(OSError, match=r"78,500 bytes more are needed, 1,000 are free"):
            generated.write_generated(folder / NAME, 100, make_block, {})

    seen = rf"{NAME} cannot be written: File too large; \d+ of 100 images are kept in {NAME}.part"
    with no_file_longer_than(50 * 784), pytest.raises(OSError, match=seen):
        generated.write_generated(folder / NAME, 100, make_block, {})
    generated.write_generated(folder / NAME, 100, make_block, {})
    check(folder, 100)


def test_a_record_without_images_binds_nobody(folder):
    """A disk that is full before the first image: another call may take fewer."""
    generated.begin(folder / NAME, 10**6, {"seed": 1})
    assert generated.is_unfinished(folder / NAME)
    generated.begin(folder / NAME, 20, {"seed": 2})
    generated.write_generated(folder / NAME, 20, make_block, {"seed": 2})
    check(folder, 20)


def test_two_calls_do_not_write_the_same_files(folder):
    def make(start, n):
        if start == 8:
            with pytest.raises(OSError, match=r"another call is writing it; 0 of 100 images"):
                generated.write_generated(folder / NAME, 100, make_block, {})
        return make_block(start, n)

    generated.write_generated(folder / NAME, 100, make, {})
    check(folder, 100)


@pytest.mark.parametrize("damage", ["record", "part"])
def test_damaged_unfinished_files(damage, folder):
    with pytest.raises(ZeroDivisionError):
        generated.write_generated(
            folder / NAME, 100, lambda i, n: 1 / 0 if i else make_block(i, n), {}
        )
    if damage == "record":
        (folder / f"{NAME}.part.json").write_text("{")
    else:
        os.truncate(folder / f"{LABELS}.part", 9)
    with pytest.raises(ValueError, match=r"to begin anew"):
        generated.write_generated(folder / NAME, 100, make_block, {})


def test_names_of_generated_files():
    with pytest.raises(ValueError, match=r"expected a name without .gz"):
        generated.write_generated(f"{NAME}.gz", 10, make_block, {})
    with pytest.raises(
        ValueError, match=r"there are 4294967296 images, expected fewer than 2\*\*32"
    ):
        generated.write_generated(NAME, 2**32, make_block, {})


# ------------------------------------------------ write_folder


TEST, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize("stops_at", range(0, 50, 3))
def test_a_folder_is_completed_after_a_kill_at_any_moment(stops_at, folder, monkeypatch):
    """A SIGKILL before any change of a name: nothing runs after it."""
    left = [stops_at]

    def killed(function):
        def call(*arguments, **how):
            left[0] -= 1
            if left[0] < 0:
                raise Stop
            return function(*arguments, **how)

        return call

    counts = (60, make_block), (20, make_block)
    with monkeypatch.context() as patch:
        for name in ("replace", "unlink", "fsync"):
            patch.setattr(os, name, killed(getattr(os, name)))
        with contextlib.suppress(Stop):
            generated_folder.write_folder(folder, *counts, {"seed": 1})
    seen = []
    if all((folder / name).exists() for name in (NAME, LABELS)) and not any(
        generated.is_unfinished(folder / name) for name in (NAME, TEST)
    ):
        with pytest.raises(FileExistsError):
            generated_folder.write_folder(folder, *counts, {"seed": 1})
    else:
        generated_folder.write_folder(folder, *counts, {"seed": 1}, seen.append)
        assert sum(seen) == 80
    assert sorted(os.listdir(folder)) == sorted([NAME, LABELS, TEST, TEST_LABELS])
    for name, count in ((NAME, 60), (TEST, 20)):
        images, _ = make_block(0, count)
        assert (folder / name).read_bytes() == idx(images.reshape(count, 28, 28))


def test_a_disk_with_too_little_room_for_a_folder_is_left_as_it_is(folder, monkeypatch):
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(OSError, match=f"{NAME} cannot be written: 47,100 bytes more are needed"):
        generated_folder.write_folder(folder, (60, make_block), (7, make_block), {})
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    "name", [NAME, LABELS, TEST, TEST_LABELS, f"{NAME}.gz", "mnist.pkl.gz", "mnist.npz"]
)
def test_files_that_are_there_are_not_replaced(name, folder):
    (folder / name).write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=f"{name} exists: remove it, or take another folder"):
        generated_folder.write_folder(folder, (20, make_block), (7, make_block), {})
    assert os.listdir(folder) == [name]


def test_another_call_does_not_go_on_with_a_folder(folder):
    def stopped(start, n):
        if start:
            raise Stop
        return make_block(start, n)

    with pytest.raises(Stop):
        generated_folder.write_folder(folder, (60, stopped), (7, make_block), {})
    before = (folder / TEST).read_bytes()
    seen = r"is of another call, with test 7, this one has 8; .* remove the files of that call"
    with pytest.raises(ValueError, match=seen):
        generated_folder.write_folder(folder, (60, make_block), (8, make_block), {})
    assert (folder / TEST).read_bytes() == before
    for name in os.listdir(folder):
        (folder / name).unlink()
    generated_folder.write_folder(folder, (60, make_block), (8, make_block), {})


# ------------------------------------------------ fastbp generate


def test_the_command_and_training_on_what_it_writes(tmp_path):
    folder = tmp_path / "made" / "digits"
    done = run_command("generate", "-o", folder, "--count", 300, "--test-count", 50, "--seed", 3)
    assert (done.returncode, done.stdout) == (0, "")
    assert "300 training and 50 test images" in done.stderr
    training, validation, test = find.load(folder, pixels=True)
    assert [len(part[1]) for part in (training, validation, test)] == [250, 50, 50]
    assert (training[0].array[:50] != test[0].array).any()
    again = tmp_path / "again"
    run_command("generate", "-o", again, "--count", 300, "--test-count", 50, "--seed", 3)
    assert (again / NAME).read_bytes() == (folder / NAME).read_bytes()
    trained = run_command("train", "--data", folder, "--epochs", 1)
    assert trained.returncode == 0
    assert "t10k-images-idx3-ubyte exists: remove it, or take" in refused("generate", "-o", folder)


def test_bad_options_of_the_command(tmp_path):
    assert "count is 0, expected at least 1" in refused("generate", "-o", tmp_path, "--count", 0)
    for name in ("--count", "--test-count"):
        told = refused("generate", "-o", tmp_path / "new", name, 99_999_999_999_999)
        assert "there are 99999999999999 images, expected fewer" in told
        assert not (tmp_path / "new").exists()
    assert "the following arguments are required: -o" in refused("generate")
    (tmp_path / "file").write_text("")
    told = refused("generate", "-o", tmp_path / "file")
    assert f"the folder {tmp_path / 'file'} cannot be made: File exists" in told


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("command", ["generate", "expand"])
def test_a_killed_command_goes_on(command, number, tmp_path, mnist_folder):
    """The files are those of a command that was never stopped."""
    program = (
        "import sys; from fastbp import cli; from fastbp.data import generated; "
        "generated.BLOCK, generated.SYNC_BYTES = 64, 128 * 784; sys.exit(cli.main(sys.argv[1:]))"
    )
    options = {
        "generate": ["--count", "4000", "--test-count", "20", "-o"],
        "expand": ["--count", "20000", "--data", str(mnist_folder), "--save"],
    }[command]

    def start(folder):
        return subprocess.Popen(
            [sys.executable, "-c", program, command, "--quiet", *options, str(folder)],
            stderr=subprocess.DEVNULL,
        )

    one, other = tmp_path / "one", tmp_path / "other"
    assert start(one).wait(120) == 0
    stopped, record = start(other), other / f"{NAME}.part.json"
    while stopped.poll() is None and not has_images(record):
        time.sleep(0.001)
    stopped.send_signal(number)
    stopped.wait(120)
    assert record.exists() != (other / NAME).exists()
    if record.exists():
        assert start(other).wait(120) == 0
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()
    assert len(list(other.iterdir())) == 4


def has_images(record):
    """Tell whether a record speaks of images, and not of none yet."""
    try:
        return json.loads(record.read_text())["done"] > 0
    except (FileNotFoundError, ValueError):
        return False

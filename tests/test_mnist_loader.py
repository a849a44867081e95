"""The loader of MNIST: valid files in every form; truncated, wrong and malicious ones."""

import gzip
import io
import os
import pathlib
import pickle
import struct

import numpy as np
import pytest
from conftest import REAL_DATA
from formats import IDX_NAMES as NAMES
from formats import as_sets, assert_sets, idx, write_idx, write_pickle

from fastbp import load_data_wrapper, mnist_loader
from fastbp.data.readers import bounded_reader


def assert_loads(path, raw):
    assert_sets(mnist_loader.load_data(path), as_sets(raw))


# ------------------------------------------------ good files


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dotted", [True, False])
def test_idx_folder(packed, dotted, tmp_path, raw):
    names = [name.replace("-idx", ".idx") for name in NAMES] if dotted else NAMES
    folder = write_idx(tmp_path / "d", raw, packed, names)
    if not (dotted and packed):
        assert_loads(folder, raw)
        assert_loads(str(folder), raw)


def test_one_of_the_idx_files_names_its_folder(tmp_path, raw):
    assert_loads(write_idx(tmp_path / "d", raw) / f"{NAMES[0]}.gz", raw)


@pytest.mark.parametrize("packed", [True, False])
def test_keras_npz(packed, tmp_path, raw):
    path = tmp_path / "mnist.npz"
    save = np.savez_compressed if packed else np.savez
    save(path, x_train=raw[0], y_train=raw[1], x_test=raw[2], y_test=raw[3])
    assert_loads(path, raw)
    assert_loads(tmp_path, raw)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_books_pickle(protocol, tmp_path, raw):
    path = write_pickle(tmp_path / "mnist.pkl.gz", as_sets(raw), protocol)
    assert_loads(path, raw)
    assert_loads(tmp_path, raw)


def test_a_pickle_of_fortran_arrays_and_other_byte_order(tmp_path, raw):
    sets = tuple((np.asfortranarray(x).astype(">f4"), y.astype(">i8")) for x, y in as_sets(raw))
    assert_loads(write_pickle(tmp_path / "mnist.pkl.gz", sets), raw)


def test_order_of_places(tmp_path, monkeypatch, raw):
    """The path given, FASTBP_DATA, the book's own places, the cache; a loud error in between."""
    import pooch

    def variant(k):
        return raw[0], np.full_like(raw[1], k), raw[2], raw[3]

    def first_label():
        return mnist_loader.load_data()[0][1][0]

    cache = pathlib.Path(pooch.os_cache("fastbp"))
    assert cache.is_relative_to(tmp_path)  # never the tester's own
    cache.mkdir(parents=True)
    write_idx(cache / "mnist", variant(1))
    assert first_label() == 1
    book = tmp_path / "data"
    book.mkdir()
    write_pickle(book / "mnist.pkl.gz", as_sets(variant(2)))
    assert first_label() == 2
    write_pickle(pathlib.Path("mnist.pkl.gz"), as_sets(variant(3)))
    assert first_label() == 3
    monkeypatch.setenv("FASTBP_DATA", str(write_idx(tmp_path / "env", variant(4))))
    assert first_label() == 4
    given = write_idx(tmp_path / "given", variant(5))
    assert mnist_loader.load_data(given)[0][1][0] == 5
    monkeypatch.setenv("FASTBP_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match=r"FASTBP_DATA: .*nowhere does not exist") as raised:
        mnist_loader.load_data()
    assert not isinstance(raised.value, mnist_loader.DataNotFoundError)
    pathlib.Path("mnist.pkl.gz").write_bytes(b"junk")
    monkeypatch.delenv("FASTBP_DATA")
    with pytest.raises(ValueError, match=r"mnist.pkl.gz is not the book's"):
        mnist_loader.load_data()


def test_as_many_labels_as_images():
    (X, y), *others = mnist_loader.synthetic(50, 10, 20)
    with pytest.raises(ValueError, match="50 images and 47 labels"):
        mnist_loader.wrap(((X, y[3:]), *others))


def test_wrapper_gives_the_books_lists(tmp_path, raw):
    training, validation, test = load_data_wrapper(write_idx(tmp_path / "d", raw))
    sets = as_sets(raw)
    assert [type(s) for s in (training, validation, test)] == [list] * 3
    assert [len(s) for s in (training, validation, test)] == [50, 10, 20]
    for (x, y), image, label in zip(training, *sets[0]):
        np.testing.assert_array_equal(x, image[:, None])
        assert (y.shape, y.dtype) == ((10, 1), np.float64)
        np.testing.assert_array_equal(np.flatnonzero(y), [label])
    for (x, y), image, label in zip(validation + test, np.vstack([sets[1][0], sets[2][0]]),
                                    np.concatenate([sets[1][1], sets[2][1]])):  # fmt: skip
        np.testing.assert_array_equal(x, image[:, None])
        assert type(y) is int
        assert y == label
    training[0][1][:] = 7  # every y is an array of its own
    assert training[1][1].max() == 1


def test_vectorized_result():
    np.testing.assert_array_equal(mnist_loader.vectorized_result(2), np.eye(10)[:, [2]])
    assert mnist_loader.vectorized_result(2, 3).tolist() == [[0], [0], [1]]
    with pytest.raises(ValueError, match=r"outside 0..9; pass n"):
        mnist_loader.vectorized_result(10)
    with pytest.raises(ValueError, match="j is -1"):
        mnist_loader.vectorized_result(-1)
    for j in (2.5, True, "2", np.zeros(2)):
        with pytest.raises(TypeError, match=r"j is .*expected an integer"):
            mnist_loader.vectorized_result(j)


# ------------------------------------------------ bad files


def damaged(raw, index, change):
    contents = [bytearray(idx(a)) for a in raw]
    contents[index] = change(contents[index])
    return contents


BAD_IDX = {
    "cut off": (0, lambda c: c[:-1], r"has 47,055 bytes, its header promises 47,056"),
    "too long": (2, lambda c: c + b"x", r"its header promises"),
    "header only": (1, lambda c: c[:6], r"6 bytes long, too short"),
    "empty file": (3, lambda c: b"", r"0 bytes long, too short"),
    "wrong magic": (0, lambda c: b"\0\0\x08\x01" + c[4:], r"magic number 2049, expected 2051"),
    "not IDX": (1, lambda c: b"<html>not found</html>", r"magic number .*, expected 2049"),
    "wrong dimensions": (
        0,
        lambda c: c[:8] + struct.pack(">II", 14, 56) + c[16:],
        r"images of 14 x 56, expected 28 x 28",
    ),
    "absurd count": (2, lambda c: c[:4] + b"\xff" * 4 + c[8:], r"header promises 3,367"),
    "no items": (1, lambda c: c[:4] + b"\0" * 4, r"its header says 0 items"),
    "fewer labels": (
        1,
        lambda c: c[:4] + struct.pack(">I", 59) + c[8:-1],
        r"holds 60 images and .* 59 labels, expected as many",
    ),
}


@pytest.mark.parametrize("name", BAD_IDX)
def test_bad_idx(name, tmp_path, raw):
    index, change, message = BAD_IDX[name]
    for file, content in zip(NAMES, damaged(raw, index, change)):
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        mnist_loader.load_data(tmp_path)
    assert NAMES[index] in str(raised.value)


@pytest.mark.parametrize("cut", [5, 500, -9, -1])
def test_cut_off_gzip(cut, tmp_path, raw):
    write_idx(tmp_path, raw)
    path = tmp_path / f"{NAMES[0]}.gz"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"train-images.*is damaged or cut off"):
        mnist_loader.load_data(tmp_path)


def test_a_gzip_bomb_is_not_unpacked(tmp_path, raw, monkeypatch):
    write_idx(tmp_path, raw)
    monkeypatch.setattr(bounded_reader, "MAX_BYTES", 100_000)
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(ValueError, match="unpacks to more than 100,000 bytes"):
        mnist_loader.load_data(tmp_path)


def test_missing_and_unknown_paths(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing does not exist; expected a folder"):
        mnist_loader.load_data(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"holds no MNIST; expected a folder"):
        mnist_loader.load_data(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"notes.txt is not a known kind of file"):
        mnist_loader.load_data(tmp_path / "notes.txt")


class Evil:
    def __reduce__(self):
        return os.system, ("touch owned",)


class EvilBuild:
    def __reduce__(self):
        return eval, ("open('owned', 'w')",)


def hostile_pickles(raw):
    good = as_sets(raw)
    yield pickle.dumps(Evil(), 2), r"refused: it uses (posix|nt).system"
    yield pickle.dumps((good[0], good[1], Evil()), 2), r"refused: it uses (posix|nt)"
    yield pickle.dumps(EvilBuild(), 2), r"refused: it uses \w+.eval"
    yield b"cos\nsystem\n(S'touch owned'\ntR.", r"refused: it uses os.system"
    yield b"cnumpy\nfromfile\n(S'x'\ntR.", r"refused: it uses numpy.fromfile"
    yield b"cbuiltins\ngetattr\n.", r"refused: it uses builtins.getattr"
    yield pickle.dumps(np.array([Evil()]), 2), r"refused"
    yield pickle.dumps([np.array([None], object)] * 3, 2), r"array of O8?, expected numbers"
    yield pickle.dumps(good[:2], 2), "does not hold three pairs"
    yield pickle.dumps("hello", 2), "does not hold three pairs"
    yield pickle.dumps([(1, 2)] * 3, 2), "does not hold three pairs"
    yield b"", "is not the book's mnist.pkl.gz"
    yield pickle.dumps(good, 2)[:-3000], "is not the book's mnist.pkl.gz"
    bad = [list(s) for s in good]
    bad[0][0] = bad[0][0][:, :783]
    yield pickle.dumps(bad, 2), r"images of shape \(50, 783\)"
    bad = [list(s) for s in good]
    bad[1][1] = bad[1][1][:9]
    yield pickle.dumps(bad, 2), r"labels of shape \(9,\) .* expected \(10,\) integers"
    bad = [list(s) for s in good]
    bad[2][1] = bad[2][1] - 9
    yield pickle.dumps(bad, 2), r"label \d+ is -\d, expected an integer 0..999"
    bad = [list(s) for s in good]
    bad[2][0] = bad[2][0] * np.float32("nan")
    yield pickle.dumps(bad, 2), "pixels go from nan to nan, expected 0..1"
    bad = [list(s) for s in good]
    bad[2][0] = bad[2][0].astype(np.float64) * 1e300
    yield pickle.dumps(bad, 2), "pixels go from 0.0 to .*e.299"
    yield b"\x80\x02Nr" + struct.pack("<I", 2_000_000_000) + b".", "does not hold three pairs"


def test_hostile_and_wrong_pickles_are_refused_and_nothing_runs(tmp_path, raw):
    path = tmp_path / "mnist.pkl.gz"
    for content, message in hostile_pickles(raw):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(ValueError, match=message) as raised:
            mnist_loader.load_data(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
        assert not pathlib.Path("owned").exists()


def test_a_pickle_cannot_promise_more_than_it_holds(tmp_path, raw):
    """A shape of 10^15 numbers with no bytes behind it allocates nothing."""
    content = pickle.dumps([(np.zeros((3, 5)), np.zeros(3, int))] * 3, 2)
    content = content.replace(b"K\x03K\x05\x86", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86")
    path = tmp_path / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match=r"is not the book's mnist.pkl.gz: cannot reshape"):
        mnist_loader.load_data(path)


def test_bad_npz(tmp_path, raw):
    path = tmp_path / "mnist.npz"
    good = dict(x_train=raw[0], y_train=raw[1], x_test=raw[2], y_test=raw[3])
    cases = [
        ({"x_train": raw[0][:, :14]}, r"x_train has shape \(60, 14, 28\)"),
        ({"x_train": raw[0] / 255}, "x_train has .* dtype float64, expected .* uint8"),
        ({"y_test": raw[3][:5]}, r"y_test has shape \(5,\)"),
        ({"y_train": raw[1] - np.arange(60)}, r"y_train: label \d is -\d, expected an integer 0"),
        (
            {"y_test": raw[3].astype(int) + 999},
            r"y_test: label \d+ is \d+, expected an integer 0..999",
        ),
        ({"x_test": np.array([Evil()])}, "is not Keras's mnist.npz"),
    ]
    for change, message in cases:
        np.savez(path, **(good | change))
        with pytest.raises(ValueError, match=message):
            mnist_loader.load_data(path)
    np.savez(path, images=raw[0])
    with pytest.raises(ValueError, match=r"is not Keras's mnist.npz with x_train"):
        mnist_loader.load_data(path)
    buffer = io.BytesIO()
    np.savez(buffer, **good)
    for content in (b"", b"junk", buffer.getvalue()[:-30], buffer.getvalue()[:2000]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"is not Keras's mnist.npz"):
            mnist_loader.load_data(path)
    assert not pathlib.Path("owned").exists()


# ------------------------------------------------ the real thing


def test_the_real_mnist(real_mnist):
    training, validation, test = real_mnist
    assert [len(labels) for _, labels in real_mnist] == [50_000, 10_000, 10_000]
    assert training[0].max() == np.float32(0.99609375)
    assert training[1][:5].tolist() == [5, 0, 4, 1, 9]
    assert validation[1][:3].tolist() == [3, 8, 6]
    assert test[1][:3].tolist() == [7, 2, 1]


def test_the_real_pickle_equals_the_idx_files(real_mnist):
    path = pathlib.Path(REAL_DATA) / "mnist.pkl.gz"
    if not path.exists():
        pytest.skip("no mnist.pkl.gz beside the IDX files")
    for ours, theirs in zip(mnist_loader.load_data(path), real_mnist):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])

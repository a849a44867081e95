"""Files of other data sets: the expanded MNIST, Fashion-MNIST, KMNIST, QMNIST, EMNIST, csv."""

import gzip
import itertools
import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
from formats import (
    KERAS_NAMES,
    as_sets,
    assert_sets,
    expanded,
    idx,
    write_idx,
    write_pickle,
)
from helpers import refused, run_command

from fastbp import mnist_loader
from fastbp.data import files
from fastbp.data.pixels import Pixels
from fastbp.data.readers import pickled_arrays

# ------------------------------------------------ writers, from the formats' descriptions


def write_split(folder, prefix, raw, train="train", test="test", packed=True):
    """Four IDX files whose names begin with a prefix, as EMNIST has them."""
    names = (f"{prefix}{part}-{kind}-ubyte" for part in (train, test)
             for kind in ("images-idx3", "labels-idx1"))  # fmt: skip
    return write_idx(folder, raw, packed, list(names))


def relabelled(raw, least, most):
    """The same images with labels least..most, each of the two in training and in testing."""
    x, _, u, _ = raw
    labels = [np.linspace(least, most, len(images)).astype(np.uint8) for images in (x, u)]
    return x, labels[0], u, labels[1]


def csv_lines(images, labels):
    rows = np.column_stack([labels, images.reshape(len(images), -1)])
    return [",".join(map(str, row)) for row in rows.tolist()]


HEADER = "label," + ",".join(f"pixel{k}" for k in range(784))


def write_csv(path, images, labels, header=HEADER, end="\n"):
    content = end.join([*([header] if header else []), *csv_lines(images, labels), ""]).encode()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


# ------------------------------------------------ the book's expanded training set

WRITERS = [("2", 0), ("2", 2), 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("protocol", WRITERS)
def test_the_expanded_training_set(protocol, tmp_path, raw):
    path = tmp_path / "mnist_expanded.pkl.gz"
    path.write_bytes(gzip.compress(expanded(as_sets(raw), protocol)))
    assert_sets(mnist_loader.load_data(path), as_sets(raw))
    assert_sets(mnist_loader.load_data(tmp_path), as_sets(raw))
    pairs, *_ = mnist_loader.load_data_wrapper(path)
    assert [x.shape + y.shape for x, y in pairs] == [(784, 1, 10, 1)] * 50


def test_the_books_folder_with_the_expanded_set_beside_it(tmp_path, raw):
    sets = as_sets(raw)
    write_pickle(tmp_path / "mnist.pkl.gz", sets)
    more = (np.tile(sets[0][0], (5, 1)), np.tile(sets[0][1], 5)), *sets[1:]
    (tmp_path / "mnist_expanded.pkl.gz").write_bytes(gzip.compress(expanded(more, 4)))
    assert_sets(mnist_loader.load_data(tmp_path), sets)
    assert_sets(mnist_loader.load_data(tmp_path / "mnist_expanded.pkl.gz"), more)


CHILD = """
import resource, sys, time
from fastbp import mnist_loader
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
(images, labels), *_ = mnist_loader.load_data(sys.argv[1])
assert images.shape == (20_000, 784) and labels.tolist() == [i % 10 for i in range(20_000)]
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("protocol", [pytest.param(("2", 0), marks=pytest.mark.slow), 4])
def test_twenty_thousand_images_in_lists_take_seconds_and_little_memory(protocol, tmp_path):
    """63 MB as float32; text of four times that, as Python 2 writes it by default."""
    images = np.zeros((20_000, 784), np.float32)
    rng = np.random.default_rng(0)
    images[:, ::5] = rng.integers(0, 256, images[:, ::5].shape) / np.float32(256)
    few = images[:5], np.arange(5)
    path = tmp_path / "mnist_expanded.pkl.gz"
    content = expanded(((images, np.arange(20_000) % 10), few, few), protocol)
    path.write_bytes(gzip.compress(content, 1))
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=True
    )
    seconds, kilobytes = map(float, run.stdout.split())
    assert seconds < 20
    assert kilobytes < 3.3 * images.nbytes / 1024


def bad_lists(sets):
    images, labels = map(list, sets[0])
    yield [images[:-1], labels], r"labels of shape \(50,\) .* expected \(49,\) integers"
    yield (
        [[*images[:7], images[7][:-1], *images[8:]], labels],
        (r"image 7 of the training set is of shape \(783,\) and float32, expected an array"),
    )
    yield [[*images[:7], 3, *images[8:]], labels], "image 7 of the training set is no array"
    yield [images, [*labels[:9], 1.5, *labels[10:]]], "refused: it uses the opcode"
    yield [images, [*labels[:9], np.float64(1), *labels[10:]]], "a scalar that is not an integer"
    yield [images, [*labels[:9], "5", *labels[10:]]], "label 9 of the training set is no integer"
    yield [images, [*labels[:9], -5, *labels[10:]]], r"label 9 of the training set is -5, expected"
    yield [images, [*labels[:9], 10**30, *labels[10:]]], "label 9 of the training set is 10000"
    yield [images, [*labels[:9], 1000, *labels[10:]]], r"label 9 is 1000, expected an integer 0..9"
    yield [[x * 2 + 1 for x in images], labels], "pixels go from"
    yield [[x.astype(float) * 1e300 for x in images], labels], "pixels go from 0.0 to inf"
    yield [[], []], r"images of shape \(0, 784\)"
    yield [images, None], "does not hold three pairs"
    yield [images[:1] * 900, labels[:1] * 900], "refused: it holds the same images again and again"


def test_invalid_lists(tmp_path, raw):
    path = tmp_path / "mnist_expanded.pkl.gz"
    sets = as_sets(raw)
    for training, message in bad_lists(sets):
        path.write_bytes(gzip.compress(pickle.dumps((training, *sets[1:]), 4)))
        with pytest.raises(ValueError, match=message) as raised:
            mnist_loader.load_data(path)
        assert str(path) in str(raised.value)


def test_the_limit_of_steps_and_its_advice(tmp_path, monkeypatch, raw):
    """A list of arrays of one number takes more steps than its bytes allow."""
    path, sets = tmp_path / "mnist.pkl.gz", as_sets(raw)
    many = [np.arange(1) for _ in range(900)]
    path.write_bytes(pickle.dumps(((sets[0][0], many), *sets[1:]), 4))
    with pytest.raises(ValueError, match=r"more than \d\d,\d+ steps, fastbp's limit for"):
        mnist_loader.load_data(path)
    monkeypatch.setattr(pickled_arrays, "FREE_STEPS", 300)
    monkeypatch.setattr(pickled_arrays, "BYTES_PER_STEP", 1000)
    path.write_bytes(expanded(sets, 4))
    with pytest.raises(ValueError, match=r"pickle arrays instead of lists, numpy.array\(images\)"):
        mnist_loader.load_data(path)
    images, labels = map(list, sets[0])
    path.write_bytes(pickle.dumps(((np.array(images), np.array(labels)), *sets[1:]), 4))
    assert_sets(mnist_loader.load_data(path), sets)


def test_lists_that_are_shared_and_lists_beside_arrays(tmp_path, raw):
    path, sets = tmp_path / "mnist.pkl.gz", as_sets(raw)
    images, labels = map(list, sets[0])
    for training in ((images, sets[0][1]), (sets[0][0], labels), (images, labels)):
        path.write_bytes(pickle.dumps((training, training, training), 4))
        assert_sets(mnist_loader.load_data(path), sets[:1] * 3)


def test_a_long_text_is_not_used_twice(tmp_path):
    content = b"\x80\2(T" + struct.pack("<i", 999) + b"a" * 999 + b"q\0h\0t."
    (tmp_path / "mnist.pkl").write_bytes(content)
    with pytest.raises(ValueError, match="it uses one long string twice"):
        mnist_loader.load_data(tmp_path / "mnist.pkl")


# ------------------------------------------------ the same formats under other names


@pytest.mark.parametrize("name", ["Fashion-MNIST", "KMNIST"])
def test_the_same_names(name, tmp_path, raw):
    assert_sets(mnist_loader.load_data(write_idx(tmp_path / name, raw)), as_sets(raw))


@pytest.mark.parametrize(("prefix", "most"), [("kmnist", 9), ("k49", 48)])
def test_kuzushiji(prefix, most, tmp_path, raw):
    raw = relabelled(raw, 0, most)
    names = ("train-imgs", "train-labels", "test-imgs", "test-labels")
    for name, array in zip(names, raw):
        np.savez_compressed(tmp_path / f"{prefix}-{name}.npz", array)
    for path in (tmp_path, *(tmp_path / f"{prefix}-{name}.npz" for name in names)):
        assert_sets(mnist_loader.load_data(path), as_sets(raw))
    assert mnist_loader.load_data_wrapper(tmp_path)[0][0][1].shape == (max(10, most + 1), 1)


@pytest.mark.parametrize("packed", [True, False])
def test_qmnist(packed, tmp_path, raw):
    rng = np.random.default_rng(0)
    arrays = list(raw)
    for k in (1, 3):
        arrays[k] = rng.integers(-1, 10**6, (len(raw[k]), 8)).astype(np.int32)
        arrays[k][:, 0] = raw[k]
    for name, array in zip(("train-images-idx3-ubyte", "train-labels-idx2-int",
                            "test-images-idx3-ubyte", "test-labels-idx2-int"), arrays):  # fmt: skip
        content = idx(array)
        path = tmp_path / f"qmnist-{name}{'.gz' * packed}"
        path.write_bytes(gzip.compress(content) if packed else content)
    assert_sets(mnist_loader.load_data(tmp_path), as_sets(raw))
    path = tmp_path / f"qmnist-train-labels-idx2-int{'.gz' * packed}"
    for array, message in (
        (arrays[1][:, :7].copy(), r"holds 7 numbers for each image, expected 8, as in QMNIST"),
        (arrays[1] - np.int32(20), r"labels-idx2-int.*: label 0 is -\d+, expected an integer 0..9"),
        (arrays[1][:-1], r"holds 60 images and .* 59 labels"),
        (raw[0], r"magic number 2051, expected 2049 or 3074"),
    ):
        path.write_bytes(idx(array))
        with pytest.raises(ValueError, match=message):
            mnist_loader.load_data(tmp_path)


EMNIST = {"balanced": (0, 46), "byclass": (0, 61), "bymerge": (0, 46), "digits": (0, 9),
          "letters": (1, 26), "mnist": (0, 9)}  # fmt: skip


@pytest.mark.parametrize("name", EMNIST)
def test_emnist(name, tmp_path, raw):
    raw = relabelled(raw, *EMNIST[name])
    write_split(tmp_path, f"emnist-{name}-", raw, packed=name != "mnist")
    sets = mnist_loader.load_data(tmp_path)
    assert_sets(sets, as_sets(raw))
    n_out = max(10, EMNIST[name][1] + 1)
    assert mnist_loader.count_outputs(sets) == n_out
    pairs, validation, test = mnist_loader.load_data_wrapper(tmp_path)
    assert {y.shape for _, y in pairs} == {(n_out, 1)}
    assert [int(y.argmax()) for _, y in pairs] + [y for _, y in validation] == raw[1].tolist()
    assert [y for _, y in test] == raw[3].tolist()


@pytest.mark.parametrize("pixels", [False, True])
def test_transposed_images_are_made_upright(pixels, tmp_path, raw):
    turned = [a.transpose(0, 2, 1) if a.ndim == 3 else a for a in raw]
    write_split(tmp_path, "emnist-letters-", [np.ascontiguousarray(a) for a in turned])
    sets = mnist_loader.load_data(tmp_path, transpose=True, pixels=pixels)
    if pixels:
        sets = [(x.array / np.float32(256), y) for x, y in sets]
    assert_sets(sets, as_sets(raw))
    x = mnist_loader.load_data_wrapper(tmp_path, transpose=True)[0][0][0]
    np.testing.assert_array_equal(x, raw[0][0].reshape(784, 1) / np.float32(256))
    write_pickle(tmp_path / "mnist.pkl.gz", as_sets(turned))
    assert_sets(mnist_loader.load_data(tmp_path / "mnist.pkl.gz", transpose=True), as_sets(raw))


def test_several_data_sets_in_a_folder(tmp_path, raw):
    letters, digits = relabelled(raw, 1, 26), relabelled(raw, 0, 9)
    write_split(tmp_path, "emnist-letters-", letters)
    write_split(tmp_path, "emnist-digits-", digits, packed=False)
    write_idx(tmp_path, raw)
    np.savez(tmp_path / "mnist.npz", x_train=0)  # MNIST once more: as before, not looked at
    with pytest.raises(ValueError, match=(
        r"holds 3 data sets: emnist-digits-train-images-idx3-ubyte, emnist-letters-train-images-"
        r"idx3-ubyte.gz, train-images-idx3-ubyte.gz; pass the path of one of these files instead"
    )) as raised:  # fmt: skip
        mnist_loader.load_data(tmp_path)
    names = str(raised.value).partition("sets: ")[2].partition(";")[0].split(", ")
    for name, wanted in zip(names, (digits, letters, raw)):  # the advice works
        assert_sets(mnist_loader.load_data(tmp_path / name), as_sets(wanted))
    for name in os.listdir(tmp_path):  # and so it does with any other file of a split
        if "letters" in name:
            assert_sets(mnist_loader.load_data(tmp_path / name), as_sets(letters))


def test_images_have_the_labels_of_their_own_form(tmp_path, raw):
    """Packed and not, one beside the other: as after `gunzip -k`, but with other content."""
    other = (raw[0][::-1].copy(), raw[1][::-1].copy(), *raw[2:])
    write_idx(tmp_path, raw)  # packed
    for name, array in zip(("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), other):
        (tmp_path / name).write_bytes(idx(array))
    assert_sets(mnist_loader.load_data(tmp_path), as_sets(raw))
    assert_sets(mnist_loader.load_data(tmp_path / "train-images-idx3-ubyte.gz"), as_sets(raw))
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        assert_sets(mnist_loader.load_data(tmp_path / name), as_sets(other))
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()  # the labels of one pair only are left
    assert_sets(mnist_loader.load_data(tmp_path), as_sets(other))


def test_files_that_are_missing_are_named(tmp_path, raw):
    write_split(tmp_path, "emnist-letters-", raw)
    (tmp_path / "emnist-letters-test-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no MNIST: with emnist-letters-.* belong "
                       r"files for test labels; expected a folder"):  # fmt: skip
        mnist_loader.load_data(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"train-images.* needs the test labels"):
        mnist_loader.load_data(tmp_path / "emnist-letters-train-images-idx3-ubyte.gz")
    write_idx(tmp_path, raw)
    assert_sets(mnist_loader.load_data(tmp_path), as_sets(raw))


def test_bad_kuzushiji(tmp_path, raw):
    names = ("train-imgs", "train-labels", "test-imgs", "test-labels")
    for name, k, array, message in (
        ("train-imgs", 0, raw[0] / 255, r"is not an .npz file of images: arr_0 has .* float64"),
        ("test-labels", 3, raw[3].astype(float), "is not an .npz file of labels: arr_0 has"),
        ("train-labels", 1, raw[1][:5], r"holds 60 images and .* 5 labels"),
        (
            "train-labels",
            1,
            raw[1].astype(int) + 1000,
            r"train-labels.npz: label 0 is 1\d+, expected an",
        ),
        ("train-imgs", 0, raw[0][:, :9], r"shape \(60, 9, 28\)"),
    ):
        for other, whole in zip(names, raw):
            np.savez(tmp_path / f"kmnist-{other}.npz", array if other == name else whole)
        with pytest.raises(ValueError, match=message) as raised:
            mnist_loader.load_data(tmp_path)
        assert f"kmnist-{name}.npz" in str(raised.value), k
    np.savez(tmp_path / "kmnist-train-imgs.npz", images=raw[0])
    with pytest.raises(ValueError, match="it holds no arr_0"):
        mnist_loader.load_data(tmp_path)


# ------------------------------------------------ csv


@pytest.mark.parametrize("form", ["plain", "header", "windows", "packed", "a mark"])
def test_a_pair_of_csv_files(form, tmp_path, raw):
    suffix = ".csv.gz" if form == "packed" else ".csv"
    how = {"plain": dict(header=None), "windows": dict(end="\r\n"),
           "a mark": dict(header="\ufeff" + HEADER)}.get(form, {})  # fmt: skip
    write_csv(tmp_path / f"mnist_train{suffix}", *raw[:2], **how)
    write_csv(tmp_path / f"mnist_test{suffix}", *raw[2:], **how)
    assert_sets(mnist_loader.load_data(tmp_path), as_sets(raw))


@pytest.mark.parametrize("packed", [True, False])
def test_one_csv_file_is_split_in_three(packed, tmp_path, raw):
    path = write_csv(tmp_path / f"train.csv{'.gz' * packed}", *raw[:2])
    x, y = raw[0].reshape(60, 784) / np.float32(256), raw[1]
    ends = (slice(0, 42), slice(42, 50), slice(50, 60))
    assert_sets(mnist_loader.load_data(path), [(x[part], y[part]) for part in ends])


def test_csv_of_other_sizes_and_many_blocks(tmp_path, monkeypatch):
    """Images of 3 x 3, read in pieces that end within lines; blank lines are passed over."""
    monkeypatch.setattr(files, "CHUNK", 7)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 3, 3)), rng.integers(0, 1000, 40)
    path = tmp_path / "small.csv"
    path.write_text("label,a\n" + "\n\n".join(csv_lines(images, labels)))
    sets = mnist_loader.load_data(path, transpose=True)
    np.testing.assert_array_equal(np.concatenate([y for _, y in sets]), labels)
    x = np.concatenate([x for x, _ in sets]).reshape(40, 3, 3)
    np.testing.assert_array_equal(x, images.transpose(0, 2, 1) / np.float32(256))
    path.write_text("\n".join(line + ",7" for line in csv_lines(images, labels)))
    with pytest.raises(ValueError, match="have 10 pixels, expected a square number for transpose"):
        mnist_loader.load_data(path, transpose=True)
    assert mnist_loader.load_data(path)[0][0].shape[1] == 10  # the advice


BAD_CSV = {
    "a pixel of 256": (3, 5, "256", r"line 3, column 5 is '256', expected a pixel, an integer"),
    "a negative pixel": (3, 5, "-1", r"line 3, column 5 is '-1', expected a pixel"),
    "a large pixel": (3, 5, "9" * 99, r"line 3, column 5 is '999.*', expected a pixel"),
    "a fraction": (9, 785, "0.5", r"line 9, column 785 is '0.5', expected a pixel"),
    "a text": (9, 2, "x\x1b", r"line 9, column 2 is 'x\?', expected a pixel"),
    "nothing": (9, 2, "", r"line 9, column 2 is '', expected a pixel"),
    "not a number": (9, 2, "nan", r"line 9, column 2 is 'nan', expected a pixel"),
    "a label of 1000": (2, 1, "1000", r"line 2, column 1 is '1000', expected a label, an integer"),
    "a label in words": (4, 1, "five", r"line 4, column 1 is 'five', expected a label"),
    "two columns more": (7, 3, "1,2,3", "line 7 has 787 columns, expected 785: a label"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CSV)
def test_bad_csv(name, tmp_path, raw):
    line, column, value, message = BAD_CSV[name]
    lines = [HEADER, *csv_lines(*raw[:2])]
    cells = lines[line - 1].split(",")
    cells[column - 1] = value
    lines[line - 1] = ",".join(cells)
    path = tmp_path / "train.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message) as raised:
        mnist_loader.load_data(path)
    assert str(path) in str(raised.value)
    assert str(raised.value).isprintable()


def test_csv_files_that_are_something_else(tmp_path, raw):
    path, lines = tmp_path / "train.csv", csv_lines(*raw[:2])
    for content, message in (
        ("", "holds no samples"),
        (HEADER, "holds no samples"),
        ("\n".join(lines[:6]), "holds 6 samples, expected at least 7"),
        ("\n".join(lines).replace(",", ";"), "line 1 has no commas, expected label,pixel"),
        ("1\n" * 50, "line 1 has no commas, expected label,pixel"),
        (
            "," + HEADER + "\n",
            r"line 1: .* column 2, 'label', as the label, and column 1, ''",
        ),
        ("0" * 3_000_000, "has a line of more than 262,144 bytes"),
        ("\0" * 999, "line 1 has no commas"),
        ("<html>\n</html>", "line 1 has no commas"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message) as raised:
            mnist_loader.load_data(path)
        assert str(path) in str(raised.value)
    path.write_text("\n".join(lines[:7]))
    assert [len(y) for _, y in mnist_loader.load_data(path)] == [5, 1, 1]


LAST = [*range(1, 785), 0]  # the columns of label,pixel,... with the label last
HEADERS = {
    "OpenML's": ("pixel{}", "class", LAST, "column 785, 'class', as the label; expected label"),
    "numbers": ("{}", "Label", LAST, "column 785, 'label', as the label; expected label"),
    "an index": ("pixel{}", "label", [-1, *range(785)], "column 2, .* column 1, 'unnamed: 0', w"),
    "no name": ("pixel{}", "label", [-2, *range(785)], "column 2, .*and column 1, '', which holds"),
    "id": ("pixel{}", "y", [0, -3, *range(1, 785)], "column 1, 'y', .* and column 2, 'id'"),
    "id and last": ("pixel{}", "target", [-3, *LAST], "column 786, .*and column 1, 'id', which"),
    "twice": ("1x{}", "digit", [0, *range(1, 785), 0], "column 1, .*and column 786, 'digit'"),
}  # fmt: skip


def write_columns(path, raw, pixel, label, order):
    """A csv file with columns in any order: 0 the label, k pixel k - 1, below 0 an index."""
    images, labels = raw[:2]
    names = {0: label, -1: "Unnamed: 0", -2: "", -3: "id"}
    table = np.column_stack([labels, images.reshape(len(images), -1)])
    index = np.arange(len(images))[:, None]
    rows = np.hstack([table[:, [k]] if k >= 0 else index for k in order]).tolist()
    lines = [[names[k] if k < 1 else pixel.format(k - 1) for k in order], *rows]
    path.write_text("\n".join(",".join(map(str, line)) for line in lines))


@pytest.mark.parametrize("name", HEADERS)
def test_csv_headers_that_do_not_put_the_label_first(name, tmp_path, monkeypatch, raw):
    """The message holds an expression that writes the file anew; it is followed here."""
    pixel, label, order, message = HEADERS[name]
    write_columns(tmp_path / "train.csv", raw, pixel, label, order)
    with pytest.raises(
        ValueError, match="train.csv, line 1: the header names " + message
    ) as raised:
        mnist_loader.load_data(tmp_path / "train.csv")
    monkeypatch.chdir(tmp_path)
    eval(str(raised.value).partition("another file: ")[2], {"numpy": np, "range": range})
    seen = mnist_loader.load_data("label_first_train.csv", pixels=True)
    assert np.concatenate([y for _, y in seen]).tolist() == raw[1].tolist()
    images = np.concatenate([x.array for x, _ in seen])
    np.testing.assert_array_equal(images, raw[0].reshape(60, 784))


@pytest.mark.parametrize("label", ["label", '"Label"', "Class", "y", "TARGET", "digit", "# label",
                                   "category", "character", "class_label", "labels"])  # fmt: skip
def test_csv_headers_that_put_the_label_first(label, tmp_path, raw):
    for rest in (",".join(f"1x{k}" for k in range(784)), "," * 783, "pixels"):
        path = write_csv(tmp_path / "train.csv", *raw[:2], header=f"\n{label},{rest}")
        assert mnist_loader.load_data(path)[0][1].tolist() == raw[1][:42].tolist()


def test_csv_headers_without_a_label(tmp_path, raw):
    """`id,pixel0,...` is as wide as `label,pixel0,...`."""
    write_csv(tmp_path / "train.csv", *raw[:2])
    test = write_csv(tmp_path / "test.csv", *raw[2:], header=HEADER.replace("label", "id"))
    with pytest.raises(ValueError, match=r"test.csv, line 1: the header begins with 'id' and names "
                       r"no column as the label.*write label as its name"):  # fmt: skip
        mnist_loader.load_data(tmp_path)
    test.write_text(test.read_text().replace("id", "label", 1))  # the advice
    assert_sets(mnist_loader.load_data(tmp_path), as_sets(raw))
    test.write_text("," + ",".join(map(str, range(785))) + "\n0,1,2\n")
    with pytest.raises(ValueError, match=r"begins with '' .*to_csv\(path, index=False\)"):
        mnist_loader.load_data(tmp_path)


def test_csv_header_of_column_numbers(tmp_path, raw):
    images = raw[0][:, :2, :2]
    path = write_csv(tmp_path / "train.csv", images, raw[1], header="0,1,2,3,4")
    with pytest.raises(ValueError, match=r"line 1 is 0,1,2,...,4: .*delete the line, or write "
                       r"the file by to_csv\(path, index=False, header=False\). If"):  # fmt: skip
        mnist_loader.load_data(path)
    content = path.read_text()
    path.write_text(content.partition("\n")[2])  # the advice, if it is a header
    assert sum(len(y) for _, y in mnist_loader.load_data(path)) == 60
    path.write_text("label,pixels\n" + content)  # and if it is a sample
    assert sum(len(y) for _, y in mnist_loader.load_data(path)) == 61


def test_csv_headers_of_another_width(tmp_path, raw):
    """R's write.table puts row names before each line, but no name of theirs into the header."""
    path = tmp_path / "train.csv"
    lines = [f"{k},{line}" for k, line in enumerate(csv_lines(*raw[:2]), 1)]
    path.write_text("\n".join([HEADER, *lines]))
    with pytest.raises(
        ValueError, match=r"names 785 columns, the next line has 786, .*row.names=F"
    ):
        mnist_loader.load_data(path)


@pytest.mark.parametrize("name", ["contest_{}", "latest_{}", "{}_contest", "Train-{}-latest", "{}",
                                  "mnist{}", "contest{}", "mnist_{}ing_2"])  # fmt: skip
def test_names_of_csv_files_for_training_and_for_testing(name, tmp_path, raw):
    write_csv(tmp_path / f"{name.format('train')}.csv", *raw[:2])
    write_csv(tmp_path / f"{name.format('test')}.csv", *raw[2:])
    assert_sets(mnist_loader.load_data(tmp_path), as_sets(raw))


def test_kaggles_two_files(tmp_path, raw):
    """Its test.csv has no labels; train.csv alone is what the message leads to."""
    write_csv(tmp_path / "train.csv", *raw[:2])
    lines = [line.partition(",")[2] for line in [HEADER, *csv_lines(*raw[2:])]]
    for content, message in (
        (lines, r"test.csv, line 1: the header begins with 'pixel0' and names no column as the .*: "
                r"pass the path of the file that has labels"),
        (lines[1:], r"test.csv has 784 columns, expected 785 as in .*: it has no labels, .*pass "
                    r"the path of train.csv"),
    ):  # fmt: skip
        (tmp_path / "test.csv").write_text("\n".join(content))
        with pytest.raises(ValueError, match=message):
            mnist_loader.load_data(tmp_path)
    assert len(mnist_loader.load_data(tmp_path / "train.csv")[0][1]) == 42
    (tmp_path / "test.csv").unlink()
    with pytest.raises(FileNotFoundError, match="a csv file alone can be passed by its path"):
        mnist_loader.load_data(tmp_path)


def test_two_pairs_of_csv_files(tmp_path, raw):
    for name in ("mnist", "fashion-mnist"):
        write_csv(tmp_path / f"{name}_train.csv", *raw[:2])
        write_csv(tmp_path / f"{name}_test.csv", *raw[2:])
    with pytest.raises(ValueError, match=r"holds 2 data sets: fashion-mnist_train.csv, mnist_"
                       r"train.csv; .* of csv files, give it a folder of its own"):  # fmt: skip
        mnist_loader.load_data(tmp_path)
    (tmp_path / "own").mkdir()
    for part in ("train", "test"):
        (tmp_path / f"mnist_{part}.csv").rename(tmp_path / "own" / f"mnist_{part}.csv")
    assert_sets(mnist_loader.load_data(tmp_path / "own"), as_sets(raw))


def test_a_file_that_unpacks_to_too_much_can_be_unpacked_first(tmp_path):
    lines = ("0" + ",0" * 784 + "\n") * 3000
    path = tmp_path / "train.csv.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    with pytest.raises(ValueError, match=r"the most that fastbp unpacks .* gunzip and pass the"):
        mnist_loader.load_data(path)
    (tmp_path / "train.csv").write_bytes(gzip.decompress(path.read_bytes()))
    assert len(mnist_loader.load_data(tmp_path / "train.csv")[2][1]) == 500


# ------------------------------------------------ pixels


def test_pixels_are_the_bytes(tmp_path, raw):
    sources = [write_idx(tmp_path / "idx", raw)]
    sources.append(write_pickle(tmp_path / "mnist.pkl.gz", as_sets(raw)))
    np.savez(tmp_path / "m.npz", **dict(zip(KERAS_NAMES, raw)))
    sources.append(tmp_path / "m.npz")
    (tmp_path / "csv").mkdir()
    write_csv(tmp_path / "csv" / "train.csv", *raw[:2])
    write_csv(tmp_path / "csv" / "test.csv", *raw[2:])
    sources.append(tmp_path / "csv")
    (tmp_path / "e.pkl.gz").write_bytes(gzip.compress(expanded(as_sets(raw), 4)))
    sources.append(tmp_path / "e.pkl.gz")
    for path in sources:
        sets = mnist_loader.load_data(path, pixels=True)
        for (images, labels), (x, y) in zip(sets, as_sets(raw), strict=True):
            assert isinstance(images, Pixels)
            assert (images.dtype, images.scale) == (np.uint8, 1 / 256)
            np.testing.assert_array_equal(images.array / np.float32(256), x)
            np.testing.assert_array_equal(labels, y)
        pairs, validation, test = mnist_loader.wrap(sets)
        wanted = mnist_loader.wrap(as_sets(raw))
        for (x, y), (u, v) in zip(pairs + validation + test, itertools.chain(*wanted)):
            assert x.dtype == np.float32
            np.testing.assert_array_equal(x, u)
            np.testing.assert_array_equal(y, v)


def test_floats_that_are_not_multiples_of_1_256(tmp_path, raw):
    sets = [(x.copy(), y) for x, y in as_sets(raw)]
    path = tmp_path / "mnist.pkl.gz"
    for value in (0.3, 1.0):
        sets[1][0][4, 17] = value
        write_pickle(path, tuple(sets))
        with pytest.raises(ValueError, match=rf"pkl.gz: the validation images: pixel 17 of image "
                           rf"4 is {value:.6g}, expected .* load it without"):  # fmt: skip
            mnist_loader.load_data(path, pixels=True)
        assert_sets(mnist_loader.load_data(path), sets)


def test_synthetic_pixels():
    for (images, labels), (x, y) in zip(
        mnist_loader.synthetic(9, 5, 0, pixels=True), mnist_loader.synthetic(9, 5, 0)
    ):
        np.testing.assert_array_equal(images.array / np.float32(256), x)
        np.testing.assert_array_equal(labels, y)


@pytest.mark.parametrize("form", ["csv", "idx", "npz"])
def test_black_and_white_pixels_stored_as_0_and_1(form, tmp_path, raw):
    x, y, u, v = raw
    bits = x >> 7, y, u >> 7, v
    path = tmp_path / "mnist.npz"
    if form == "npz":
        np.savez(path, **dict(zip(KERAS_NAMES, bits)))
    elif form == "idx":
        path = write_idx(tmp_path / "idx", bits)
    else:
        path = write_csv(tmp_path / "one.csv", *bits[:2])
    message = r"the training images: the largest pixel is 1, expected up to 255; .*X \* 256"
    with pytest.warns(RuntimeWarning, match=message) as caught:
        (images, _), *_ = mnist_loader.load_data(path)
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(RuntimeWarning, match=r"fastbp.Pixels\(X.array, scale=1.0\)"):
        (pixels, _), *_ = mnist_loader.load_data(path, pixels=True)
    wanted = bits[0].reshape(60, 784)[: len(images)]
    np.testing.assert_array_equal(images * 256, wanted)  # the advice
    np.testing.assert_array_equal(Pixels(pixels.array, scale=1.0).values(np.float32), wanted)
    white = write_csv(tmp_path / "white.csv", bits[0] * 255, y)  # and its last part: no warning
    assert mnist_loader.load_data(white)[0][0].max() == np.float32(255 / 256)


@pytest.mark.parametrize("name", ["pixels", "transpose"])
def test_options_are_true_or_false(name, tmp_path, raw):
    with pytest.raises(TypeError, match=f"{name} is 1 .*expected True or False"):
        mnist_loader.load_data(write_idx(tmp_path / "d", raw), **{name: 1})


# ------------------------------------------------ numbers of outputs


def test_wrap_of_26_classes_and_of_bad_labels():
    images = np.zeros((4, 9), np.float32)
    data = [(images, np.array(labels)) for labels in ([1, 2, 3, 4], [5, 6, 7, 26], [1, 1, 1, 1])]
    assert mnist_loader.count_outputs(data) == 27
    assert mnist_loader.wrap(data)[0][3][1].argmax() == 4
    assert mnist_loader.wrap(data)[0][3][1].shape == (27, 1)
    for labels, error, message in (
        ([0, 1, -1, 2], ValueError, r"the test set: label 2 is -1, expected an integer 0..999"),
        ([0, 1, 2, 1000], ValueError, r"the test set: label 3 is 1000, expected"),
        ([0.0, 1.0, 2.0, 3.0], TypeError, r"test labels have .*use numpy.ravel\(labels\).astype"),
        ([[0], [1], [2], [3]], TypeError, r"test labels have .*use numpy.ravel\(labels\).astype"),
    ):
        bad = [*data[:2], (images, np.array(labels))]
        with pytest.raises(error, match=message):
            mnist_loader.wrap(bad)
    bad[2] = images, np.ravel(bad[2][1]).astype(int)
    assert [y for _, y in mnist_loader.wrap(bad)[2]] == [0, 1, 2, 3]


def test_the_command_takes_the_outputs_from_the_data(tmp_path, raw):
    write_split(tmp_path, "emnist-letters-", relabelled(raw, 1, 26))
    write_split(tmp_path, "emnist-digits-", relabelled(raw, 0, 9))
    path = tmp_path / "emnist-letters-train-images-idx3-ubyte.gz"
    for options in ((), ("--cost", "cross-entropy")):
        model = tmp_path / f"model{'.json' if options else '.npz'}"
        common = "train", "--data", path, "--epochs", 1, "--seed", 3
        run = run_command(*common, "--save", model, *options)
        assert run.returncode == 0, run.stderr
        assert "50 training and 20 test images; network [784, 30, 27]" in run.stderr
        first = model.read_bytes()
        run_command(*common, "--sizes", "784,30,27", "--save", model, *options)
        assert model.read_bytes() == first  # the seed is that of the network of 27 outputs
        run = run_command("evaluate", model, "--data", path)
        assert " / 20 (" in run.stdout, run.stderr
    assert "outside 0..9" in refused("train", "--data", path, "--sizes", "784,30,10")
    assert "holds 2 data sets" in refused("train", "--data", tmp_path)


def test_the_command_takes_the_inputs_from_the_data(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "digits.csv"
    write_csv(path, rng.integers(0, 17, (60, 64)), rng.integers(0, 10, 60), header=None)
    run = run_command("train", "--data", path, "--epochs", 1)
    assert "42 training and 10 test images; network [64, 30, 10]" in run.stderr


def test_the_command_turns_transposed_images(tmp_path, raw):
    models = []
    for name, images in (("plain", raw), ("turned", [
        np.ascontiguousarray(a.transpose(0, 2, 1)) if a.ndim == 3 else a for a in raw
    ])):  # fmt: skip
        folder, model = tmp_path / name, tmp_path / f"{name}.npz"
        folder.mkdir()
        write_idx(folder, images)
        turn = ("--transpose",) if name == "turned" else ()
        run = run_command(
            "train", "--data", folder, "--epochs", 1, "--seed", 3, "--save", model, *turn
        )
        assert run.returncode == 0, run.stderr
        models.append(model.read_bytes())
    assert models[0] == models[1]
    run = run_command("evaluate", model, "--data", tmp_path / "turned", "--transpose")
    assert " / 20 (" in run.stdout

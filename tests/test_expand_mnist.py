"""fastbp.expand_mnist: the book's displaced images, deformed images, and fastbp expand."""

import dataclasses
import gzip
import json
import pickle
import random
import sys

import numpy as np
import pytest
from helpers import refused, run_command
from matplotlib import image as matplotlib_image

from fastbp import Pixels, mnist_loader, network, network2
from fastbp.expand_mnist import Deformation, deform, expand


def displaced(image):
    """The book's four copies of an image (28, 28): rolled by a pixel, with zeros moved in."""
    down, up, right, left = (np.roll(image, *how) for how in ((1, 0), (-1, 0), (1, 1), (-1, 1)))
    down[0] = up[-1] = right[:, 0] = left[:, -1] = 0
    return down, up, right, left


def expanded_oracle(X, Y):
    """The book's list of images before it is shuffled, and their labels."""
    side = int(np.sqrt(X.shape[1]))
    images, labels = [], []
    for x, y in zip(X, Y):
        square = x.reshape(side, side)
        images += [x, *(copy.reshape(-1) for copy in displaced(square))]
        labels += [y] * 5
    return np.array(images), np.array(labels)


# ------------------------------------------------ expand


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("side", [1, 2, 28])
def test_expand_arrays(side, dtype, rng):
    X, labels = rng.integers(0, 256, (6, side * side)).astype(dtype), rng.integers(0, 10, 6)
    for Y in (labels, np.eye(10)[labels]):
        seen, targets = expand((X, Y))
        images, wanted = expanded_oracle(X, Y)
        assert (seen.dtype, targets.dtype) == (dtype, Y.dtype)
        np.testing.assert_array_equal(seen, images)
        np.testing.assert_array_equal(targets, wanted)


def test_expand_pixels_keeps_the_scale(rng):
    X, labels = rng.integers(0, 256, (4, 784), np.uint8), np.arange(4)
    seen, _ = expand((Pixels(X, 1 / 255), labels))
    assert (type(seen), seen.scale) == (Pixels, 1 / 255)
    np.testing.assert_array_equal(seen.array, expanded_oracle(X, labels)[0])


@pytest.mark.parametrize("of", [list, tuple, iter])
def test_expand_the_books_pairs(of, rng):
    X, labels = rng.random((5, 784)), rng.integers(0, 10, 5)
    Y = np.eye(10)[labels]
    images, wanted = expanded_oracle(X, Y)
    seen, targets = expand(of([(x[:, None], y[:, None]) for x, y in zip(X, Y)]))
    np.testing.assert_array_equal(seen, images)
    np.testing.assert_array_equal(targets, wanted)
    for label_of in (int, np.int64, np.uint8, lambda k: np.array([k])):
        seen, targets = expand(of([(x[:, None], label_of(k)) for x, k in zip(X, labels)]))
        np.testing.assert_array_equal(seen, images)
        np.testing.assert_array_equal(targets, np.repeat(labels, 5))
        assert targets.dtype.kind in "iu"


def test_what_expand_returns_can_be_trained_on(rng):
    """And labels of pairs that lack a common shape are numbers, too."""
    pairs = [(rng.random((784, 1)), k if k % 2 else np.array([[k]])) for k in range(4)]
    X, Y = expand(pairs)
    np.testing.assert_array_equal(Y, np.repeat(np.arange(4), 5))
    net = network.Network([784, 10])
    net.SGD((X, Y), 1, 5, 0.1, verbose=False)
    assert 0 <= net.evaluate((X, Y)) <= 20


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ([], ValueError, "data is empty"),
        (3, TypeError, "data is 3 (int), expected pairs (x, y) or a tuple of two arrays"),
        (np.zeros((3, 784)), TypeError, "data is one array of shape (3, 784)"),
        ((np.zeros((3, 784)), np.zeros(2)), ValueError, "X has 3 rows and Y has shape (2,)"),
        ((np.zeros((3, 10)), np.zeros(3)), ValueError,
         "data: X has shape (3, 10), expected square images, one a row"),
        ((np.zeros((3, 784), int), np.zeros(3)), TypeError,
         "data: X has dtype int64, expected uint8, float32 or float64"),
        ((np.full((3, 784), np.nan), np.zeros(3)), ValueError,
         "data: X is nan at [0, 0], expected finite numbers; correct it"),
        ([(np.zeros(784), 3)], ValueError, "data[0]: x has shape (784,), expected (784, 1)"),
        ([(np.zeros((784, 1)), 3), (np.zeros((9, 1)), 3)], ValueError,
         "data[1]: x has shape (9, 1), expected (784, 1)"),
        ([(np.zeros((784, 1)), np.zeros((10, 1))), (np.zeros((784, 1)), 3)], ValueError,
         "data[1]: y is the label 3, expected a column (10, 1)"),
        ([5], ValueError, "data[0] is 5 (int), expected a pair (x, y)"),
    ],
)  # fmt: skip
def test_expand_refuses(data, error, text):
    with pytest.raises(error) as caught:
        expand(data)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


# ------------------------------------------------ deform


@pytest.fixture
def X(rng):
    return rng.integers(0, 256, (6, 81), np.uint8)


def test_forms_of_images(X):
    """One result, whatever the form; the images stay as they are."""
    before, labels = X.copy(), [1, 2, 3, 7, 7, 0]
    wanted = deform(X, labels, seed=2)
    assert (wanted.shape, wanted.dtype) == (X.shape, X.dtype)
    X.flags.writeable = False
    strided = np.repeat(X, 2, axis=1)[:, ::2]
    for form in (X, strided, np.asfortranarray(X), X.reshape(6, 9, 9), X.reshape(6, 9, 9)[:, :, :]):
        np.testing.assert_array_equal(deform(form, labels, seed=2).reshape(X.shape), wanted)
    pixels = deform(Pixels(X, 0.5), labels, seed=2)
    assert (type(pixels), pixels.scale) == (Pixels, 0.5)
    np.testing.assert_array_equal(pixels.array, wanted)
    floats, swapped = deform(X / 256, labels, seed=2), (X / 256).astype(">f8")
    np.testing.assert_array_equal(deform(swapped, labels, seed=2), floats)
    np.testing.assert_allclose(256 * floats, wanted, atol=0.51)
    single = deform((X / 256).astype(np.float32), labels, seed=2)
    np.testing.assert_allclose(single, floats, atol=1e-6)
    np.testing.assert_array_equal(X, before)


def test_memory_maps_and_no_images(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", X.dtype, X.shape)
    deform(mapped, seed=2, out=out)
    np.testing.assert_array_equal(out, deform(X, seed=2))
    assert deform(X[:0], seed=2).shape == (0, 81)


def test_out_is_written_and_returned(X):
    out = np.empty_like(X)
    assert deform(X, seed=2, out=out) is out
    np.testing.assert_array_equal(out, deform(X, seed=2))
    bytes_out = np.empty_like(X)
    made = deform(Pixels(X), seed=2, out=bytes_out)
    assert made.array is bytes_out
    np.testing.assert_array_equal(bytes_out, out)


def test_the_global_generators_are_left_alone(X):
    states = random.getstate(), np.random.get_state()[1].tolist()
    deform(X, seed=2)
    assert states == (random.getstate(), np.random.get_state()[1].tolist())


SAME = "the images themselves"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (dict(X=np.zeros((2, 10))), ValueError, "X has shape (2, 10), expected square images"),
        (dict(X=np.zeros((2, 3, 4))), ValueError, "X has shape (2, 3, 4), expected square images"),
        (dict(X=np.zeros(9)), ValueError, "X has shape (9,), expected square images"),
        (dict(X=np.zeros((2, 0))), ValueError, "X has shape (2, 0), expected square images"),
        (dict(X=np.zeros((2, 9), int)), TypeError, "use X.astype(np.float32)"),
        (dict(X="images"), TypeError, "X has dtype <U6, expected real numbers"),
        (dict(X=np.full((2, 9), np.inf)), ValueError, "X is inf at [0, 0], expected finite"),
        (dict(labels=[1]), ValueError, "labels have shape (1,) and dtype int64, expected (2,)"),
        (dict(labels=np.eye(2)), ValueError, "for one-hot rows use np.argmax(labels, axis=1)"),
        (dict(labels=[0.5, 1]), ValueError, "dtype float64, expected (2,) integers"),
        (dict(seed=-1), ValueError, "seed is -1, expected at least 0"),
        (dict(seed=2**64), ValueError, "seed is 18446744073709551616, expected less than 2**64"),
        (dict(seed=0.5), TypeError, "seed is 0.5 (float), expected an integer"),
        (dict(epoch=2**32), ValueError, "epoch is 4294967296, expected less than 2**32"),
        (dict(first=-1), ValueError, "first is -1, expected at least 0"),
        (dict(threads=0), ValueError, "threads is 0, expected at least 1"),
        (dict(elastic=36), TypeError, "elastic is 36 (int), expected (alpha, sigma), e.g. (36, 5)"),
        (dict(elastic=(36, 0)), ValueError, "sigma is 0.0, expected 0.1..100 pixels"),
        (dict(elastic=(-1, 5)), ValueError, "alpha is -1.0, expected 0..1000"),
        (dict(elastic=("a", 5)), TypeError, "alpha is 'a' (str), expected a number"),
        (dict(rotation=181), ValueError, "rotation is 181.0, expected 0..180 degrees"),
        (dict(shear=-5), ValueError, "shear is -5.0, expected 0..80 degrees"),
        (dict(scale=100), ValueError, "scale is 100.0, expected 0..90 percent"),
        (dict(shift=np.nan), ValueError, "shift is nan, expected a finite number"),
        (dict(halved=7), TypeError, "halved is 7 (int), expected labels, e.g. (1, 7)"),
        (dict(halved=(1, 0.5)), TypeError, "halved[1] is 0.5 (float), expected an integer"),
        (dict(out=[[0]]), TypeError, "out is [[0]] (list), expected an array"),
        (dict(out=np.zeros((3, 9))), ValueError,
         "out has shape (3, 9) and dtype float64, expected (2, 9) and float64"),
        (dict(out=np.zeros((2, 9), np.float32)), ValueError, "use np.empty_like(X)"),
        (dict(out=np.zeros((9, 2)).T), ValueError, "out is read-only or not C-contiguous"),
        (dict(out=SAME), ValueError, "out shares memory with the images"),
    ],
)  # fmt: skip
def test_deform_refuses(arguments, error, text):
    arguments = dict(X=np.zeros((2, 9)), seed=1) | arguments
    if arguments.get("out") is SAME:
        arguments["out"] = arguments["X"]
    with pytest.raises(error) as caught:
        deform(**arguments)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


# ------------------------------------------------ Deformation


def test_a_deformation_is_a_value():
    chosen = Deformation(elastic=[30, 4], halved=[3])
    assert chosen == Deformation((30.0, 4.0), halved=(3,))
    assert len({chosen, Deformation((30, 4), halved=(3,)), Deformation()}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        chosen.scale = 3
    as_json = json.loads(json.dumps(dataclasses.asdict(chosen)))
    assert Deformation(**as_json) == chosen
    content = pickle.dumps(chosen)
    assert b"fastbp.expand_mnist" in content
    assert pickle.loads(content) == chosen
    with pytest.raises(TypeError, match="unexpected keyword argument 'rotate'"):
        Deformation(rotate=3)


def test_apply_is_deform(X):
    labels, out = np.arange(6), np.empty_like(X)
    wanted = deform(X, labels, seed=4, epoch=3, elastic=(20, 4), halved=(2,))
    chosen = Deformation(**dict(elastic=(20, 4), halved=(2,)))
    np.testing.assert_array_equal(chosen.apply(X, labels, 4, 3), wanted)
    assert chosen.apply(X, labels, 4, 3, out=out, threads=1) is out
    np.testing.assert_array_equal(out, wanted)
    later = chosen.apply_from(2, X[2:], labels[2:], 4, 3)
    np.testing.assert_array_equal(later, wanted[2:])


def test_deformed_digits_can_be_learned_and_read(real_mnist):
    """A network trained on them alone reads others of them, and the originals even better."""
    (X, y), _, (T, t) = real_mnist
    random.seed(1)
    np.random.seed(1)
    net = network2.Network([784, 100, 10], dtype=np.float32, activation="relu")
    for epoch in range(3):
        net.SGD((deform(X, y, seed=1, epoch=epoch), y), 1, 10, 0.1, verbose=False)
    original, deformed = (net.accuracy((images, t)) for images in (T, deform(T, t, seed=2)))
    assert deformed > 8500
    assert original > deformed


# ------------------------------------------------ fastbp expand


@pytest.fixture
def sets(mnist_folder):
    return mnist_loader.load_data(mnist_folder)


def test_the_books_file(mnist_folder, sets, tmp_path):
    """The same images as the book's script writes, in the order of random.seed."""
    path = tmp_path / "mnist_expanded.pkl.gz"
    run = run_command("expand", "--data", mnist_folder, "--save", path, "--seed", 7)
    assert (run.returncode, run.stdout) == (0, "")
    assert f"{path}: 250 images for training, from 50 of {mnist_folder}" in run.stderr
    images, labels = expanded_oracle(*sets[0])
    pairs = list(zip(images, labels))
    random.seed(7)
    random.shuffle(pairs)
    wanted = [tuple(map(np.array, zip(*pairs))), *sets[1:]]
    with gzip.open(path) as file:  # as the book's readers do
        content = pickle.load(file, encoding="latin1")
    for seen in (content, mnist_loader.load_data(path)):
        for (X, y), (images, labels) in zip(seen, wanted, strict=True):
            assert X.dtype == np.float32
            np.testing.assert_array_equal(X, images)
            np.testing.assert_array_equal(y, labels)
    assert b"numpy._core.numeric" not in gzip.decompress(path.read_bytes())[:1000]


def test_the_default_name_is_the_books(mnist_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_command("expand", "--data", mnist_folder).returncode == 0
    assert len(mnist_loader.load_data("mnist_expanded.pkl.gz")[0][1]) == 250
    again = refused("expand", "--data", mnist_folder)
    assert "mnist_expanded.pkl.gz exists already; remove it, or give another name" in again


@pytest.mark.parametrize("name", ["deformed.npz", "deformed"])
def test_deformed_copies_in_bytes(name, mnist_folder, tmp_path):
    """load_data finds the training and validation images where they were, each with its copies."""
    path = tmp_path / name
    arguments = ["--deform", 2, "--seed", 3, "--elastic", "20,4", "--rotation", 5, "--shear", 0]
    run = run_command("expand", "--data", mnist_folder, "--save", path, *arguments)
    assert run.returncode == 0, run.stderr
    assert "180 images for training, from 60 of" in run.stderr
    before = mnist_loader.load_data(mnist_folder, pixels=True)
    seen = mnist_loader.load_data(path, pixels=True)
    joined = np.concatenate([X.array for X, _ in before[:2]])
    labels = np.concatenate([y for _, y in before[:2]])
    chosen = Deformation((20, 4), 5, 0)
    copies = [joined, *(chosen.apply(joined, labels, 3, epoch) for epoch in range(2))]
    interleaved = np.stack(copies, axis=1).reshape(-1, 784)
    for (X, y), part in zip(seen[:2], (slice(0, 150), slice(150, None))):
        np.testing.assert_array_equal(X.array, interleaved[part])
        np.testing.assert_array_equal(y, np.repeat(labels, 3)[part])
    np.testing.assert_array_equal(seen[2][0].array, before[2][0].array)
    np.testing.assert_array_equal(seen[2][1], before[2][1])


def test_floats_that_are_no_bytes(sets, tmp_path):
    """They stay floats, deformed too, in the book's file; the others hold bytes."""
    floats = [(X * np.float32(0.7), y) for X, y in sets]
    source, path = tmp_path / "mnist.pkl.gz", tmp_path / "deformed.pkl.gz"
    source.write_bytes(gzip.compress(pickle.dumps(floats, 4)))
    run = run_command("expand", "--data", source, "--deform", 1, "--save", path)
    assert run.returncode == 0, run.stderr
    order = np.arange(100)
    random.seed(0)
    random.shuffle(order)
    (X, y), labels = floats[0], np.repeat(floats[0][1], 2)
    copies = np.stack([X, Deformation().apply(X, y, 0, 0)], axis=1).reshape(-1, 784)
    seen = mnist_loader.load_data(path)[0]
    np.testing.assert_array_equal(seen[0], copies[order])
    np.testing.assert_array_equal(seen[1], labels[order])
    told = refused("expand", "--data", source, "--deform", 1, "--save", tmp_path / "x.npz")
    assert "the images are no bytes divided by 256" in told
    assert run_command("expand", "--data", source, "--sheet", tmp_path / "s.png").returncode == 0


def test_a_contact_sheet(mnist_folder, sets, tmp_path):
    """Two rows for each digit, the original first; without --save nothing else is written."""
    path = tmp_path / "sheet.png"
    run = run_command("expand", "--data", mnist_folder, "--deform", 5, "--sheet", path)
    assert (run.returncode, run.stdout) == (0, "")
    assert run.stderr == f"fastbp: drawn to {path}\n"
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".png"] == ["sheet.png"]
    X, y = sets[0]
    rows = np.concatenate([np.flatnonzero(y == k)[:2] for k in np.unique(y)])
    sheet = matplotlib_image.imread(path)[::3, ::3, 0]
    assert sheet.shape == (2 + 30 * len(rows), 4 + 30 * 6)
    first = X[rows[0]].reshape(28, 28) * 256
    np.testing.assert_array_equal(np.rint(255 * sheet[2:30, 2:30]), first)
    bytes_of = np.rint(X * 256).astype(np.uint8)  # the copies that --save would write
    copy = Deformation().apply(bytes_of, y, 0, 4)[rows[-1]].reshape(28, 28)
    np.testing.assert_array_equal(np.rint(255 * sheet[-30:-2, -30:-2]), copy)


def test_a_contact_sheet_of_floats(sets, tmp_path):
    """Of a pickle whose pixels were divided by 255: white stays white."""
    floats = [(np.minimum(1, X * np.float32(256 / 255)), y) for X, y in sets]
    assert floats[0][0].max() == 1
    source, path = tmp_path / "mnist.pkl.gz", tmp_path / "sheet.png"
    source.write_bytes(gzip.compress(pickle.dumps(floats, 4)))
    run = run_command("expand", "--data", source, "--deform", 1, "--sheet", path)
    assert run.returncode == 0, run.stderr
    X, y = floats[0]
    first = X[np.flatnonzero(y == np.unique(y)[0])[0]].reshape(28, 28)
    sheet = matplotlib_image.imread(path)[::3, ::3, 0]
    np.testing.assert_allclose(sheet[2:30, 2:30], first, atol=1 / 254)


def test_a_folder_may_end_in_a_slash(mnist_folder, tmp_path):
    path = f"{tmp_path}/expanded/"
    run = run_command("expand", "--data", mnist_folder, "--save", path)
    assert run.returncode == 0, run.stderr
    assert len(mnist_loader.load_data(path)[0][1]) == 250


def test_labels_beyond_a_byte(tmp_path, raw):
    lines = [f"{300 * (i % 2)}," + ",".join(map(str, raw[0][i].reshape(-1))) for i in range(14)]
    (tmp_path / "digits.csv").write_text("\n".join(lines))
    arguments = "expand", "--data", tmp_path / "digits.csv", "--save"
    assert "the largest label is 300, expected at most 255" in refused(*arguments, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    assert run_command(*arguments, tmp_path / "f.npz").returncode == 0
    assert mnist_loader.load_data(tmp_path / "f.npz")[0][1].max() == 300


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("--rotation needs --deform N", ["--rotation", 5]),
        ("--elastic needs --deform N", ["--elastic", "36,5"]),
        ("--deform is 0, expected at least 1", ["--deform", 0]),
        ("invalid int value: 'many'", ["--deform", "many"]),
        ("'36', expected e.g. 36,5", ["--deform", 1, "--elastic", "36"]),
        ("scale is 95.0, expected 0..90 percent", ["--deform", 1, "--scale", 95]),
        ("seed is -1, expected at least 0", ["--deform", 1, "--seed", -1]),
        ("x.csv: expected the name of a .pkl.gz or .npz file", ["--save", "x.csv"]),
        ("nowhere/x.npz: the folder", ["--save", "nowhere/x.npz"]),
        ("nowhere/s.png: the folder", ["--sheet", "nowhere/s.png"]),
        ("exists already", ["--save", "."]),
    ],
)
def test_expand_on_the_command_line_refuses(text, arguments, mnist_folder):
    assert text in refused("expand", "--data", mnist_folder, *arguments)


def test_sheets_without_matplotlib(mnist_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told = refused("expand", "--data", mnist_folder, "--sheet", "s.png")
    assert "pip install 'fastbp[report]'" in told


@pytest.mark.parametrize("name", ["x.npz", "folder", "x.pkl.gz"])
def test_images_of_another_size(name, tmp_path, raw):
    """What could not be read is not written."""
    lines = [f"{i % 10}," + ",".join(map(str, raw[0][i].reshape(-1)[:100])) for i in range(14)]
    (tmp_path / "digits.csv").write_text("\n".join(lines))
    call = "expand", "--data", tmp_path / "digits.csv", "--deform", 2, "--save", tmp_path / name
    assert "the images have 100 pixels, expected 28 x 28" in refused(*call)
    assert not (tmp_path / name).exists()


def test_images_that_are_not_square(tmp_path, raw):
    lines = [f"{i % 10}," + ",".join(map(str, raw[0][i].reshape(-1)[:700])) for i in range(14)]
    (tmp_path / "digits.csv").write_text("\n".join(lines))
    told = refused("expand", "--data", tmp_path / "digits.csv")
    assert "X has shape (10, 700), expected square images" in told

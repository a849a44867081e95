"""fastbp data: the places in order, what is in a data set, its checksum and its contact sheet."""

import pathlib
import sys

import numpy as np
import pytest
from formats import as_sets, write_idx, write_pickle
from helpers import refused, run_command

from fastbp import mnist_loader
from fastbp.data import locations
from fastbp.data.readers import checksums
from fastbp.report import labelled_sheet


def lines(*arguments, **environment):
    done = run_command("data", *arguments, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


def fields(printed):
    return dict(line.split(maxsplit=1) for line in printed)


def test_a_path_that_is_given(mnist_folder, raw):
    said = lines(mnist_folder)
    assert said[0] == f"used        {mnist_folder}: the PATH that was given"
    first, last = raw[1].min(), raw[1].max()
    assert said[1] == (
        f"training    50 images of 784 pixels (28 x 28); {len(set(raw[1][:50]))} classes, labels "
        f"{first}..{last}"
    )
    assert [line.split()[:3] for line in said[2:4]] == [
        ["validation", "10", "images"],
        ["test", "20", "images"],
    ]
    assert said[4] == "pixels      0..255, bytes, divided by 256 for training"
    assert said[5].startswith("checksum    unknown, not MNIST's: SHA-256 of the training images")


def test_places_are_looked_at_in_the_order_of_load_data(tmp_path, mnist_folder, raw):
    """Until the first that is there; load_data uses the same."""
    import pooch

    nothing = lines()
    assert [line.split("  ")[0] for line in nothing[:5]] == ["not used"] * 4 + ["not tried"]
    assert [line.partition(": ")[2] for line in nothing[:4]] == [
        "not set", "no such file", "no such file", "no such folder",
    ]  # fmt: skip
    assert "http://127.0.0.1:9/: only with --download" in nothing[4]
    assert nothing[5].startswith("no data set was found")

    cache = pathlib.Path(pooch.os_cache("fastbp")) / "mnist"
    cache.mkdir(parents=True)
    assert lines()[3].endswith("not all four files")
    write_idx(cache, raw)
    assert lines()[3] == f"used        the user's cache {cache}: found"
    write_pickle(pathlib.Path("mnist.pkl.gz"), as_sets(raw))
    said = lines()
    assert said[1] == "used        the book's path mnist.pkl.gz: found"
    assert said[2].startswith("training")
    said = lines(FASTBP_DATA=str(mnist_folder))
    assert said[0] == f"used        environment variable FASTBP_DATA {mnist_folder}: set"
    assert said[1].startswith("training")


def test_the_cache_is_not_read_where_something_else_is_found(mnist_folder, monkeypatch):
    monkeypatch.setenv("FASTBP_DATA", str(mnist_folder))
    monkeypatch.setattr("fastbp.data.readers.find.is_complete", lambda folder: 1 / 0)
    assert [place.is_used for place in locations.look()] == [True]
    mnist_loader.load_data()


def test_nothing_is_downloaded_unless_told():
    assert lines()[-2].startswith("no data set")
    assert refused_after_lines("--download").startswith("fastbp: error: http://127.0.0.1:9/: ")


def refused_after_lines(*arguments):
    done = run_command("data", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    return line


def test_a_place_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTBP_DATA", str(tmp_path / "nowhere"))
    assert "nowhere does not exist" in refused_after_lines()
    assert "nowhere does not exist" in refused_after_lines(tmp_path / "nowhere")


def test_synthetic_digits(monkeypatch):
    drawn = mnist_loader.synthetic(300, 50, 50, pixels=True)
    monkeypatch.setattr(mnist_loader, "synthetic", lambda pixels: drawn)
    said = fields(lines("synthetic"))
    assert said["training"] == "300 images of 784 pixels (28 x 28); 10 classes, labels 0..9"
    assert said["used"] == "synthetic digits, drawn by fastbp: asked for"


def test_floats_that_are_no_bytes(tmp_path, raw):
    sets = [(images * np.float32(0.9), labels) for images, labels in as_sets(raw)]
    said = fields(lines(write_pickle(tmp_path / "mnist.pkl.gz", sets)))
    assert said["pixels"] == f"0..{0.9 * 255 / 256:g}, numbers, used as they are"
    assert said["checksum"].startswith("unknown: there is none")


def test_the_checksum_of_mnist_is_known_from_any_format(real_mnist, tmp_path):
    """From the floats of the IDX files and from Keras's file; of a changed pixel it is unknown."""
    as_bytes = tuple(
        (mnist_loader.Pixels(np.rint(images * 256).astype(np.uint8)), labels)
        for images, labels in real_mnist
    )
    assert checksums.is_mnist(checksums.digests(as_bytes))
    (x, y), (u, v), (x_test, y_test) = ((images.array, labels) for images, labels in as_bytes)
    np.savez(
        tmp_path / "mnist.npz",
        x_train=np.vstack([x, u]).reshape(-1, 28, 28),
        y_train=np.r_[y, v],
        x_test=x_test.reshape(-1, 28, 28),
        y_test=y_test,
    )
    said = fields(lines(tmp_path / "mnist.npz"))
    assert said["checksum"] == "known: images and labels are MNIST's, to the bit"
    x_test[-1, -1] ^= 1
    assert not checksums.is_mnist(checksums.digests(as_bytes))


# ------------------------------------------------ the contact sheet


def test_the_sheet_has_a_row_of_images_for_each_class(tmp_path, raw):
    images, labels = raw[0].reshape(60, 784), np.arange(60) % 3 + 4
    sheet = labelled_sheet._sheet(images, labels, np.array([4, 5, 6]))
    assert sheet.shape == (3 * 30, 16 * 30)
    for row in range(3):
        for column in (0, 1, 15):
            cell = sheet[row * 30 : row * 30 + 30, column * 30 : column * 30 + 30]
            np.testing.assert_array_equal(cell[1:-1, 1:-1], raw[0][row + 3 * column])
            assert not cell[[0, -1]].any()
            assert not cell[:, [0, -1]].any()


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.jpg", b"\xff\xd8")]
)
def test_the_sheet_is_written(name, start, mnist_folder, tmp_path):
    assert lines(mnist_folder, "--sheet", tmp_path / name)[-1] == f"sheet       {tmp_path / name}"
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_sheet_of_one_class_and_of_many(tmp_path):
    for n_classes in (1, 80):
        labelled_sheet.draw(np.ones((90, 4)), np.arange(90) % n_classes, tmp_path / "sheet.png")
        assert (tmp_path / "sheet.png").stat().st_size > 100


def test_a_sheet_that_cannot_be_drawn(mnist_folder, tmp_path, monkeypatch):
    assert "no data set for the sheet: use --download" in refused_after_lines("--sheet", "a.png")
    assert "folder" in refused("data", mnist_folder, "--sheet", tmp_path / "no" / "a.png")
    with pytest.raises(ValueError, match="images have 6 pixels, expected a square number"):
        labelled_sheet.draw(np.ones((3, 6)), np.arange(3), tmp_path / "a.png")
    with pytest.raises(ValueError, match="no training images"):
        labelled_sheet.draw(np.ones((0, 4)), np.arange(0), tmp_path / "a.png")
    assert "ends in '.doc', expected" in refused("data", mnist_folder, "--sheet", "a.doc")
    assert not pathlib.Path("a.doc").exists()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install 'fastbp[report]'" in refused("data", mnist_folder, "--sheet", "a.png")

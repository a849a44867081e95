"""Data sets in .npy files and in files of raw bytes, and large ones, which are mapped."""

import numpy as np
import pytest
from formats import as_sets, assert_sets, idx, write_idx

from fastbp import mnist_loader
from fastbp.data.readers import array_files, idx_files, image_sets

ROLES = "train-images", "train-labels", "test-images", "test-labels"


def write(folder, raw, form="npy", flat=False):
    folder.mkdir()
    for role, array in zip(ROLES, raw):
        content = array.reshape(len(array), 784) if flat and array.ndim == 3 else array
        if form == "npy":
            np.save(folder / f"{role}.npy", content)
        else:
            (folder / f"{role}.raw").write_bytes(array.tobytes())
    return folder


@pytest.fixture
def large_files(monkeypatch):
    """Have all images mapped."""
    for module in (array_files, image_sets):
        monkeypatch.setattr(module, "MAP_BYTES", 100)


@pytest.mark.parametrize("form", ["npy", "raw"])
@pytest.mark.parametrize("flat", [False, True])
def test_a_folder_or_one_of_its_files(form, flat, raw, tmp_path):
    folder = write(tmp_path / "d", raw, form, flat)
    assert_sets(mnist_loader.load_data(folder), as_sets(raw))
    assert_sets(mnist_loader.load_data(folder / f"test-labels.{form}"), as_sets(raw))


@pytest.mark.parametrize("form", ["npy", "raw", "idx"])
def test_large_images_are_mapped(form, raw, tmp_path, large_files):
    if form == "idx":
        folder = write_idx(tmp_path / "d", raw, packed=False)
    else:
        folder = write(tmp_path / "d", raw, form)
    sets = mnist_loader.load_data(folder, pixels=True)
    for (images, labels), (x, y) in zip(sets, as_sets(raw)):
        assert isinstance(images.array, np.memmap)
        np.testing.assert_array_equal(images.values(np.float32), x)
        np.testing.assert_array_equal(labels, y)
    assert_sets(mnist_loader.load_data(folder), as_sets(raw))


def test_what_does_not_fit_in_memory(raw, tmp_path, large_files, monkeypatch):
    folder = write(tmp_path / "d", raw)
    monkeypatch.setattr(image_sets, "free_memory", lambda: 20)
    with pytest.raises(
        ValueError, match=r"156,800 bytes of memory, 20 are free.*use pixels=True, w"
    ):
        mnist_loader.load_data(folder)
    with pytest.raises(ValueError, match=r"as they are needed, call it without transpose"):
        mnist_loader.load_data(folder, pixels=True, transpose=True)
    mnist_loader.load_data(folder, pixels=True)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_large_idx_file_of_another_length(change, raw, tmp_path, large_files):
    folder = write_idx(tmp_path / "d", raw, packed=False)
    path, content = folder / "train-images-idx3-ubyte", idx(raw[0])
    path.write_bytes(content[:change] if change < 0 else content + b"x")
    with pytest.raises(ValueError, match="its header promises 47,056: it is cut off or damaged"):
        idx_files.read_file(path, idx_files.IMAGES)


BAD = {
    "floats": (lambda x: x / 255.0, r"holds \(60, 28, 28\) float64, expected \(n, 784\) or"),
    "one image": (lambda x: x[0, 0], r"holds \(28,\) uint8, expected \(n, 784\) or"),
    "none": (lambda x: x[:0], r"holds \(0, 28, 28\) uint8"),
    "columns": (lambda x: np.asfortranarray(x), "it is in Fortran order, expected rows of images"),
    "objects": (lambda x: np.array([{}, []], object), "Python objects, expected numbers"),
    "fewer": (lambda x: x[1:], "holds 59 images and .* 60 labels, expected as many"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_npy_files(name, raw, tmp_path):
    change, message = BAD[name]
    folder = write(tmp_path / "d", raw)
    np.save(folder / "train-images.npy", change(raw[0]))
    with pytest.raises(ValueError, match=message):
        mnist_loader.load_data(folder)


@pytest.mark.parametrize("content", [b"", b"x" * 783, b"x" * 785])
def test_wrong_raw_files(content, raw, tmp_path):
    folder = write(tmp_path / "d", raw, "raw")
    (folder / "test-images.raw").write_bytes(content)
    with pytest.raises(ValueError, match=rf"has {len(content)} bytes, expected a multiple of 784"):
        mnist_loader.load_data(folder)


def test_a_cut_npy_file(raw, tmp_path):
    path = write(tmp_path / "d", raw) / "train-images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="its header promises 47,040 bytes, 47,039 are there"):
        mnist_loader.load_data(path)


def test_a_file_that_is_missing(raw, tmp_path):
    folder = write(tmp_path / "d", raw)
    (folder / "test-labels.npy").unlink()
    with pytest.raises(FileNotFoundError, match="belong files for test labels"):
        mnist_loader.load_data(folder)

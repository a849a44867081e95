"""fastbp expand --count: any number of deformed images, block by block, in a folder."""

import gzip
import os
import pickle
import shutil
import tracemalloc

import numpy as np
import pytest
from formats import IDX_NAMES, digits, idx
from helpers import refused, run_command

from fastbp import expand_mnist, mnist_loader
from fastbp.data import generated, generated_folder
from fastbp.data.readers import image_sets
from fastbp.training.epoch_data.deformed_blocks import deformed_blocks

DEFORMATION = expand_mnist.Deformation(elastic=(20, 4), rotation=5)
OPTIONS = ["--elastic", "20,4", "--rotation", 5]


@pytest.fixture
def sets(mnist_folder):
    """Return 50 training, 10 validation and 20 test images, as (bytes, labels)."""
    sets = mnist_loader.load_data(mnist_folder, pixels=True)
    return [(X.array, labels) for X, labels in sets]


def expected(count, sets, seed):
    """Return the images and labels that --count promises, one after the other."""
    (X, y), (V, v), _ = sets
    made = []
    for i in range(count):
        epoch, k = divmod(i, len(X))
        if i < count - count // 6:
            x = DEFORMATION.apply(X, y, seed, epoch)[k]
            made.append((x, y[k]))
        else:
            k = (i - (count - count // 6)) % len(V)
            made.append((V[k], v[k]))
    images, labels = zip(*made)
    return np.array(images), np.array(labels)


# ------------------------------------------------ deformed_blocks


@pytest.mark.parametrize("count", [1, 5, 6, 7, 49, 60, 61, 130])
def test_blocks_of_any_size_are_parts_of_one_sequence(count, sets):
    make_block = deformed_blocks(count, *sets[:2], DEFORMATION, 3)
    images, labels = expected(count, sets, 3)
    for size in (1, 7, 64, count):
        for start in range(0, count, size):
            n = min(size, count - start)
            x, y = make_block(start, n)
            np.testing.assert_array_equal(x, images[start : start + n])
            np.testing.assert_array_equal(y, labels[start : start + n])


def test_a_data_set_without_validation_images(sets):
    nothing = sets[1][0][:0], sets[1][1][:0]
    deformed_blocks(5, sets[0], nothing, DEFORMATION, 3)
    with pytest.raises(ValueError, match="no images for validation, which the last sixth is made"):
        deformed_blocks(6, sets[0], nothing, DEFORMATION, 3)


# ------------------------------------------------ the command


def expand(folder, data, count, *options):
    return run_command("expand", "--data", data, "--count", count, "--save", folder, *options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("count", [60, 143, 1000])
def test_load_data_finds_no_copy_of_a_training_image_among_those_for_validation(
    count, mnist_folder, sets, tmp_path, monkeypatch
):
    monkeypatch.setattr(generated, "BLOCK", 32)
    folder = tmp_path / "made" / "deformed"
    done = expand(folder, mnist_folder, count, "--seed", 3, *OPTIONS)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{count:,} images for training, from 50 of {mnist_folder}" in done.stderr
    training, validation, test = mnist_loader.load_data(folder, pixels=True)
    images, labels = expected(count, sets, 3)
    n = count - count // 6
    np.testing.assert_array_equal(training[0].array, images[:n])
    np.testing.assert_array_equal(training[1], labels[:n])
    np.testing.assert_array_equal(test[0].array, sets[2][0])
    np.testing.assert_array_equal(test[1], sets[2][1])
    validation_images = {x.tobytes() for x in sets[1][0]}
    assert {x.tobytes() for x in validation[0].array} <= validation_images
    assert not {x.tobytes() for x in training[0].array} & validation_images
    np.testing.assert_array_equal(validation[1], labels[n:])


def test_training_on_the_folder_as_on_deformed_images(mnist_folder, sets, tmp_path, monkeypatch):
    """A map of the file is read in windows, by the same labels."""
    folder = tmp_path / "deformed"
    expand(folder, mnist_folder, 300)
    for reader in ("idx_files.image_sets", "image_sets"):
        monkeypatch.setattr(f"fastbp.data.readers.{reader}.MAP_BYTES", 1000)
    done = run_command("train", "--data", folder, "--epochs", 1, "--shuffle", "blocks")
    assert done.returncode == 0, done.stderr
    assert "250 training and 20 test images" in done.stderr


def test_the_same_bytes_whatever_the_blocks(mnist_folder, tmp_path, monkeypatch):
    seen = []
    for i, block in enumerate((4096, 17)):
        monkeypatch.setattr(generated, "BLOCK", block)
        expand(tmp_path / f"folder{i}", mnist_folder, 200)
        seen.append(contents(tmp_path / f"folder{i}"))
    assert seen[0] == seen[1]
    assert sorted(seen[0]) == sorted(IDX_NAMES)
    expand(tmp_path / "other", mnist_folder, 200, "--seed", 1)
    assert contents(tmp_path / "other") != seen[0]


def test_the_images_are_not_in_memory(sets, tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "BLOCK", 256)
    peaks = []
    for count in (600, 600, 12_000):  # the first compiles; 9 MB
        make_block = deformed_blocks(count, *sets[:2], DEFORMATION, 3)
        tracemalloc.start()
        folder = tmp_path / f"folder{len(peaks)}"
        generated_folder.write_folder(folder, (count, make_block), (9, make_block), {})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 500_000


def test_it_goes_on_where_the_disk_was_full(mnist_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "BLOCK", 8)
    monkeypatch.setattr(generated, "SYNC_BYTES", 16 * 784)
    one, other = tmp_path / "one", tmp_path / "other"
    expand(one, mnist_folder, 200)
    made, real = [], expand_mnist.Deformation.apply_from

    def apply_from(self, first, images, labels, seed, epoch):
        if len(made) == 9:
            raise OSError(28, "No space left on device")
        made.append((epoch, first))
        return real(self, first, images, labels, seed, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(expand_mnist.Deformation, "apply_from", apply_from)
        told = refused("expand", "--data", mnist_folder, "--count", 200, "--save", other)
    assert "No space left on device" in told
    assert (other / "train-images-idx3-ubyte.part.json").exists()
    for change in (["--seed", 1], ["--shift", 2], ["--count", 201]):
        changed = ["--data", mnist_folder, "--count", 200, "--save", other, *change]
        assert "is of another call" in refused("expand", *changed)
    other_data = tmp_path / "data of others"
    shutil.copytree(mnist_folder, other_data)
    other_labels = gzip.compress(idx(np.zeros(20, np.uint8)))
    (other_data / f"{IDX_NAMES[3]}.gz").write_bytes(other_labels)
    assert "is of another call" in refused(
        "expand", "--data", other_data, "--count", 200, "--save", other
    )
    assert expand(other, mnist_folder, 200).returncode == 0
    assert contents(other) == contents(one)
    assert "t10k-images-idx3-ubyte exists: remove it, or take another folder" in refused(
        "expand", "--data", mnist_folder, "--count", 200, "--save", other
    )


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("--count is 0, expected at least 1", ["--count", 0, "--save", "f"]),
        ("fewer than 2**32 in an IDX file", ["--count", 2**32, "--save", "f"]),
        ("--count needs --save FOLDER, for IDX files, a name without a dot", ["--count", 9]),
        ("--count needs --save FOLDER", ["--count", 9, "--save", "x.npz"]),
        ("--count needs --save FOLDER", ["--count", 9, "--save", "x.pkl.gz"]),
        ("without --deform and without --sheet", ["--count", 9, "--save", "f", "--deform", 1]),
        ("without --deform and without --sheet", ["--count", 9, "--save", "f", "--sheet", "s.png"]),
        ("--seed is -1, expected at least 0", ["--count", 9, "--save", "f", "--seed", -1]),
        ("scale is 95.0, expected 0..90", ["--count", 9, "--save", "f", "--scale", 95]),
    ],
)
def test_the_command_refuses(text, arguments, mnist_folder):
    assert text in refused("expand", "--data", mnist_folder, *arguments)
    assert not os.path.exists("f") or os.listdir("f") == []


def test_images_that_no_idx_file_holds(tmp_path):
    x, y = digits(60, 1)
    floats = [(np.float32(x.reshape(60, 784)) / 300, y.astype(np.int64))] * 3
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(floats, 4)))
    lines = [f"{i % 10}," + ",".join(["7"] * 900) for i in range(14)]
    (tmp_path / "wide.csv").write_text("\n".join(lines))
    lines = [f"{300 * (i % 2)}," + ",".join(["7"] * 784) for i in range(14)]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    for name, text in (
        ("mnist.pkl.gz", "no bytes divided by 256, 784 each"), ("wide.csv", "784 each"),
        ("labels.csv", "the largest label is 300, expected at most 255"),
    ):  # fmt: skip
        arguments = "--data", tmp_path / name, "--count", 9, "--save", "f"
        assert text in refused("expand", *arguments)


def test_the_parts_are_those_of_split():
    for n in range(1, 100):
        assert len(image_sets.split(np.zeros(n), np.zeros(n))[0][0]) == n - n // 6

"""Reading images and labels of any number from .npy files and from files of nothing but bytes.

Invariants: a file is used only after its header, its length and its labels have been checked;
images larger than MAP_BYTES are mapped and not read.
"""

import os
import re

import numpy as np

from fastbp.data import messages, npz
from fastbp.data.readers.image_sets import MAP_BYTES, check_pair

ROLES = ("train-images", "train-labels", "test-images", "test-labels")
PIXELS = 784  # bytes of an image in a .raw file
_NAME = re.compile(
    r"(?P<prefix>.*?)(?P<part>train|t10k|test)[-_](?P<kind>images|labels)\.(?P<form>npy|raw)"
)


def parse_name(name):
    """Return (name of the data set, role, preference) of a name, or None; as idx_files does."""
    found = _NAME.fullmatch(name)
    if not found:
        return None
    part = "train" if found["part"] == "train" else "test"
    preference = found["form"], found["part"] == "test"
    return found["prefix"], f"{part}-{found['kind']}", preference


def read(train_images, train_labels, test_images, test_labels):
    """Return (images (n, n_in) uint8, labels (n,) integers) for training and for testing.

    Raises ValueError for files with wrong content, OSError for files that cannot be read.
    """
    return _read_pair(train_images, train_labels), _read_pair(test_images, test_labels)


def _read_pair(images_path, labels_path):
    images, labels = _read_array(images_path), _read_array(labels_path, is_images=False)
    check_pair(images, images_path, labels, labels_path)
    return images, labels


def _read_array(path, is_images=True):
    """Return the array in a file, mapped if it is large, or raise ValueError."""
    size = os.path.getsize(path)
    if path.name.endswith(".raw"):
        item = PIXELS if is_images else 1
        n, rest = divmod(size, item)
        if rest or not n:
            raise ValueError(f"{path} has {size:,} bytes, expected a multiple of {item}, not 0")
        shape, dtype, offset = (n, PIXELS) if is_images else (n,), np.dtype(np.uint8), 0
    else:
        shape, dtype, offset = _read_header(path, size)
        fits = dtype == np.uint8 and len(shape) in (2, 3) if is_images else len(shape) == 1
        if not fits or dtype.kind not in "iu" or not shape[0]:
            wanted = "(n, 784) or (n, 28, 28) of uint8" if is_images else "(n,) of integers"
            raise ValueError(f"{path} holds {messages.shorten(shape)} {dtype}, expected {wanted}")
    if is_images and size > MAP_BYTES:
        return np.memmap(path, dtype, "r", offset, shape)
    with open(path, "rb") as file:
        file.seek(offset)
        return np.fromfile(file, dtype).reshape(shape)


def _read_header(path, size):
    """Return (shape, dtype, where the numbers begin) of an .npy file, or raise ValueError."""
    try:
        with open(path, "rb") as file:
            shape, dtype, fortran_order, _ = npz.read_npy_header(file, size, max_bytes=size)
            if fortran_order:
                raise ValueError("it is in Fortran order, expected rows of images")
            return shape, dtype, file.tell()
    except ValueError as error:
        reason = messages.shorten(error, 300)
        raise ValueError(f"{path} is not an .npy file of numbers: {reason}") from None

"""Reading IDX files: MNIST, and Fashion-MNIST, KMNIST, QMNIST and EMNIST in the same format.

Invariant: a file is used only after its header, its length and its labels have been checked.
"""

import math
import re

import numpy as np

from fastbp.data import files
from fastbp.data.readers import image_sets
from fastbp.data.readers.bounded_reader import BoundedReader
from fastbp.data.readers.image_sets import check_pair

# Magic numbers: two zeros, the type (8: uint8, 12: int32), the number of dimensions.
IMAGES, LABELS, LABELS_INT = 0x803, 0x801, 0xC02
COLUMNS = 8  # of a row of QMNIST's labels; the first one is the class
ROLES = ("train-images", "train-labels", "test-images", "test-labels")
_NAME = re.compile(
    r"(?P<prefix>.*?)(?P<part>train|t10k|test)-(?P<kind>images(?=.idx3)|labels(?=.idx[12]))"
    r"(?P<dot>[-.])idx(?:3-ubyte|1-ubyte|2-int)(?P<gz>\.gz)?"
)


def parse_name(name):
    """Return (name of the data set, role, preference) of an IDX file's name, or None for others.

    The name of the data set is a prefix such as "emnist-letters-"; role: one of ROLES; preference:
    of several files with one role the one whose preference is like that of the others is read,
    or the smallest.
    """
    found = _NAME.fullmatch(name)
    if not found:
        return None
    part = "train" if found["part"] == "train" else "test"
    preference = not found["gz"], found["dot"], found["part"] == "test"
    return found["prefix"], f"{part}-{found['kind']}", preference


def read(train_images, train_labels, test_images, test_labels):
    """Return (images (n, 28, 28) uint8, labels (n,) integers) for training and for testing.

    Raises ValueError for files with wrong content, OSError for files that cannot be read.
    """
    return _read_pair(train_images, train_labels), _read_pair(test_images, test_labels)


def _read_pair(images_path, labels_path):
    """Return (images, labels) of two files, or raise ValueError if they do not fit together."""
    images = read_file(images_path, IMAGES)
    labels = read_file(labels_path, LABELS, LABELS_INT)
    labels = labels[:, 0] if labels.ndim == 2 else labels
    check_pair(images, images_path, labels, labels_path)
    return images, labels


def read_file(path, *magics):
    """Return the array in an IDX file that has one of these magic numbers.

    One of more than MAP_BYTES, not compressed, is mapped and not read.
    """
    with BoundedReader(path) as content:
        shape, dtype, header = _read_header(content, path, magics)
        size = math.prod(shape) * dtype.itemsize
        expected, seen = header + size, content.stored_size
        large = not content.compressed and dtype == np.uint8 and size > image_sets.MAP_BYTES
        too_large = expected > content.limit() and not large
        if too_large or (not content.compressed and expected != seen):
            raise ValueError(
                f"{path} has {seen:,} bytes{' packed' * content.compressed}, its header promises "
                f"{expected:,}: it is cut off or damaged"
            )
        if large:
            return np.memmap(path, np.uint8, "r", header, shape)
        array = np.empty(size, np.uint8)
        seen = header + files.read_into(array, content)
        if seen == expected:
            seen += content.readinto(bytearray(1))  # 0, and the checksum has been verified
        if seen != expected:
            raise ValueError(
                f"{path} has {seen:,} bytes{' or more' * (seen > expected)}, its header promises "
                f"{expected:,}: it is cut off or damaged"
            )
    return array.view(dtype).reshape(shape)


def _read_header(content, path, magics):
    """Return (shape, dtype, length in bytes) of the header of an IDX file, or raise ValueError."""
    try:
        start = content.read(8)
        seen = int.from_bytes(start[:4])
        dimensions = seen % 256 if seen in magics else 1
        start += content.read(4 * dimensions - 4)
    except EOFError:
        raise ValueError(
            f"{path} is {content.n_read} bytes long, too short for an IDX header"
        ) from None
    if seen not in magics:
        wanted = " or ".join(map(str, magics))
        raise ValueError(f"{path} begins with the magic number {seen}, expected {wanted}")
    shape = tuple(int(n) for n in np.frombuffer(start, ">u4")[1:])
    if seen == IMAGES and shape[1:] != (28, 28):
        raise ValueError(f"{path} holds images of {shape[1]} x {shape[2]}, expected 28 x 28")
    if seen == LABELS_INT and shape[1] != COLUMNS:
        raise ValueError(
            f"{path} holds {shape[1]} numbers for each image, expected {COLUMNS}, as in QMNIST"
        )
    if not shape[0]:
        raise ValueError(f"{path} is empty: its header says 0 items")
    return shape, np.dtype(">i4" if seen == LABELS_INT else "u1"), len(start)

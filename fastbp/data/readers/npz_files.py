"""Reading images and labels from .npz files: Keras's mnist.npz, and KMNIST's and Kuzushiji-49's.

Invariant: shapes and types are checked before an array is read.
"""

import re

import numpy as np

from fastbp.data import files, npz
from fastbp.data.readers.image_sets import check_labels, check_pair

KERAS = ("x_train", "y_train", "x_test", "y_test")
ROLES = ("train-imgs", "train-labels", "test-imgs", "test-labels")
_NAME = re.compile(r"(?P<prefix>.*?)(?P<role>(train|test)-(imgs|labels))\.npz")


def parse(name):
    """Return (prefix, role, preference) of a file name such as kmnist-train-imgs.npz, or None."""
    found = _NAME.fullmatch(name)
    return (found["prefix"], found["role"], ()) if found else None


def read(path):
    """Return (images, labels) for training and for testing from a file like Keras's mnist.npz.

    Images are uint8 (n, 28, 28). Raises ValueError for content that is not what it should be,
    OSError if it can't be read.
    """
    try:
        with npz.Npz(path) as content:
            for images, labels in (KERAS[:2], KERAS[2:]):
                _check(content, images, content, labels)
            sets = [content[name] for name in KERAS]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not Keras's mnist.npz with {', '.join(KERAS)}: {files.brief(error)}"
        ) from None
    for name, labels in zip(KERAS[1::2], sets[1::2]):
        check_labels(labels, f"{path}: {name}")
    return sets[:2], sets[2:]


def read_four(*paths):
    """Return the same from four files, in the order of ROLES, each with one array, arr_0."""
    return _read_pair(*paths[:2]), _read_pair(*paths[2:])


def _read_pair(images_path, labels_path):
    images, labels = (_read_one(path, role) for path, role in (
        (images_path, "images"), (labels_path, "labels")))  # fmt: skip
    check_pair(images, images_path, labels, labels_path)
    return images, labels


def _read_one(path, kind):
    try:
        with npz.Npz(path) as content:
            (_check_images if kind == "images" else _check_labels)(content, "arr_0")
            return content["arr_0"]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is not an .npz file of {kind}: {files.brief(error)}") from None


def _check(images_file, images, labels_file, labels):
    shape = _check_images(images_file, images)
    _check_labels(labels_file, labels, shape[:1])


def _check_images(content, name):
    shape, dtype = content.header(name)
    if dtype != np.uint8 or shape[1:] != (28, 28) or not shape[0]:
        raise ValueError(_misfit(name, shape, dtype, "(n, 28, 28) and uint8"))
    return shape


def _check_labels(content, name, wanted=None):
    shape, dtype = content.header(name)
    if dtype.kind not in "iu" or len(shape) != 1 or (wanted and shape != wanted):
        raise ValueError(_misfit(name, shape, dtype, f"{wanted or '(n,)'} and integers"))


def _misfit(name, shape, dtype, wanted):
    return f"{name} has shape {files.brief(shape, 60)} and dtype {dtype}, expected {wanted}"
